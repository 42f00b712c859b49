"""Many photographs from file to file: decoding, network and encoding overlap, and none of them ends the run."""

import os
import shutil
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from colorization.jobs import Job
from colorization.pipeline import Colorizer
from colorization.provenance import mark
from colorization.sheet import draw_doubt, join_grid, join_pair
from colorization.tone import is_in_color
from dualattn.io.files import write_whole
from dualattn.io.photos import MAX_PIXELS, ImageError, Photo, write_photo
from dualattn.io.photos.layer import write_layer
from dualattn.io.photos.messages import collect_messages, printable
from dualattn.io.photos.photo import to_8_bit
from dualattn.io.photos.workers import Reading, ReadingPool, read_here
from dualattn.io.photos.writing import QUALITY

IF_COLOR = ('skip', 'copy', 'redo')
DONE, COPIED, IN_COLOR, THERE, FAILED = 'done', 'copied', 'in colour', 'there', 'failed'


@dataclass(frozen=True)
class Settings:
    """How a run reads and writes.

    Attributes:
        overwrite: replace outputs that exist.
        max_pixels: larger photographs are refused.
        allow_truncated: take what can be decoded of a damaged file.
        if_color: what becomes of a photograph that is in colour already and was not named itself; one of `IF_COLOR`.
        quality: of JPEG and WebP.
        tiff_compression: see `write_photo`.
        keep_times: give outputs the modification time of their source.
        says_so: write into each output what it is; see `provenance.mark`.
        weights: SHA-256 of the weights.
        variants: number of versions on a sheet.
        seed: of the versions.
        jobs: processes that decode ahead, and threads that encode; 0 does one thing after the other in this process.
    """

    overwrite: bool = False
    max_pixels: int = MAX_PIXELS
    allow_truncated: bool = False
    if_color: str = 'redo'
    quality: int = QUALITY
    tiff_compression: str = 'none'
    keep_times: bool = False
    says_so: bool = False
    weights: str | None = None
    variants: int = 6
    seed: int = 0
    jobs: int = 0

    def __post_init__(self) -> None:
        if self.if_color not in IF_COLOR:
            raise ValueError(f'if_color must be one of {", ".join(IF_COLOR)}, got {self.if_color!r}')
        if not 1 <= self.quality <= 100:
            raise ValueError(f'quality must be from 1 to 100, got {self.quality}')
        if self.jobs < 0:
            raise ValueError(f'jobs must be 0 or more, got {self.jobs}')


@dataclass
class Outcome:
    """What became of a job.

    Attributes:
        job: the photograph and its outputs.
        state: 'done', 'copied' or 'in colour' (left alone), 'there' (an output that exists) or 'failed'.
        reason: why it failed, with the name of the file.
        messages: what was said of it.
        seconds: from the first look at it to its outputs.
    """

    job: Job
    state: str
    reason: str = ''
    messages: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run_jobs(jobs: Sequence[Job], colorizer: Colorizer, settings: Settings) -> Generator[Outcome, None, None]:
    """Colorize photographs, and yield what became of each, in their order.

    Whatever one of them raises is its outcome; only an interruption by the user ends the run. At most 2 * `jobs` + 1
    photographs are in memory.
    """
    waiting: deque[tuple[Job, Future[Outcome] | Outcome]] = deque()
    with ExitStack() as stack:
        todo = [job for job in jobs if settings.overwrite or not job.is_done]
        overlaps = settings.jobs > 0 and len(todo) > 1
        writers = stack.enter_context(ThreadPoolExecutor(settings.jobs)) if overlaps else None
        readings = _read_ahead(todo, settings, stack)
        try:
            for job in jobs:
                start = time.monotonic()
                if not settings.overwrite and job.is_done:
                    waiting.append((job, Outcome(job, THERE)))
                else:
                    waiting.append((job, _start(job, next(readings), colorizer, settings, writers, start)))
                while waiting and (len(waiting) > settings.jobs or isinstance(waiting[0][1], Outcome)):
                    yield _finish(waiting.popleft()[1])
            while waiting:
                yield _finish(waiting.popleft()[1])
        except BaseException:
            if writers is not None:  # what has begun is written whole, the rest not at all
                writers.shutdown(wait=True, cancel_futures=True)
            raise


def run_job(job: Job, colorizer: Colorizer, settings: Settings | None = None) -> Outcome:
    """Colorize one photograph in this process; see `run_jobs`."""
    (outcome,) = run_jobs([job], colorizer, settings or Settings())
    return outcome


def _read_ahead(jobs: Sequence[Job], settings: Settings, stack: ExitStack) -> Iterator[Reading]:
    options: dict[str, Any] = dict(max_pixels=settings.max_pixels, allow_truncated=settings.allow_truncated)
    requests = ((job.source, options | dict(page=job.page)) for job in jobs)
    if not settings.jobs or len(jobs) < 2:  # for one, no process is worth its start
        return (read_here(path, each) for path, each in requests)
    return stack.enter_context(ReadingPool(settings.jobs)).read(requests)


def _start(
    job: Job,
    reading: Reading,
    colorizer: Colorizer,
    settings: Settings,
    writers: ThreadPoolExecutor | None,
    start: float,
) -> 'Future[Outcome] | Outcome':
    """Colorize what was read, and have it written."""
    if reading.photo is None:
        return Outcome(job, FAILED, reading.reason, reading.messages, time.monotonic() - start)
    try:
        photo, said = reading.photo, list(reading.messages)
        in_color = photo.pixels.ndim == 3 and settings.if_color != 'redo' and is_in_color(to_8_bit(photo.pixels))
        if in_color and not job.is_named:
            if settings.if_color == 'copy':
                _copy(job, settings.overwrite)
            return Outcome(job, COPIED if settings.if_color == 'copy' else IN_COLOR, '', said, time.monotonic() - start)
        if in_color:
            said.append(f'{printable(job.source)}: is in colour already; it is colorized anew, as it was named')
        pictures = _make(job, photo, colorizer, settings)
    except Exception as error:  # of the network or the memory: it is this photograph's, and the next one gets its turn
        return _failure(job, error, start, reading.messages)
    if writers is None:
        return _write(job, pictures, settings, said, start)
    return writers.submit(_write, job, pictures, settings, said, start)


def _make(job: Job, photo: Photo, colorizer: Colorizer, settings: Settings) -> dict[str, Photo]:
    """Return what is written, by the kind of picture; 'target' is the photograph in colour."""
    deep = photo
    if 'layer' in job.beside and photo.bit_depth == 8:
        deep = replace(photo, pixels=photo.pixels.astype(np.uint16) * 257, alpha=None)
    result = colorizer(deep)
    pictures = {'layer': result} if 'layer' in job.beside else {}
    if deep is not photo:
        result = replace(photo, pixels=to_8_bit(result.pixels))
    singles = [kind for kind in job.beside if kind[-1].isdigit()]
    wanted = settings.variants if 'variants' in job.beside else len(singles)
    variants = colorizer.draw_variants(photo, wanted, settings.seed) if wanted else []
    if 'compare' in job.beside:
        pictures['compare'] = join_pair(photo, result)
    if 'variants' in job.beside:
        pictures['variants'] = join_grid([result, *variants])
    if 'doubt' in job.beside:
        pictures['doubt'] = draw_doubt(photo, colorizer.measure_doubt(photo))
    colored = {'target': result} | {f'variant{number}': each for number, each in enumerate(variants, start=1)}
    if settings.says_so:
        colored = {kind: mark(picture, settings.weights) for kind, picture in colored.items()}
    return colored | pictures


def _write(job: Job, pictures: dict[str, Photo], settings: Settings, said: list[str], start: float) -> Outcome:
    """Write the outputs of a job that are missing, with `overwrite` all."""
    options: dict[str, Any] = dict(quality=settings.quality, tiff_compression=settings.tiff_compression)
    with collect_messages() as found:
        try:
            is_new = settings.overwrite or not job.target.exists()
            if is_new:
                write_photo(pictures['target'], job.target, settings.overwrite, **options)
                _keep_time(job, job.target, settings)
            missing = {kind: path for kind, path in job.beside.items() if is_new or not path.exists()}
            if not is_new and not missing:  # another run in the same folder was quicker
                return Outcome(job, THERE, '', said, time.monotonic() - start)
            for kind, path in missing.items():
                if kind == 'layer':
                    write_layer(pictures[kind], path, settings.overwrite)
                else:
                    write_photo(pictures[kind], path, settings.overwrite, **options)
                _keep_time(job, path, settings)
        except FileExistsError as error:
            # that other run again; a picture beside a missing target is somebody's
            if job.target.exists() and str(job.target) in str(error):
                return Outcome(job, THERE, '', said + found, time.monotonic() - start)
            return _failure(job, error, start, said + found)
        except Exception as error:  # a full disk, a format that cannot hold it: the other photographs go on
            return _failure(job, error, start, said + found)
    return Outcome(job, DONE, '', said + found, time.monotonic() - start)


def _copy(job: Job, overwrite: bool) -> None:
    """Copy a photograph as it is, under the suffix that it has."""
    target = job.target.with_suffix(job.source.suffix)
    if overwrite or not target.exists():
        with write_whole(target, overwrite) as aside:
            shutil.copyfile(job.source, aside)


def _keep_time(job: Job, path: Path, settings: Settings) -> None:
    if settings.keep_times:
        status = os.stat(job.source)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _failure(job: Job, error: BaseException, start: float, said: Sequence[str] = ()) -> Outcome:
    reason = str(error) or type(error).__name__
    if not isinstance(error, (ImageError, OSError, ValueError, FloatingPointError)):
        reason = f'{type(error).__name__}: {reason}'
    names = {str(job.source), printable(job.source), *map(str, job.outputs)}
    if not any(name in reason for name in names):
        reason = f'{printable(job.source)}: {reason}'
    return Outcome(job, FAILED, reason, list(said), time.monotonic() - start)


def _finish(item: 'Future[Outcome] | Outcome') -> Outcome:
    return item if isinstance(item, Outcome) else item.result()
