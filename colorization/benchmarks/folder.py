"""A folder of small photographs.

Photographs a second on the wall of `dualattn colorize` from files to files, beside the pace of the network alone on the
same luminances: what is left between both is reading, joining and writing.
"""

import argparse
import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import time_interleaved


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--photographs', type=int, default=1000)
    parser.add_argument('--side', type=int, default=256, help='of each photograph, in pixels')
    parser.add_argument('--format', choices=['jpg', 'png'], default='jpg')
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
        colorizer = Colorizer.from_pretrained()
        lightness = [extract_l(read_photo(path).pixels)[None, None] for path in sorted(source.iterdir())]

        def colorize_folder() -> None:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                code = main([str(source), '-o', str(target), '--overwrite'])
            if code:
                raise RuntimeError(f'dualattn colorize ended with code {code}')

        def predict_alone() -> None:
            for l in lightness:
                colorizer.predict_ab(l)

        sides = {'files to files': colorize_folder, 'network alone': predict_alone}
        for name, timing in time_interleaved(sides, args.rounds, warm_up=1, clock='wall').items():
            yield Row({}, name, timing, dict(photographs_per_second=args.photographs / timing.median))


def tabulate(run: Run) -> Table:
    """Show both paces."""
    rows = [[row.side, f'{row.figures["photographs_per_second"]:.1f}', f'{row.timing.median:.1f}'] for row in run.rows]
    return Table(['what', 'photographs a second', 'seconds'], rows)


def judge(run: Run) -> list[Goal]:
    """Judge what files add to the network's own time."""
    seconds = {row.side: row.timing.median for row in run.rows}
    if len(seconds) < 2:
        return []
    ratio = seconds['files to files'] / seconds['network alone']
    return [Goal('time from files to files / time of the network alone', 1.1, ratio, at_most=True)]
