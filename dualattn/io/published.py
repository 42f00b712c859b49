"""Weights that others have published: what is known about each file, and how it comes onto this machine, whole.

Packages declare lists of `PublishedFile` as entry points of the group `dualattn.weights`; this module knows none by
name. Nothing is fetched unless somebody asks for it.
"""

import errno
import http.client
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from dualattn.io.files import hash_file, write_whole

__all__ = [
    'WEIGHTS_SUFFIXES',
    'DownloadError',
    'PublishedFile',
    'fetch_published',
    'find_published',
    'is_repository',
    'suggest_download',
]

GROUP = 'dualattn.weights'
WEIGHTS_SUFFIXES = ('.safetensors', '.pth', '.pt', '.bin', '.ckpt')
_REPOSITORY = re.compile(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*', re.ASCII)
CHUNK = 1 << 20  # bytes
TIMEOUT = 30  # seconds that a server may be silent
TRIES = 5  # connections without a single new byte, one after the other, until we give up


class DownloadError(OSError):
    """A published file cannot be had, or is not what was published; the message says what to do."""


@dataclass(frozen=True)
class PublishedFile:
    """What is known about a published file.

    Attributes:
        name: under which `dualattn weights get` fetches it.
        file: name of the file, as configs give it.
        url: where its authors publish it; '' for one of our own that only the history of a checkout keeps.
        licence: as its authors state it.
        purpose: what it is for.
        size: bytes, or None where no source gives them.
        sha256: its SHA-256, or the beginning of it that its file name carries; None where no source gives one.
        source: where size and hash were read.
        blob: git's name of the content in the history of our repository, for what travelled with a former version.
    """

    name: str
    file: str
    url: str
    licence: str
    purpose: str
    size: int | None = None
    sha256: str | None = None
    source: str = ''
    blob: str = ''


def find_published() -> dict[str, PublishedFile]:
    """Return the published files that the installed packages know, by their names."""
    files = [file for entry in entry_points(group=GROUP) for file in entry.load()]
    return {file.name: file for file in sorted(files, key=lambda file: file.name)}


def is_repository(name: str | os.PathLike) -> bool:
    """Tell whether a name that is no path means a repository: 'organization/name', without the suffix of weights."""
    text = os.fspath(name)
    is_file = text.endswith((*WEIGHTS_SUFFIXES, '.onnx'))
    return bool(_REPOSITORY.fullmatch(text)) and not is_file and not os.path.exists(text)


def suggest_download(path: str | os.PathLike) -> str:
    """Return the command that fetches a missing file, as the end of an error message; '' if nobody publishes it."""
    path = Path(path)
    for file in find_published().values():
        if file.file == path.name:
            folder = '' if path.parent in (Path('weights'), Path()) else f' -o {path.parent}'
            return f'; fetch it with: dualattn weights get {file.name}{folder}'
    return ''


def find_address(file: PublishedFile) -> str:
    """Return where a file is fetched from: an address, or the command that takes it out of a checkout's history.

    DUALATTN_MIRROR names a folder, as an address, that holds all files under their own names; HF_ENDPOINT replaces
    https://huggingface.co, as in huggingface_hub.
    """
    mirror = os.environ.get('DUALATTN_MIRROR')
    if mirror:
        return f'{mirror.rstrip("/")}/{file.file}'
    if file.blob:
        return f'git cat-file blob {file.blob}'
    hub = 'https://huggingface.co/'
    endpoint = os.environ.get('HF_ENDPOINT')
    return f'{endpoint.rstrip("/")}/{file.url.removeprefix(hub)}' if endpoint and file.url.startswith(hub) else file.url


def fetch_published(
    file: PublishedFile,
    folder: str | os.PathLike,
    show_progress: Callable[[int, int | None], None] = lambda done, total: None,
    wait: Callable[[float], None] = time.sleep,
) -> tuple[Path, str]:
    """Bring a published file into a folder, going on where an interrupted download stopped.

    What no source gives, the SHA-256 of some files, is computed and kept beside the file as `FILE.sha256`; from then on
    the file has to agree with it.

    Args:
        file: what to fetch.
        folder: where it goes, under its own name.
        show_progress: called with the bytes that are here and, if known, all bytes.
        wait: sleeps for a number of seconds between two tries.

    Returns:
        The file, and its SHA-256.

    Raises:
        DownloadError: the file is here and is another one; there is no network, or none is wanted (HF_HUB_OFFLINE);
            the server has no such file; what came is not what was published; the disk is full.
    """
    target = Path(folder, file.file)
    if target.is_dir():
        raise DownloadError(f'{target} is a folder, expected the file {file.file} or nothing')
    if target.exists():
        return target, _check(file, target, target, hash_file(target))
    from_history = bool(file.blob) and not os.environ.get('DUALATTN_MIRROR')
    if not from_history and os.environ.get('HF_HUB_OFFLINE', '').upper() in ('1', 'TRUE', 'YES', 'ON'):
        raise DownloadError(
            f'{target} is not here, and HF_HUB_OFFLINE forbids to fetch it; bring it from '
            f'{file.url or find_address(file)} by other means'
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f'{target.parent} cannot be made: {error.strerror}') from error
    part = target.with_name(f'.{file.file}.part')
    if from_history:
        _take_from_history(file, part, show_progress)
    else:
        _download(file, part, show_progress, wait)
    found = hash_file(part)
    try:
        _check(file, target, part, found)
    except DownloadError:
        part.unlink()
        raise
    os.replace(part, target)
    part.with_suffix('.json').unlink(missing_ok=True)
    if file.sha256 is None or len(file.sha256) < 64:
        with write_whole(target.with_name(f'{file.file}.sha256')) as aside:
            aside.write_text(f'{found}  {file.file}\n', encoding='utf-8')
    return target, found


def _check(file: PublishedFile, target: Path, path: Path, found: str) -> str:
    """Compare a file with what is known about it; returns its SHA-256."""
    kept = target.with_name(f'{file.file}.sha256')
    expected = [(file.sha256 or '', file.source or 'the name of the file')]
    if kept.is_file():
        expected.append((kept.read_text(encoding='utf-8').split(' ')[0].strip(), str(kept)))
    for digest, source in expected:
        if not found.startswith(digest):
            what = 'what came' if path != target else str(target)
            raise DownloadError(
                f'{what} is not {file.file} as published: expected SHA-256 {digest}{"..." * (len(digest) < 64)} '
                f'({source}), got {found}; '
                + ('nothing was kept, try again or another mirror' if path != target else 'delete it and fetch it anew')
            )
    return found


def _take_from_history(file: PublishedFile, part: Path, show_progress: Callable[[int, int | None], None]) -> None:
    """Fill `part` with what git keeps of a former version of this repository."""
    reason = ''
    for checkout in (Path(__file__).resolve().parents[2], Path.cwd()):
        command = ['git', '-C', str(checkout), 'cat-file', 'blob', file.blob]
        try:
            with part.open('wb') as out:
                done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, check=False)
        except OSError as error:  # no git here, or no place to write
            reason = str(error)
            continue
        if done.returncode == 0:
            show_progress(part.stat().st_size, file.size)
            return
        reason = os.fsdecode(done.stderr).strip()
    part.unlink(missing_ok=True)
    raise DownloadError(
        f'{file.file} travelled with a former version and is in the history of a checkout alone, which is not here '
        f'({reason}). Run this command inside a clone with its whole history, or there: git cat-file blob {file.blob} '
        f'> {file.file}; DUALATTN_MIRROR names a server that has it'
    )


def _download(
    file: PublishedFile, part: Path, show_progress: Callable[[int, int | None], None], wait: Callable[[float], None]
) -> None:
    """Fill `part`, in as many connections as it takes."""
    address = find_address(file)
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _receive(file, address, part, show_progress):
                return
            reason: object = 'the connection was cut'
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise DownloadError(
                    f'{address}: the server answers {error.code} {error.reason}; DUALATTN_MIRROR names another one'
                ) from error
            reason = f'{error.code} {error.reason}'
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = getattr(error, 'reason', None) or error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                free = shutil.disk_usage(part.parent).free
                raise DownloadError(
                    f'{part.parent}: the disk is full, {free / 1e6:.0f} MB are free; make room and go on with the '
                    'same command, or choose another folder with -o'
                ) from error
            raise DownloadError(f'{part}: {error.strerror or error}') from error
        failures = 0 if part.exists() and part.stat().st_size > before else failures + 1
        if failures == TRIES:
            raise DownloadError(
                f'{address} cannot be reached or breaks off ({reason}); what came is kept, the same command goes on '
                f'with it. Without network, copy {file.file} to {part.parent} by other means; DUALATTN_MIRROR names '
                'another server'
            )
        wait(min(2.0**failures, 30.0))


def _receive(file: PublishedFile, address: str, part: Path, show_progress: Callable[[int, int | None], None]) -> bool:
    """Receive over one connection; returns whether the file is whole."""
    notes = part.with_suffix('.json')  # which version of the file the beginning is from
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={'User-Agent': 'dualattn', 'Accept-Encoding': 'identity'})
    tag = json.loads(notes.read_text(encoding='utf-8')) if have and notes.is_file() else None
    if have and tag:
        request.add_header('Range', f'bytes={have}-')
        request.add_header('If-Range', tag)
    else:
        have = 0
    try:
        connection = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # nothing lies behind what is here: it is whole, or longer than the file is now, and then no beginning of it
        if error.headers.get('Content-Range') == f'bytes */{have}':
            return True
        part.unlink()
        return False
    with connection as answer:
        if answer.status != 206:  # the whole file: it has changed, or the server does not go on in the middle
            have = 0
        length = answer.headers.get('Content-Length')
        total = have + int(length) if length is not None else file.size
        if total is not None and shutil.disk_usage(part.parent).free < total - have:
            raise OSError(errno.ENOSPC, f'{total / 1e6:.0f} MB are needed')
        version = answer.headers.get('ETag') or answer.headers.get('Last-Modified')
        notes.write_text(json.dumps(version), encoding='utf-8')
        with part.open('ab' if have else 'wb') as out:
            show_progress(have, total)
            while chunk := answer.read(CHUNK):
                out.write(chunk)
                have += len(chunk)
                show_progress(have, total)
            out.flush()
            os.fsync(out.fileno())
    return total is None or have >= total
