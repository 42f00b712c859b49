"""A folder of small photographs.

Photographs a second on the wall of `dualattn colorize` from files to files, beside the pace of the network alone on the
same luminances: what is left between both is reading, joining and writing. One further run is watched: the share of its
time in which the colorizer works, waiting for a decoder for the rest, and the memory of all its processes, after a
tenth of the photographs and at the end.
"""

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import time_interleaved

if TYPE_CHECKING:
    from colorization.pipeline import Colorizer

WATCHED = 'one run, watched'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--photographs', type=int, default=1000)
    parser.add_argument('--side', type=int, default=256, help='of each photograph, in pixels')
    parser.add_argument('--format', choices=['jpg', 'png'], default='jpg')
    parser.add_argument('--size', type=int, help='of what the network sees (default: its own)')
    parser.add_argument('--jobs', type=int, default=1, help='processes that read ahead')
    parser.add_argument('--rounds', type=int, default=3, help='timed rounds; each runs every side once')


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Colorize a folder of gray photographs, and the luminances of the same ones without files."""
    from PIL import Image

    from colorization.benchmarks.colorizers import make_photo
    from colorization.commands.colorize import main
    from colorization.luminance import extract_l
    from colorization.pipeline import Colorizer
    from dualattn.io.photos import read_photo

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, 'in'), Path(folder, 'out')
        source.mkdir()
        pixels = make_photo(args.side, args.side)[..., 0]
        for index in range(args.photographs):
            # the photographs differ, so that nothing can be remembered from one to the next
            shifted = Image.fromarray((pixels + index % 251).astype('uint8'))
            shifted.save(source / f'{index:05d}.{args.format}')
        colorizer = Colorizer.from_pretrained(size=args.size)
        yield watch(source, Path(folder, 'watched'), colorizer, args.jobs)
        lightness = [extract_l(read_photo(path).pixels)[None, None] for path in sorted(source.iterdir())]

        def colorize_folder() -> None:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                size = [] if args.size is None else ['--size', str(args.size)]
                code = main([str(source), '-o', str(target), '--overwrite', '--jobs', str(args.jobs), *size])
            if code:
                raise RuntimeError(f'dualattn colorize ended with code {code}')

        def predict_alone() -> None:
            for l in lightness:
                colorizer.predict_ab(l)

        sides = {'files to files': colorize_folder, 'network alone': predict_alone}
        for name, timing in time_interleaved(sides, args.rounds, warm_up=1, clock='wall').items():
            yield Row({}, name, timing, dict(photographs_per_second=args.photographs / timing.median))


def watch(source: Path, target: Path, colorizer: 'Colorizer', jobs: int) -> Row:
    """Colorize a folder once; tell how much of the time the colorizer works, and what memory is held."""
    from colorization.batch import Settings, run_jobs
    from colorization.jobs import plan_jobs

    target.mkdir()
    plan = plan_jobs([str(source)], target)
    watched = _Watched(colorizer, len(plan.jobs))
    for outcome in run_jobs(plan.jobs, cast(Any, watched), Settings(jobs=jobs)):
        if outcome.state != 'done':
            raise RuntimeError(f'a photograph of the benchmark was not colorized: {outcome.reason}')
    share = watched.seconds / (time.monotonic() - watched.start)
    memory = {name: float(held) for name, held in watched.held.items() if held}
    return Row({}, WATCHED, None, dict(share_of_colorizer=share, **memory))


class _Watched:
    """A colorizer whose time is taken from its second photograph on, and the memory while all processes run."""

    def __init__(self, colorizer: 'Colorizer', total: int):
        self.colorizer, self.total = colorizer, total
        self.count, self.seconds, self.start = 0, 0.0, 0.0
        self.held: dict[str, int] = {}

    def __call__(self, image: Any) -> Any:
        before = time.monotonic()
        colored = self.colorizer(image)
        after = time.monotonic()
        self.count += 1
        if self.count == 1:  # what is made once, and the start of the processes
            self.start = after
        else:
            self.seconds += after - before
        if self.count == max(1, self.total // 10):
            self.held['tenth_bytes'] = _held_bytes()
        if self.count == self.total:
            self.held['end_bytes'] = _held_bytes()
        return colored


def _held_bytes() -> int:
    """Return the resident memory of this process and of all that it has started; 0 where the system does not tell."""
    parents, held = {}, {}
    for entry in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended
            fields = (entry / 'stat').read_text().rpartition(')')[2].split()
            parents[int(entry.name)] = int(fields[1])
            held[int(entry.name)] = int(fields[21]) * os.sysconf('SC_PAGE_SIZE')
    family = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(held.get(process, 0) for process in family)


def tabulate(run: Run) -> Table:
    """Show both paces, and what the watched run told."""
    rows = []
    for row in run.rows:
        if row.timing is not None:
            pace = f'{row.figures["photographs_per_second"]:.1f} photographs a second'
            rows.append([row.side, pace, f'{row.time.median:.1f}'])
        else:
            told = f'the colorizer works {row.figures["share_of_colorizer"]:.0%} of the time'
            if 'end_bytes' in row.figures:
                tenth, end = (row.figures[name] / 2**20 for name in ('tenth_bytes', 'end_bytes'))
                told += f'; {tenth:.0f} MiB after a tenth, {end:.0f} MiB at the end'
            rows.append([row.side, told, ''])
    return Table(['what', 'result', 'seconds'], rows)


def judge(run: Run) -> list[Goal]:
    """Judge what files add to the network's own time."""
    seconds = {row.side: row.time.median for row in run.rows if row.timing is not None}
    goals = []
    if len(seconds) == 2:
        ratio = seconds['files to files'] / seconds['network alone']
        goals.append(Goal('time from files to files / time of the network alone', 1.1, ratio, at_most=True))
    for row in run.rows:
        if row.side == WATCHED:
            goals.append(Goal('share of the time in which the colorizer works', 0.9, row.figures['share_of_colorizer']))
            if 'end_bytes' in row.figures:
                growth = row.figures['end_bytes'] / row.figures['tenth_bytes']
                goals.append(Goal('memory at the end / after a tenth of the photographs', 1.05, growth, at_most=True))
    return goals
