"""What visitors of the page have on the server's disk, and how much of it they may have."""

import os
import re
import shutil
import threading
import time
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ['PREVIEW', 'Limits', 'PageError', 'VisitorFiles', 'clean_name']

PREVIEW = 'preview-'  # how the pictures are called that the page shows
_SESSION, _UPLOAD = 'session-', 'upload-'
_RESULT = re.compile(r'.+_color\.\w+|colorized\.zip')
_UNSAFE = re.compile(r'[^\w.-]+')
_NAME_LENGTH = 80, 160  # characters and bytes; a file system takes 255 bytes, and more is added
_LEAST = 1 << 20  # bytes that a file counts at least, so that there are not millions of them
_STEP = 1 << 24  # bytes between two looks at how full the folder is


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    Attributes:
        megapixels: of a photograph.
        megabytes: of an uploaded file.
        files: photographs at a time.
        queue: visitors that wait; one more is told that the queue is full.
        seconds: for the photographs of one ZIP; those that did not get their turn are named.
        sessions: visitors whose photographs are kept open; the longest unused one loses its turn.
        idle: seconds after which an unused session ends.
        unclaimed: seconds after which an upload that no session has taken over is deleted.
        gigabytes: of all that visitors have on the server's disk.
    """

    megapixels: float = 60
    megabytes: float = 100
    files: int = 50
    queue: int = 16
    seconds: float = 600
    sessions: int = 8
    idle: float = 3600
    unclaimed: float = 900
    gigabytes: float = 20


class PageError(ValueError):
    """What is told to the visitor."""


class VisitorFiles:
    """A folder with what visitors uploaded, each file in a folder of its own, and one folder for each session.

    Args:
        folder: nothing else may be there.
        limits: see `Limits`.
    """

    def __init__(self, folder: Path, limits: Limits):
        self.folder = folder
        self.limits = limits
        self._open: set[Path] = set()
        self._lock = threading.Lock()
        self._incoming = 0  # bytes of uploads that are under way

    def open_folder(self) -> Path:
        """Make the folder of a session, under a name that nobody can guess."""
        folder = self.folder / f'{_SESSION}{uuid.uuid4().hex}'
        with self._lock:
            folder.mkdir()
            self._open.add(folder)
        return folder

    def close_folder(self, folder: Path) -> None:
        """Delete the folder of a session, with all that is in it; see `sweep` for what is written afterwards."""
        with self._lock:
            self._open.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def take_upload(self) -> Iterator['Incoming']:
        """Count what an upload brings, of which nothing has a name on the disk before it is whole."""
        incoming = Incoming(self)
        try:
            yield incoming
        finally:
            self.count(-incoming.size)

    def count(self, size: int) -> None:
        """Note that so many bytes more are on their way, or fewer."""
        with self._lock:
            self._incoming += size

    def measure_room(self) -> float:
        """Return how many bytes visitors may still put on the disk."""
        used = 0
        for parent, _, names in os.walk(self.folder):
            for name in names:
                try:
                    used += max(_LEAST, os.lstat(os.path.join(parent, name)).st_size)
                except OSError:  # others delete
                    continue
        return self.limits.gigabytes * 1e9 - used - self._incoming

    def store(self, name: str | None, content: BinaryIO) -> Path:
        """Keep an uploaded file until an event comes for it, under a path that nobody can guess."""
        place = self.folder / f'{_UPLOAD}{uuid.uuid4().hex}'
        place.mkdir()
        path = place / clean_name(name)
        with path.open('xb') as file:
            shutil.copyfileobj(content, file)
        return path

    def is_upload(self, path: Any) -> bool:
        """Return whether a path is that of an upload which no session has taken over."""
        found = self._find(path)
        return found is not None and found.parent.name.startswith(_UPLOAD)

    def find_result(self, path: str) -> Path | None:
        """Return the file at a path that a session has made, a picture or an archive of them; None for anything else.

        What visitors sent is shown to nobody: it may be a page with a script in it.
        """
        found = self._find(path)
        if found is None or not found.parent.name.startswith(_SESSION):
            return None
        return found if found.name.startswith(PREVIEW) or _RESULT.fullmatch(found.name) else None

    def _find(self, path: Any) -> Path | None:
        """Return the file of a visitor that a path leads to, its links followed; None where there is none."""
        if not isinstance(path, str):
            return None
        try:
            found, folder = Path(path).resolve(), self.folder.resolve()
            return found if found.parent.parent == folder and found.is_file() else None
        except (OSError, ValueError, RuntimeError):  # too long, a zero byte, links in a circle
            return None

    def forget(self, path: Path) -> None:
        """Delete an upload, or what is left of it once it was moved away."""
        if path.parent.name.startswith(_UPLOAD):
            shutil.rmtree(path.parent, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what no session owns: uploads that nobody came for, and what was written into a session that ended."""
        now = time.time()
        with self._lock:
            entries = [entry for entry in self.folder.iterdir() if entry not in self._open]
        for entry in entries:
            try:
                if entry.name.startswith(_SESSION):
                    shutil.rmtree(entry)
                elif now - entry.stat().st_mtime > self.limits.unclaimed:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            except OSError:  # others delete too
                continue


class Incoming:
    """What an upload has brought so far.

    Args:
        files: where it comes to.

    Attributes:
        size: bytes of its request.
    """

    def __init__(self, files: VisitorFiles):
        self.files = files
        self.size = 0

    def add(self, size: int) -> None:
        """Count a piece.

        Raises:
            PageError: that is more than an upload may bring, or than there is room for.
        """
        limits = self.files.limits
        self.files.count(size)
        steps = self.size // _STEP
        self.size += size
        # each file twice for a moment: as it comes, and as it is kept
        if self.size > limits.files * limits.megabytes * 1e6:
            raise PageError(f'more than the limit of {limits.files} files with {limits.megabytes:g} MB each')
        if (steps < self.size // _STEP or self.size == size) and self.files.measure_room() < self.size:
            raise PageError('the server has no room left; wait until others have left')


def clean_name(name: str | None) -> str:
    """Return the name of an uploaded file: letters and digits of any script, points and hyphens."""
    kept = _UNSAFE.sub('_', re.split(r'[/\\]', unicodedata.normalize('NFC', name or ''))[-1])
    characters, size = _NAME_LENGTH
    kept = os.fsencode(kept[-characters:])[-size:].decode(errors='ignore')
    return kept if kept.strip('._') else 'photograph'
