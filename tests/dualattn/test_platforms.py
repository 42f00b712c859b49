"""What differs on Windows, macOS and ARM, as far as it can be played on Linux."""

import contextlib
import errno
import io
import os
import sys
from pathlib import Path

import pytest
import torch

from dualattn.commands import check, front
from dualattn.io import files
from dualattn.io.files import find_reserved, write_whole
from dualattn.ops import build


@pytest.fixture
def windows(monkeypatch):
    """Files as Windows has them: a rename refuses what exists, folders cannot be opened, there are no hard links."""
    rename, open_ = Path.rename, os.open

    def refuse_existing(self, target):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, 'exists', str(self), 183, str(target))
        return rename(self, target)

    def refuse_folders(path, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, 'Permission denied', str(path))
        return open_(path, *args, **kwargs)

    def refuse_links(*args, **kwargs):
        raise OSError(errno.EINVAL, 'Incorrect function')

    monkeypatch.setattr(files, '_ON_WINDOWS', True)
    monkeypatch.setattr(Path, 'rename', refuse_existing)
    monkeypatch.setattr(os, 'open', refuse_folders)
    monkeypatch.setattr(os, 'link', refuse_links)


@pytest.mark.parametrize('overwrite', [True, False])
def test_files_are_whole_on_windows(windows, tmp_path, overwrite):
    with write_whole(tmp_path / 'a.txt', overwrite) as aside:
        aside.write_text('new')
    assert [path.name for path in tmp_path.iterdir()] == ['a.txt']
    expected = contextlib.nullcontext() if overwrite else pytest.raises(FileExistsError, match='a.txt exists')
    with expected, write_whole(tmp_path / 'a.txt', overwrite) as aside:
        aside.write_text('newer')
    assert (tmp_path / 'a.txt').read_text() == ('newer' if overwrite else 'new')


def test_a_file_that_appears_meanwhile_is_kept_on_windows(windows, tmp_path):
    with pytest.raises(FileExistsError, match='a.txt exists'), write_whole(tmp_path / 'a.txt', False) as aside:
        aside.write_text('ours')
        (tmp_path / 'a.txt').write_text('theirs')
    assert (tmp_path / 'a.txt').read_text() == 'theirs' and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    'name', ['con', 'NUL.png', 'com1.tar.gz', 'LPT9', 'aux .txt', 'a:b.png', 'what?.png', 'a|b', 'end.', 'end ', 'a\tb']
)
def test_names_that_windows_reserves(windows, tmp_path, name):
    assert find_reserved(name)
    with pytest.raises(OSError, match='cannot be written'), write_whole(tmp_path / name) as aside:
        aside.touch()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'name', ['console.png', 'null.png', 'com10.txt', 'communion.jpg', '.hidden', 'a b.png', 'ÄÖ.png']
)
def test_names_that_look_like_it(windows, tmp_path, name):
    assert find_reserved(name) is None
    with write_whole(tmp_path / name) as aside:
        aside.touch()


def test_reserved_names_are_good_elsewhere(tmp_path):
    with write_whole(tmp_path / 'nul.png') as aside:
        aside.touch()
    assert (tmp_path / 'nul.png').is_file()


@pytest.mark.parametrize('verb', ['', *sorted(front.find_verbs())])
def test_help_is_printed_on_a_console_of_western_europe(verb, monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding='cp1252')
    monkeypatch.setattr(sys, 'stdout', console)
    with contextlib.suppress(SystemExit):
        front.main([verb, '--help'] if verb else ['--help'])
    console.flush()
    assert b'usage: dualattn' in console.buffer.getvalue()


def test_what_a_console_cannot_show_is_escaped(monkeypatch, tmp_path):
    console = io.TextIOWrapper(io.BytesIO(), encoding='cp1252')
    monkeypatch.setattr(sys, 'stderr', console)
    assert front.main(['hues', str(tmp_path / '写真')]) == 2
    console.flush()
    assert rb'\u5199\u771f: no such file or folder' in console.buffer.getvalue()


def test_windows_runs_the_reference(monkeypatch, tmp_path):
    monkeypatch.setattr(build.sys, 'platform', 'win32')
    monkeypatch.delenv('DUALATTN_BUILD', raising=False)
    assert build.choose_build() == ('none', 'the kernels are written for GCC and Clang')
    monkeypatch.setenv('DUALATTN_BUILD', 'cpu')
    with pytest.raises(RuntimeError, match='DUALATTN_BUILD=cpu cannot be met'):
        build.choose_build()
    monkeypatch.delenv('DUALATTN_CACHE', raising=False)
    monkeypatch.setenv('LOCALAPPDATA', str(tmp_path))
    assert build.find_cache('2.11.0').is_relative_to(tmp_path / 'dualattn')


@pytest.mark.parametrize('available', [True, False])
def test_macos_names_its_gpu(monkeypatch, capsys, available):
    monkeypatch.setattr(check.sys, 'platform', 'darwin')
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: available)
    check.show_devices()
    assert f'MPS: {"available" if available else "not available"}' in capsys.readouterr().out
