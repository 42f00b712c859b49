"""Many photographs from file to file: decoding, network and encoding overlap, and none of them ends the run."""

import logging
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
import torch

from colorization.claims import Claims
from colorization.draft import Draft
from colorization.jobs import Job
from colorization.pipeline import Colorizer
from colorization.provenance import mark
from colorization.sheet import draw_doubt, join_grid, join_pair
from colorization.tone import is_in_color
from dualattn.io.files import write_whole
from dualattn.io.photos import MAX_PIXELS, ImageError, Photo, write_photo
from dualattn.io.photos.layer import LAYERS, subtract, write_layer
from dualattn.io.photos.messages import collect_messages, printable, warn
from dualattn.io.photos.photo import to_8_bit
from dualattn.io.photos.workers import Reading, ReadingPool, read_here
from dualattn.io.photos.writing import QUALITY

logger = logging.getLogger(__name__)

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
        layer_as: what 'layer' is; one of `layer.LAYERS`.
        batch: photographs that are colorized together, which pays on a GPU; halved where its memory does not suffice.
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
    batch: int = 1
    layer_as: str = 'lab'

    def __post_init__(self) -> None:
        if self.if_color not in IF_COLOR:
            raise ValueError(f'if_color must be one of {", ".join(IF_COLOR)}, got {self.if_color!r}')
        if not 1 <= self.quality <= 100:
            raise ValueError(f'quality must be from 1 to 100, got {self.quality}')
        if self.jobs < 0:
            raise ValueError(f'jobs must be 0 or more, got {self.jobs}')
        if self.layer_as not in LAYERS:
            raise ValueError(f'layer_as must be one of {", ".join(LAYERS)}, got {self.layer_as!r}')
        if self.batch < 1:
            raise ValueError(f'batch must be 1 or more, got {self.batch}')


@dataclass
class Outcome:
    """What became of a job.

    Attributes:
        job: the photograph and its outputs.
        state: 'done', 'copied' or 'in colour' (left alone), 'there' (an output that exists) or 'failed'.
        reason: why it failed, with the name of the file.
        messages: what was said of it.
        seconds: from the first look at it to its outputs.
        doubt: mean of `Colorizer.measure_doubt` over the photograph, in [0, 1], where its map was asked for.
    """

    job: Job
    state: str
    reason: str = ''
    messages: list[str] = field(default_factory=list)
    seconds: float = 0.0
    doubt: float | None = None


@dataclass
class _Task:
    """A photograph that was read and is to be colorized.

    Attributes:
        job: the photograph and its outputs.
        photo: what was read.
        said: messages about it.
        start: when it was first looked at.
    """

    job: Job
    photo: Photo
    said: list[str]
    start: float


def run_jobs(jobs: Sequence[Job], colorizer: Colorizer, settings: Settings) -> Generator[Outcome, None, None]:
    """Colorize photographs, and yield what became of each, in their order.

    Whatever one of them raises is its outcome; only an interruption by the user ends the run. At most
    2 * `jobs` + `batch` + 1 photographs are in memory. Those that another run is at work on are left to it.
    """
    waiting: deque[Future[Outcome] | Outcome] = deque()
    with ExitStack() as stack:
        claims = stack.enter_context(Claims())
        left = sum(settings.overwrite or not job.is_done for job in jobs)
        overlaps = settings.jobs > 0 and left > 1  # for one, no process is worth its start
        writers = stack.enter_context(ThreadPoolExecutor(settings.jobs)) if overlaps else None
        painter = _Painter(colorizer, settings.batch, drafts=any(map(_needs_draft, jobs)))
        try:
            for looked in _look_at(jobs, settings, claims, overlaps, stack):
                tasks = [task for task in looked if isinstance(task, _Task)]
                results = iter(painter.paint([_deepened(task.job, task.photo) for task in tasks]))
                for item in looked:
                    if isinstance(item, _Task):
                        waiting.append(_start(item, next(results), settings, writers))
                    else:
                        waiting.append(item)
                    while waiting and (len(waiting) > settings.jobs or isinstance(waiting[0], Outcome)):
                        yield _finish(waiting.popleft(), claims)
            while waiting:
                yield _finish(waiting.popleft(), claims)
        except BaseException:
            if writers is not None:  # what has begun is written whole, the rest not at all
                writers.shutdown(wait=True, cancel_futures=True)
            raise


def run_job(job: Job, colorizer: Colorizer, settings: Settings | None = None) -> Outcome:
    """Colorize one photograph in this process; see `run_jobs`."""
    (outcome,) = run_jobs([job], colorizer, settings or Settings())
    return outcome


def _look_at(
    jobs: Sequence[Job], settings: Settings, claims: Claims, overlaps: bool, stack: ExitStack
) -> Iterator[list['_Task | Outcome']]:
    """Read photographs ahead; yield, in order, `batch` of them at a time with the outcomes that stand between them."""
    options: dict[str, Any] = dict(max_pixels=settings.max_pixels, allow_truncated=settings.allow_truncated)
    # what the requests leave out is known here: another run may finish or begin a photograph at any moment
    begun: deque[tuple[Job, float] | Outcome] = deque()

    def requests() -> Iterator[tuple[Path, dict[str, Any]]]:
        for job in jobs:
            start = time.monotonic()
            if not settings.overwrite and job.is_done:
                begun.append(Outcome(job, THERE))
            elif not claims.take(job.target):
                begun.append(Outcome(job, THERE, '', [f'{printable(job.source)}: another run is at work on it']))
            elif not settings.overwrite and job.is_done:  # that other run has just given it back
                claims.give_back(job.target)
                begun.append(Outcome(job, THERE))
            else:
                begun.append((job, start))
                yield job.source, options | dict(page=job.page)

    if overlaps:
        readings: Iterator[Reading] = stack.enter_context(ReadingPool(settings.jobs)).read(requests())
    else:
        readings = (read_here(path, each) for path, each in requests())
    looked: list[_Task | Outcome] = []
    for reading in readings:
        while isinstance(item := begun.popleft(), Outcome):
            looked.append(item)
        looked.append(_judge(*item, reading, settings))
        tasks = sum(isinstance(each, _Task) for each in looked)
        if tasks == 0 or tasks >= settings.batch:
            yield looked
            looked = []
    yield [*looked, *(item for item in begun if isinstance(item, Outcome))]


def _judge(job: Job, start: float, reading: Reading, settings: Settings) -> '_Task | Outcome':
    """Tell whether what was read is to be colorized; a photograph in colour may not be."""
    if reading.photo is None:
        return Outcome(job, FAILED, reading.reason, reading.messages, time.monotonic() - start)
    try:
        photo, said = reading.photo, list(reading.messages)
        in_color = photo.pixels.ndim == 3 and settings.if_color != 'redo' and is_in_color(to_8_bit(photo.pixels))
        if in_color and not job.is_named:
            state = _copy(job, settings) if settings.if_color == 'copy' else IN_COLOR
            return Outcome(job, state, '', said, time.monotonic() - start)
    except Exception as error:
        return _failure(job, error, start, reading.messages)
    if in_color:
        said.append(f'{printable(job.source)}: is in colour already; it is colorized anew, as it was named')
    return _Task(job, photo, said, start)


class _Painter:
    """Colorizes several photographs together, fewer where the memory does not suffice.

    Args:
        colorizer: gives photographs in colour.
        batch: how many at a time.
        drafts: give drafts in place of photographs, one at a time: what more than one picture is made from.
    """

    def __init__(self, colorizer: Colorizer, batch: int, drafts: bool = False):
        self.colorizer = colorizer
        self.batch = 1 if drafts else batch
        self.drafts = drafts

    def paint(self, photos: Sequence[Photo]) -> list[Photo | Draft | Exception]:
        """Return, for each photograph, what it became or what was raised."""
        out: list[Photo | Draft | Exception] = []
        while len(out) < len(photos):
            out += self._paint_together(photos[len(out) : len(out) + self.batch])
        return out

    def _paint_together(self, photos: Sequence[Photo]) -> Sequence[Photo | Draft | Exception]:
        try:
            if self.drafts:
                return [self.colorizer.draft(photos[0])]
            return [self.colorizer(photos[0])] if len(photos) == 1 else self.colorizer(list(photos))
        except Exception as error:  # of the network or the memory: the next photograph gets its turn
            if len(photos) == 1:
                return [error]
            runs_out = isinstance(error, (torch.OutOfMemoryError, MemoryError))
            # the traceback would keep the tensors of the attempt alive
            error.__traceback__ = None
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if not runs_out:  # one of them is to blame
            return [each for photo in photos for each in self._paint_together([photo])]
        self.batch = max(1, len(photos) // 2)
        logger.warning(
            'the memory does not suffice for %d photographs at a time, %d from now on', len(photos), self.batch
        )
        return self.paint(photos)


def _deepened(job: Job, photo: Photo) -> Photo:
    """Return a photograph at 16 bits, without its alpha, where the colour alone is wanted too."""
    if 'layer' not in job.beside or photo.bit_depth == 16:
        return photo
    return replace(photo, pixels=photo.pixels.astype(np.uint16) * 257, alpha=None)


def _start(
    task: _Task,
    result: Photo | Draft | Exception,
    settings: Settings,
    writers: ThreadPoolExecutor | None,
) -> 'Future[Outcome] | Outcome':
    """Make all pictures of a colorized photograph, and have them written."""
    if isinstance(result, Exception):
        return _failure(task.job, result, task.start, task.said)
    try:
        doubt = result.measure_doubt() if isinstance(result, Draft) and 'doubt' in task.job.beside else None
        pictures = _make(task.job, task.photo, result, doubt, settings)
    except Exception as error:
        return _failure(task.job, error, task.start, task.said)
    mean = None if doubt is None else round(float(doubt.mean()), 4)
    if writers is None:
        return _write(task.job, pictures, settings, task.said, task.start, mean)
    return writers.submit(_write, task.job, pictures, settings, task.said, task.start, mean)


def _needs_draft(job: Job) -> bool:
    """Tell whether more is made of a photograph than itself in colour, from one run of the network."""
    return any(kind.startswith(('variant', 'doubt')) for kind in job.beside)


def _make(
    job: Job, photo: Photo, colored: Photo | Draft, doubt: np.ndarray | None, settings: Settings
) -> dict[str, Photo]:
    """Return what is written, by the kind of picture; 'target' is the photograph in colour."""
    pictures: dict[str, Photo] = {}
    result = colored.finish() if isinstance(colored, Draft) else colored
    if 'layer' in job.beside:
        pictures['layer'] = result if settings.layer_as == 'lab' else subtract(result, photo)
    result = _at_depth(result, photo)
    singles = [kind for kind in job.beside if kind[-1].isdigit()]
    wanted = settings.variants if 'variants' in job.beside else len(singles)
    variants = colored.draw_variants(wanted, settings.seed) if wanted and isinstance(colored, Draft) else []
    variants = [_at_depth(variant, photo) for variant in variants]
    if 'compare' in job.beside:
        pictures['compare'] = join_pair(photo, result)
    if 'variants' in job.beside:
        pictures['variants'] = join_grid([result, *variants])
    if doubt is not None:
        pictures['doubt'] = draw_doubt(photo, doubt)
    in_color = {'target': result} | {f'variant{number}': each for number, each in enumerate(variants, start=1)}
    if settings.says_so:
        in_color = {kind: mark(picture, settings.weights) for kind, picture in in_color.items()}
    return in_color | pictures


def _at_depth(picture: Photo, photo: Photo) -> Photo:
    """Return a photograph, which may have been deepened, with the bit depth and alpha of the one that it comes from."""
    return picture if picture.bit_depth == photo.bit_depth else replace(photo, pixels=to_8_bit(picture.pixels))


def _write(
    job: Job, pictures: dict[str, Photo], settings: Settings, said: list[str], start: float, doubt: float | None
) -> Outcome:
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
                if kind == 'layer' and settings.layer_as == 'lab':
                    write_layer(pictures[kind], path, settings.overwrite)
                elif kind == 'layer':
                    write_photo(pictures[kind], path, settings.overwrite, tiff_compression='deflate')
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
    return Outcome(job, DONE, '', said + found, time.monotonic() - start, doubt)


def _copy(job: Job, settings: Settings) -> str:
    """Copy a photograph as it is, under the suffix that it has; return what became of it."""
    target = job.copied_to
    if target.exists():
        if target.samefile(job.source):  # the outputs stand beside the photographs
            return IN_COLOR
        if not settings.overwrite:
            return THERE
    with write_whole(target, settings.overwrite) as aside:
        shutil.copyfile(job.source, aside)
    _keep_time(job, target, settings)
    return COPIED


def _keep_time(job: Job, path: Path, settings: Settings) -> None:
    if not settings.keep_times:
        return
    try:
        status = os.stat(job.source)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    except OSError as error:  # the source has vanished, or it is a file system without times
        warn(path, 'has the time of now: %s', error)


def _failure(job: Job, error: BaseException, start: float, said: Sequence[str] = ()) -> Outcome:
    reason = str(error) or type(error).__name__
    if not isinstance(error, (ImageError, OSError, ValueError, FloatingPointError)):
        reason = f'{type(error).__name__}: {reason}'
    names = {str(job.source), printable(job.source), *map(str, job.outputs)}
    if not any(name in reason for name in names):
        reason = f'{printable(job.source)}: {reason}'
    return Outcome(job, FAILED, reason, list(said), time.monotonic() - start)


def _finish(item: 'Future[Outcome] | Outcome', claims: Claims) -> Outcome:
    outcome = item if isinstance(item, Outcome) else item.result()
    claims.give_back(outcome.job.target)
    return outcome
