"""Files that appear whole or not at all, and the one way to list them."""

import errno
import glob
import hashlib
import json
import logging
import os
import re
import tempfile
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    'as_folders',
    'find_cache_folder',
    'find_files',
    'find_reserved',
    'hash_file',
    'list_files',
    'remove_leftovers',
    'write_json',
    'write_whole',
]

logger = logging.getLogger(__name__)

# Short and hidden: a name that is just within the limit of the file system must not become too long, and what a kill
# leaves behind must not look like a finished file.
_ASIDE = '.{}.part{}'
_ASIDE_NAME = re.compile(r'\.[0-9a-f]{32}\.part(|\..+)')
_LONGEST_SUFFIX = 32  # bytes; no format has a longer one
# what says that a disk cannot take a file, though it names none; a connection that breaks is no such thing
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
# what systems say that cannot flush a folder, or may not open it for that
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR}
_ON_WINDOWS = os.name == 'nt'
# devices of DOS, which Windows opens in their place whatever the folder and the suffix
_DEVICES = re.compile(
    r'(CON|PRN|AUX|NUL|COM[1-9\u00b9\u00b2\u00b3]|LPT[1-9\u00b9\u00b2\u00b3])( *\..*)?', re.IGNORECASE
)
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}


def find_reserved(name: str) -> str | None:
    """Return why Windows cannot have a file of this name, None where it can.

    Args:
        name: the last part of a path.
    """
    if _DEVICES.fullmatch(name):
        return f'{name.partition(".")[0]} is a device on Windows'
    wrong = sorted({letter for letter in name if letter in '<>:"/\\|?*' or ord(letter) < 32})
    if wrong:
        return f'Windows has no {" ".join(map(repr, wrong))} in names'
    if name.endswith((' ', '.')):
        return 'Windows takes the space or dot from the end of a name'
    return None


@contextmanager
def write_whole(path: str | os.PathLike, overwrite: bool = True) -> Iterator[Path]:
    """Yield another name in the same folder, with the same suffix, that becomes `path` when the block ends.

    What the block wrote there is flushed to the disk before it gets its name, and so is the folder where the system can
    do that, so that even a power failure leaves the old file or the new one. When the block raises, what it wrote is
    deleted, and a file that was there before stays as it was.

    Args:
        path: the file to be written.
        overwrite: replace a file that exists; otherwise not even one that another process makes in the meantime.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        FileNotFoundError: there is no such folder.
        IsADirectoryError: `path` is a folder.
        OSError: the file cannot be written (names it and the reason; on Windows also a name that it reserves), or the
            block wrote nothing.
    """
    path = Path(path)
    if path.is_dir():
        raise _error(errno.EISDIR, path, 'it is a folder')
    if _ON_WINDOWS and (reserved := find_reserved(path.name)):
        raise _error(errno.EINVAL, path, reserved)
    if not path.parent.is_dir():
        raise _error(errno.ENOENT, path, f'{os.strerror(errno.ENOENT)}: {path.parent}')
    if not overwrite and os.path.lexists(path):
        raise _already_there(path)
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ''
    aside = path.with_name(_ASIDE.format(uuid.uuid4().hex, suffix))
    try:
        yield aside
        if not aside.is_file():
            raise _error(errno.EIO, path, 'nothing came out')
        with open(aside, 'r+b') as file:  # Windows flushes only what is open for writing
            os.fsync(file.fileno())
        if overwrite:
            os.replace(aside, path)
        else:
            _rename_to_new(aside, path)
        _sync_folder(path.parent)
    except OSError as error:
        is_about_aside = error.filename in (aside, str(aside))  # a name that tells the user nothing
        is_about_disk = error.filename is None and error.errno in _DISK_ERRORS
        if error.errno is None or error.strerror is None or not (is_about_aside or is_about_disk):
            raise
        raise _error(error.errno, path, error.strerror) from error
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value: Any, indent: int | None = 1) -> None:
    """Write a value as JSON in UTF-8, whole or not at all.

    Raises:
        TypeError: JSON has no form for it.
        OSError: see `write_whole`.
    """
    text = json.dumps(value, indent=indent) + '\n'
    with write_whole(path) as aside:
        aside.write_text(text, encoding='utf-8', newline='\n')


def remove_leftovers(folder: str | os.PathLike, suffixes: Collection[str]) -> None:
    """Delete what killed processes were writing by `write_whole` in a folder, for files with one of these suffixes.

    Only for a folder in which no other process writes such files now.
    """
    for entry in Path(folder).iterdir():
        name = _ASIDE_NAME.fullmatch(entry.name)
        if name and name[1] in suffixes:
            entry.unlink()


def find_cache_folder() -> Path:
    """Return the folder for what can be had again, `dualattn` below XDG_CACHE_HOME, by default ~/.cache.

    A user without a home, as in some containers, has no place that lasts: then it lies in the temporary folder.
    """
    folder = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(tempfile.gettempdir() if folder.startswith('~') else folder, 'dualattn')


def hash_file(path: str | os.PathLike) -> str:
    """Compute the sha256 of a file, as 64 hexadecimal digits in lower case."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def list_files(
    folder: str | os.PathLike, suffixes: Collection[str], recursive: bool = False, follow_links: bool = False
) -> list[Path]:
    """List the files of a folder, sorted by the parts of their paths; hidden files and folders are left out.

    A folder inside that may not be read is reported and left out.

    Args:
        folder: where to look; it may be hidden itself.
        suffixes: such as '.png', lower case; those of files are compared without regard to case.
        recursive: also look in the folders inside.
        follow_links: then also look in linked folders, in each folder once, so that circles of links end.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: it is a file.
        PermissionError: it may not be read.
    """
    top = os.fspath(folder)

    def refuse(error: OSError) -> None:
        if error.filename == top:
            raise error
        logger.warning('%s: this folder cannot be searched: %s', error.filename, error.strerror)

    files: list[Path] = []
    visited: set[str] = set()
    for parent, folders, names in os.walk(top, onerror=refuse, followlinks=follow_links):
        if follow_links:
            real = os.path.realpath(parent)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
        folders[:] = sorted(name for name in folders if recursive and not name.startswith('.'))
        files += [
            Path(parent, name)
            for name in names
            if not name.startswith('.') and os.path.splitext(name)[1].lower() in suffixes
        ]
    return sorted(files, key=lambda file: file.parts)


def as_folders(value: str | os.PathLike | int | Iterable[str | os.PathLike | int]) -> list[Path]:
    """Return the folders that a config or a command line names: one or several.

    A command line reads the folder `1920` as a number and `Rome, 1920` as two names; both are taken for what is there.
    `~` stands for the user's folder.
    """
    parts = [value] if isinstance(value, (str, os.PathLike, int, float)) else list(value)
    names = [os.fspath(part) if isinstance(part, os.PathLike) else str(part) for part in parts]
    if len(names) > 1 and not all(os.path.isdir(os.path.expanduser(name)) for name in names):
        for separator in (',', ', '):
            if os.path.isdir(os.path.expanduser(separator.join(names))):
                names = [separator.join(names)]
                break
    return [Path(name).expanduser() for name in names]


def find_files(
    inputs: Iterable[str | os.PathLike], suffixes: Collection[str], recursive: bool = False
) -> dict[Path, str]:
    """Find the files that paths, folders and glob patterns name, in a stable order and each once.

    A named file is taken whatever its suffix. A folder gives what `list_files` lists, linked folders included. A
    pattern (`*`, `?`, `[...]`, `**`) gives all files that match it.

    Args:
        inputs: paths, folders and patterns.
        suffixes: those that a folder is searched for, such as '.png', lower case.
        recursive: search folders with the folders inside.

    Returns:
        Each file, and the input that led to it.

    Raises:
        FileNotFoundError: an input names nothing; the message says what was looked for.
    """
    found: dict[str, tuple[Path, str]] = {}
    known = ' '.join(sorted(suffixes))
    for given in inputs:
        name: str = os.fspath(given)
        paths: list[Path]
        if os.path.isdir(name):
            paths = list_files(name, suffixes, recursive, follow_links=True)
            wanted = f'a folder with such files in it{"" if recursive else " itself, not in its subfolders"}'
        elif os.path.exists(name):  # before patterns: a name may hold brackets
            paths, wanted = [Path(name)], ''
        elif glob.has_magic(name):
            paths = [Path(path) for path in sorted(glob.glob(name, recursive=True)) if os.path.isfile(path)]
            wanted = 'files that match this pattern'
        else:
            paths, wanted = [], 'a file or a folder'
        if not paths:
            raise FileNotFoundError(f'{name or repr(name)}: nothing found, expected {wanted} (suffixes: {known})')
        for path in paths:
            found.setdefault(os.path.abspath(path), (path, name))
    return dict(found.values())


def _error(number: int, path: Path, reason: str) -> OSError:
    """Return the error that belongs to a number of the system, with a message that begins with the file."""
    if number == errno.EEXIST:
        message = f'{path} exists; remove it or allow overwriting'
    else:
        message = f'{path}: cannot be written: {reason}; choose another place'
    error = type(OSError(number, reason))(message)
    error.errno = number
    return error


def _already_there(path: Path) -> OSError:
    return _error(errno.EEXIST, path, 'it exists')


def _rename_to_new(aside: Path, path: Path) -> None:
    """Give a file its name unless something has that name, in one step where the file system can."""
    try:
        if _ON_WINDOWS:
            aside.rename(path)  # there, and only there, it refuses what exists
        else:
            os.link(aside, path)
    except FileExistsError as error:
        raise _already_there(path) from error
    except OSError as error:
        if _ON_WINDOWS or error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(path):
            raise _already_there(path) from error
        os.replace(aside, path)


def _sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk; Windows and some file systems have no such thing."""
    if _ON_WINDOWS:
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
