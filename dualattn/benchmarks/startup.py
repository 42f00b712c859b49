"""Start-up time.

Seconds on the wall of whole processes, from nothing to the answer: what Python and torch alone take, what is added by
importing, and by the help and the first result of the commands.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import time_interleaved

MOST_FOR_HELP = 0.5  # seconds
PROCESSES = {
    'python': ['-c', ''],
    'import torch': ['-c', 'import torch'],
    'import dualattn': ['-c', 'import dualattn'],
    'import timm, dualattn': ['-c', 'import timm, dualattn'],
    'dualattn --help': ['-m', 'dualattn.commands.front', '--help'],
    'dualattn colorize --help': ['-m', 'dualattn.commands.front', 'colorize', '--help'],
    'dualattn train --help': ['-m', 'dualattn.commands.front', 'train', '--help'],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--rounds', type=int, default=7, help='timed rounds; each starts every process once')


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Start every process in turn."""
    code = 'import sys; from dualattn.commands.front import main; sys.exit(main(sys.argv[1:]))'

    def start(arguments: list[str]) -> None:
        arguments = ['-c', code, *arguments[2:]] if arguments[:2] == ['-m', 'dualattn.commands.front'] else arguments
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, 'photo.png')
        sides = {name: partial(start, arguments) for name, arguments in PROCESSES.items()}
        if _make_photo(photo):
            arguments = ['colorize', str(photo), '-o', str(Path(folder, 'out.png')), '--overwrite']
            sides['dualattn colorize, one photograph of 512 x 512'] = partial(
                start, ['-m', 'dualattn.commands.front', *arguments]
            )
        for name, timing in time_interleaved(sides, args.rounds, warm_up=1, clock='wall').items():
            yield Row({}, name, timing)


def _make_photo(path: Path) -> bool:
    """Write a gray photograph; False where Pillow is not there."""
    try:
        from PIL import Image
    except ImportError:
        return False
    Image.linear_gradient('L').resize((512, 512)).save(path)
    return True


def tabulate(run: Run) -> Table:
    """Show a line for each process."""
    rows = [
        [row.side, f'{row.time.median:.2f}', f'{row.time.quartiles[0]:.2f} to {row.time.quartiles[1]:.2f}']
        for row in run.rows
    ]
    return Table(['process', 'seconds', 'quartiles'], rows)


def judge(run: Run) -> list[Goal]:
    """Judge the commands' help."""
    return [
        Goal(f'seconds of {row.side}', MOST_FOR_HELP, row.time.median, at_most=True)
        for row in run.rows
        if row.side.endswith('--help')
    ]
