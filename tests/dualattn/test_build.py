"""Kernels that were compiled later, into a cache: whose they are, and what becomes of broken ones."""

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from dualattn.commands import check
from dualattn.io.files import find_cache_folder
from dualattn.ops import build, library

LOADED = next(iter(sorted(library.PACKAGE.glob('_C*.so'))), None)
needs_kernels = pytest.mark.skipif(LOADED is None, reason='the package has no compiled kernels')


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a package that was installed without kernels."""
    monkeypatch.setenv('DUALATTN_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(library, 'PACKAGE', tmp_path / 'package')
    return build.find_cache(torch.__version__)


def test_without_kernels_the_command_is_named(cache):
    compiled, reason = library._load()
    assert compiled is None and 'dualattn check --build' in reason


@pytest.mark.parametrize('content', [b'', b'no library', b'\x7fELF' + bytes(60)])
def test_broken_cache_falls_back_with_the_reason(cache, content, caplog):
    cache.mkdir(parents=True)
    (cache / '_C.abi3.so').write_bytes(content)
    with caplog.at_level(logging.WARNING):
        compiled, reason = library._load()
    assert compiled is None and f'{cache / "_C.abi3.so"} could not be loaded' in reason
    assert 'delete the file' in caplog.text


@needs_kernels
def test_a_library_that_was_cut_is_not_mapped(cache):
    """The system would end the process with a bus error."""
    content = LOADED.read_bytes()
    cache.mkdir(parents=True)
    file = cache / '_C.abi3.so'
    file.with_name('_C.abi3.so.sha256').write_text(hashlib.sha256(content).hexdigest())
    file.write_bytes(content)
    assert build.find_damage(file) == ''  # and is not loaded: the file changes below, and with it what is mapped
    for part in (content[:5000], content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        file.write_bytes(part)
        compiled, reason = library._load()
        assert compiled is None and reason == f'{file} could not be loaded: it has changed since it was compiled'
    file.with_name('_C.abi3.so.sha256').unlink()
    assert 'its SHA-256 cannot be compared' in library._load()[1]


@needs_kernels
def test_what_was_built_is_in_the_report(cache, monkeypatch, capfd):
    """Also where a broken library stood in its place before, which this process could not load."""

    def build_kernels():
        cache.mkdir(parents=True)
        (cache / 'report').touch()
        return cache / 'report'

    monkeypatch.setattr(build, 'build_kernels', build_kernels)
    monkeypatch.setattr(library, 'LOAD_PROBLEM', 'broken could not be loaded')
    assert check.find_faults()[0].startswith('broken could not be loaded; delete the file')
    assert check.main(['--build']) == 0
    said = capfd.readouterr().out
    assert f'compiled: {cache / "report"}' in said and 'CPU kernels: built' in said and 'no faults found' in said


def test_cache_belongs_to_torch_and_to_the_sources(cache, tmp_path, monkeypatch):
    assert build.find_cache('9.9.9') != cache and cache.is_relative_to(tmp_path)
    monkeypatch.setattr(build, 'PACKAGE', tmp_path)
    (tmp_path / 'csrc').mkdir()
    (tmp_path / 'csrc' / 'a.cpp').write_text('1')
    first = build.find_cache(torch.__version__)
    (tmp_path / 'csrc' / 'a.cpp').write_text('2')
    assert len({cache, first, build.find_cache(torch.__version__)}) == 3


def test_failed_build_leaves_nothing_and_shows_the_compiler(cache, monkeypatch):
    monkeypatch.setattr(build, 'choose_build', lambda: ('cpu', 'test'))
    monkeypatch.setattr(
        build.subprocess, 'run', lambda *args, **kwargs: subprocess.CompletedProcess(args, 1, 'error: no such header')
    )
    with pytest.raises(RuntimeError, match='no such header'):
        build.build_kernels()
    assert list(cache.iterdir()) == []


def test_nothing_to_build_with(cache, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    monkeypatch.delenv('DUALATTN_BUILD', raising=False)
    with pytest.raises(RuntimeError, match='there is no C\\+\\+ compiler'):
        build.build_kernels()


def test_a_user_without_a_home(monkeypatch):
    """As in a container that runs under a number of its own: nothing is found, and a build needs a place."""
    for name in ('HOME', 'USERPROFILE', 'LOCALAPPDATA', 'XDG_CACHE_HOME', 'DUALATTN_CACHE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, 'getuid', lambda: 2**31 - 7)  # whom the system does not know
    assert build.find_cached_kernels(torch.__version__) == []
    with pytest.raises(RuntimeError, match='no home to keep the kernels in: name a folder in DUALATTN_CACHE'):
        build.find_cache(torch.__version__)
    assert find_cache_folder() == Path(tempfile.gettempdir(), 'dualattn')
    monkeypatch.setenv('XDG_CACHE_HOME', 'there')
    assert find_cache_folder() == Path('there', 'dualattn')


@pytest.mark.long
@pytest.mark.skipif(sys.platform == 'win32', reason='the kernels are written for GCC and Clang')
def test_built_kernels_are_loaded(cache, monkeypatch):
    monkeypatch.setenv('DUALATTN_BUILD', 'cpu')
    file = build.build_kernels()
    assert file.parent == cache and build.find_damage(file) == ''
    compiled, reason = library._load()
    assert compiled is not None and reason == ''
