"""Photographs read ahead in processes of their own, which may die: a decoder that crashes costs one photograph."""

import contextlib
import multiprocessing
import re
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image

from dualattn.io.photos.messages import collect_messages, printable
from dualattn.io.photos.photo import ImageError, Photo
from dualattn.io.photos.reading import read_photo

SECONDS = 600.0  # that a photograph may take; a hundred million pixels take twenty
MEMORY = 16 << 30  # bytes of a process, where the system can hold it to them


@dataclass
class Reading:
    """What came of reading a file.

    Attributes:
        photo: None where it could not be read.
        reason: why not, with the name of the file.
        messages: what was said of a photograph that was read all the same.
    """

    photo: Photo | None = None
    reason: str = ''
    messages: list[str] = field(default_factory=list)


def read_here(path: Path, options: dict[str, Any]) -> Reading:
    """Read a photograph in this process; see `read_photo` for the options."""
    with collect_messages() as found:
        try:
            return Reading(read_photo(path, **options), messages=found)
        except ImageError as error:
            return Reading(reason=str(error), messages=found)


class ReadingPool:
    """Processes that read photographs ahead of the one who asks, in the order of the requests.

    >>> with ReadingPool(2) as pool:
    ...     for reading in pool.read((path, {}) for path in paths): ...

    Args:
        count: number of processes; so many photographs are read ahead.
        seconds: after which a process is ended that has not come back.
    """

    def __init__(self, count: int, seconds: float = SECONDS):
        if count < 1:
            raise ValueError(f'a pool needs at least 1 process, got {count}')
        methods = multiprocessing.get_all_start_methods()
        # never a plain fork: this process runs threads of torch
        self._context = multiprocessing.get_context('forkserver' if 'forkserver' in methods else 'spawn')
        if 'forkserver' in methods:
            self._context.set_forkserver_preload([__name__])
        self.seconds = seconds
        self._workers = [_Worker(self._context) for _ in range(count)]

    def __enter__(self) -> 'ReadingPool':
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.stop()

    def read(self, requests: Iterable[tuple[Path, dict[str, Any]]]) -> Iterator[Reading]:
        """Yield what came of each request, a path and options of `read_photo`, in their order."""
        pending: deque[tuple[int, Path]] = deque()
        for index, (path, options) in enumerate(requests):
            number = index % len(self._workers)
            if len(pending) == len(self._workers):
                yield self._receive(*pending.popleft())
            self._workers[number].send((path, options))
            pending.append((number, path))
        while pending:
            yield self._receive(*pending.popleft())

    def peak_bytes(self) -> int:
        """Return the most memory that one of the processes has held since its start; 0 where the system tells none."""
        return max(worker.peak_bytes() for worker in self._workers)

    def _receive(self, number: int, path: Path) -> Reading:
        worker = self._workers[number]
        try:
            if worker.connection.poll(self.seconds):
                return worker.connection.recv()
            reason = f'has not been read within {self.seconds:.0f} seconds'
        except (EOFError, OSError):
            worker.process.join(5)
            code = worker.process.exitcode
            name = signal.Signals(-code).name if code is not None and -code in set(signal.Signals) else f'code {code}'
            reason = f'its decoder has crashed ({name})'
        worker.stop()
        self._workers[number] = _Worker(self._context)
        return Reading(reason=f'{printable(path)}: cannot be read: {reason}')


class _Worker:
    """A process that answers requests one by one."""

    def __init__(self, context: Any):
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other,), daemon=True)
        self.process.start()
        other.close()

    def send(self, request: tuple[Path, dict[str, Any]]) -> None:
        with contextlib.suppress(OSError):  # it has died: `_receive` finds that out, and says so
            self.connection.send(request)

    def peak_bytes(self) -> int:
        """Return what the kernel has counted as the peak of resident memory (proc(5), VmHWM)."""
        try:
            status = Path(f'/proc/{self.process.pid}/status').read_text()
        except OSError:
            return 0
        found = re.search(r'VmHWM:\s+(\d+) kB', status)
        return int(found[1]) * 1024 if found else 0

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def _serve(connection: Connection) -> None:
    """Answer requests until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first one decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Image.MAX_IMAGE_PIXELS = None  # the limit is that of the request
    _limit_memory()
    while True:
        try:
            path, options = connection.recv()
        except EOFError:
            return
        connection.send(read_here(path, options))


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already, or the system has none
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
