"""Which photographs a run is at work on, so that another run in the same folder takes others."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: both runs may then work on one photograph, and the first one to finish writes it
    fcntl = None

_NAME = '.{}.claim'


class Claims:
    """Claims on files that are about to be written: empty hidden files beside them, locked while a run lives.

    The system takes the lock from a process that dies, so that a claim that was left behind holds nobody back. Where a
    folder or its file system knows no locks, everything may be claimed.

    >>> with Claims() as claims:
    ...     if claims.take(target): ...
    """

    def __init__(self) -> None:
        self._held: dict[Path, tuple[int, Path]] = {}

    def __enter__(self) -> 'Claims':
        return self

    def __exit__(self, *error: object) -> None:
        for target in list(self._held):
            self.give_back(target)

    def take(self, target: Path) -> bool:
        """Claim a file; False where another run has it."""
        if fcntl is None or target in self._held:
            return True
        digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()
        path = target.with_name(_NAME.format(digest[:32]))
        while True:
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, 'O_CLOEXEC', 0), 0o666)
            except OSError:  # whoever cannot make this cannot write the photograph, and is told so then
                return True
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    self._held[target] = descriptor, path
                    return True
            except BlockingIOError:
                os.close(descriptor)
                return False
            except FileNotFoundError:
                pass  # given back between both calls: once more
            except OSError:  # no locks here
                path.unlink(missing_ok=True)
                os.close(descriptor)
                return True
            os.close(descriptor)

    def give_back(self, target: Path) -> None:
        """Give a claim back; nothing happens where there is none."""
        if target in self._held:
            descriptor, path = self._held.pop(target)
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)
