"""Files that appear whole or not at all, and lists of files."""

import errno
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dualattn.io import files
from dualattn.io.files import find_files, list_files, remove_leftovers, write_json, write_whole

IMAGES = ('.jpg', '.png')


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


# --- writing


def test_the_file_appears_at_the_end(tmp_path):
    with write_whole(tmp_path / 'a.json') as aside:
        assert aside.suffix == '.json'
        aside.write_text('new')
        assert not (tmp_path / 'a.json').exists()
    assert contents(tmp_path) == {'a.json': 'new'}


@pytest.mark.parametrize('overwrite', [True, False])
def test_an_error_leaves_what_was_there(tmp_path, overwrite):
    name = 'a.json' if overwrite else 'b.json'
    (tmp_path / 'a.json').write_text('old')
    with pytest.raises(RuntimeError, match='full'), write_whole(tmp_path / name, overwrite) as aside:
        aside.write_text('half')
        raise RuntimeError('full')
    assert contents(tmp_path) == {'a.json': 'old'}


def test_a_file_is_flushed_before_it_gets_its_name(tmp_path, monkeypatch):
    """On file systems that write names before contents a power failure would leave an empty file otherwise."""
    steps = []
    sync, replace = os.fsync, os.replace

    def log_sync(descriptor):
        steps.append(os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}')))
        sync(descriptor)

    def log_replace(source, target):
        steps.append('rename')
        replace(source, target)

    if not Path('/proc/self/fd').is_dir():
        pytest.skip('this system has no /proc, which tells the name of an open file')
    monkeypatch.setattr(os, 'fsync', log_sync)
    monkeypatch.setattr(os, 'replace', log_replace)
    with write_whole(tmp_path / 'a.txt') as aside:
        aside.write_text('new')
    assert steps == [aside.name, 'rename', tmp_path.name]


@pytest.mark.parametrize('number', [errno.EINVAL, errno.EACCES])
def test_folders_that_cannot_be_flushed_do(tmp_path, monkeypatch, number):
    opened = os.open

    def refuse(path, flags, *args, **kwargs):
        if os.path.isdir(path):
            raise OSError(number, 'no')
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, 'open', refuse)
    with write_whole(tmp_path / 'a.txt') as aside:
        aside.write_text('new')
    assert contents(tmp_path) == {'a.txt': 'new'}


def test_names_of_any_length_that_the_file_system_takes(tmp_path):
    for name in ('n' * 251 + '.png', 'a.' + 's' * 253):
        with write_whole(tmp_path / name) as aside:
            aside.write_text('new')
    assert len(contents(tmp_path)) == 2


def test_without_overwriting_an_existing_file_stays(tmp_path):
    (tmp_path / 'a').write_text('old')
    (tmp_path / 'link').symlink_to('nowhere')
    for name in ('a', 'link'):
        message = f'{name} exists; remove it or allow overwriting'
        with pytest.raises(FileExistsError, match=message), write_whole(tmp_path / name, overwrite=False):
            pytest.fail('the block would do its work in vain')
    assert (tmp_path / 'a').read_text() == 'old'


@pytest.mark.parametrize('has_links', [True, False])
def test_without_overwriting_a_file_of_another_process_stays(tmp_path, monkeypatch, has_links):
    def refuse(source, target):
        raise OSError(errno.EPERM, 'Operation not permitted')

    if not has_links:
        monkeypatch.setattr(os, 'link', refuse)
    with pytest.raises(FileExistsError, match='a exists'), write_whole(tmp_path / 'a', overwrite=False) as aside:
        aside.write_text('ours')
        (tmp_path / 'a').write_text('theirs')
    assert contents(tmp_path) == {'a': 'theirs'}
    with write_whole(tmp_path / 'b', overwrite=False) as aside:
        aside.write_text('ours')
    assert contents(tmp_path) == {'a': 'theirs', 'b': 'ours'}


def write_nothing(aside):
    pass


def be_refused(aside):
    raise PermissionError(errno.EACCES, 'Permission denied', str(aside))


@pytest.mark.parametrize(
    ('name', 'write', 'error', 'reason'),
    [
        ('none/a.txt', Path.touch, FileNotFoundError, 'No such file or directory: .*none; choose another place'),
        ('file/a.txt', Path.touch, FileNotFoundError, 'No such file or directory: .*file; choose another place'),
        ('folder', Path.touch, IsADirectoryError, 'it is a folder; choose another place'),
        ('a.txt', write_nothing, OSError, 'nothing came out'),
        ('a.txt', be_refused, PermissionError, 'Permission denied; choose another place'),
    ],
)
def test_errors_name_the_file_that_was_asked_for(tmp_path, name, write, error, reason):
    make(tmp_path, 'file', 'folder/inside')
    message = re.escape(f'{tmp_path / name}: cannot be written: ') + reason
    with pytest.raises(error, match=message), write_whole(tmp_path / name) as aside:
        write(aside)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'folder']


def test_errors_of_other_files_and_of_connections_stay_as_they_are(tmp_path):
    for error in (FileNotFoundError(errno.ENOENT, 'No such file', 'input.txt'), ConnectionResetError(104, 'reset')):
        with pytest.raises(type(error)) as caught, write_whole(tmp_path / 'a.txt'):
            raise error
        assert caught.value is error


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no limit on the size of a file')
def test_a_full_disk(tmp_path):
    """Stands in for one: a limit on the size of files, which the system enforces while they are written."""
    (tmp_path / 'a.bin').write_bytes(b'old')
    code = (
        'import resource, sys\n'
        'from dualattn.io.files import write_whole\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n'
        'try:\n'
        '    with write_whole(sys.argv[1]) as aside:\n'
        '        aside.write_bytes(bytes(2000))\n'
        'except OSError as error:\n'
        '    print(error, "#", error.errno)\n'
    )
    done = subprocess.run([sys.executable, '-c', code, tmp_path / 'a.bin'], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f'{tmp_path / "a.bin"}: cannot be written: File too large; choose another place # {errno.EFBIG}\n'
    )
    assert contents(tmp_path) == {'a.bin': 'old'}


def test_json(tmp_path):
    write_json(tmp_path / 'a.json', dict(name='Çeşme', score=0.5))
    assert json.loads((tmp_path / 'a.json').read_bytes()) == dict(name='Çeşme', score=0.5)
    with pytest.raises(TypeError):
        write_json(tmp_path / 'a.json', dict(path=Path('a')))
    assert list(contents(tmp_path)) == ['a.json']


def test_what_a_kill_leaves_can_be_removed(tmp_path):
    code = (
        'import os, signal, sys\n'
        'from dualattn.io.files import write_whole\n'
        'with write_whole(sys.argv[1]) as aside:\n'
        '    aside.write_text("half")\n'
        '    os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    for name in ('a.pth', 'a.png'):
        subprocess.run([sys.executable, '-c', code, tmp_path / name], check=False)
    (tmp_path / '.hidden.pth').touch()
    (tmp_path / 'a.part.pth').touch()
    assert len(contents(tmp_path)) == 4
    remove_leftovers(tmp_path, ['.pth'])
    assert len(contents(tmp_path)) == 3
    remove_leftovers(tmp_path, ['.png', ''])
    assert sorted(contents(tmp_path)) == ['.hidden.pth', 'a.part.pth']


# --- listing


def test_list_of_a_folder(tmp_path):
    make(tmp_path, 'b.png', 'a.JPG', '.c.png', 'd.txt', 'e', 'sub/f.png', 'sub.png/g.png', '.hidden/h.png')
    assert list_files(tmp_path, IMAGES) == [tmp_path / 'a.JPG', tmp_path / 'b.png']
    below = [path.relative_to(tmp_path).as_posix() for path in list_files(tmp_path, IMAGES, recursive=True)]
    assert below == ['a.JPG', 'b.png', 'sub/f.png', 'sub.png/g.png']
    assert list_files(tmp_path / '.hidden', IMAGES) == [tmp_path / '.hidden' / 'h.png']


def test_links_are_followed_on_request_and_circles_end(tmp_path):
    make(tmp_path / 'top', 'a.png')
    make(tmp_path / 'other', 'b.png')
    (tmp_path / 'top' / 'link').symlink_to(tmp_path / 'other')
    (tmp_path / 'top' / 'circle').symlink_to(tmp_path / 'top')
    (tmp_path / 'other' / 'back').symlink_to(tmp_path / 'top')
    assert [path.name for path in list_files(tmp_path / 'top', IMAGES, recursive=True)] == ['a.png']
    found = list_files(tmp_path / 'top', IMAGES, recursive=True, follow_links=True)
    assert [path.name for path in found] == ['a.png', 'b.png']


def test_folders_that_cannot_be_listed(tmp_path, caplog, monkeypatch):
    with pytest.raises(FileNotFoundError, match='none'):
        list_files(tmp_path / 'none', IMAGES)
    make(tmp_path, 'a.png', 'locked/b.png')
    with pytest.raises(NotADirectoryError, match=r'a\.png'):
        list_files(tmp_path / 'a.png', IMAGES)
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith('locked'):
            raise PermissionError(errno.EACCES, 'Permission denied', os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, 'scandir', refuse)  # the tests may run as root, who may read everything
    with caplog.at_level(logging.WARNING, logger=files.__name__):
        assert list_files(tmp_path, IMAGES, recursive=True) == [tmp_path / 'a.png']
    assert 'locked: this folder cannot be searched: Permission denied' in caplog.text


def test_find_files_of_all_kinds_of_input(tmp_path, monkeypatch):
    make(tmp_path, 'a.png', 'b.txt', 'c[1].dat', 'folder/d.png', 'folder/deep/e.png', 'scans/19_a.tif', 'scans/20.tif')
    monkeypatch.chdir(tmp_path)
    found = find_files(['b.txt', 'folder', 'c[1].dat', 'scans/19*.tif', './b.txt', Path('a.png')], IMAGES)
    assert {path.as_posix(): name for path, name in found.items()} == {
        'b.txt': 'b.txt',
        'folder/d.png': 'folder',
        'c[1].dat': 'c[1].dat',
        'scans/19_a.tif': 'scans/19*.tif',
        'a.png': 'a.png',
    }
    assert [path.name for path in find_files(['folder'], IMAGES, recursive=True)] == ['d.png', 'e.png']
    assert [path.name for path in find_files(['**/*.png'], ())] == ['a.png', 'd.png', 'e.png']


@pytest.mark.parametrize(
    ('name', 'wanted'),
    [
        ('none.png', 'expected a file or a folder'),
        ('', "''.* expected a file or a folder"),
        ('*.gif', 'expected files that match this pattern'),
        ('empty', r'expected a folder with such files in it itself, not in its subfolders \(suffixes: \.jpg \.png\)'),
    ],
)
def test_an_input_that_names_nothing(tmp_path, monkeypatch, name, wanted):
    make(tmp_path, 'empty/deep/a.png')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=wanted):
        find_files([name], IMAGES)
