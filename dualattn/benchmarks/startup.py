"""Start-up time.

Whole processes, from nothing to the answer: what Python and torch alone take, what is added by importing, by the first
result, and until something missing is refused, in seconds on the wall; and what the help of every verb computes, in
seconds of CPU. With --demo also the lines of the log of a first training.
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
from dualattn.commands.front import find_verbs

MOST_FOR_HELP = 0.5  # seconds
MOST_FOR_REFUSAL = 3.0  # seconds
MOST_LINES_OF_DEMO = 60
DEMO = 'dualattn demo'
PROCESSES = {
    'python': ['-c', ''],
    'import torch': ['-c', 'import torch'],
    'import dualattn': ['-c', 'import dualattn'],
    'import timm, dualattn': ['-c', 'import timm, dualattn'],
}
REFUSALS = {
    'dualattn train without its data': ['train', 'colorize/mpt_base.py'],
    'dualattn train without the weights that it begins with': [
        *('train', 'colorize/mpt_demo.py', '--cfg-options', 'load_from=absent.pth')
    ],
    'dualattn test without the weights': ['test', 'colorize/mpt_demo.py', 'absent.pth'],
    'dualattn colorize without the weights': ['colorize', 'photo.png', '--weights', 'absent.safetensors'],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--rounds', type=int, default=7, help='timed rounds; each starts every process once')
    parser.add_argument('--demo', action='store_true', help='also count the lines of the log of dualattn demo: minutes')


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Start every process in turn.

    Raises:
        RuntimeError: a process fails that should not, or refuses nothing; the message is what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, 'photo.png')
        sides = {name: partial(_start, arguments, folder) for name, arguments in PROCESSES.items()}
        if _make_photo(photo):
            arguments = ['colorize', str(photo), '-o', str(Path(folder, 'out.png')), '--overwrite']
            sides['dualattn colorize, one photograph of 512 x 512'] = partial(_run_verb, arguments, folder)
        for name, timing in time_interleaved(sides, args.rounds, warm_up=1, clock='wall').items():
            yield Row({}, name, timing)
        helps = {f'dualattn {verb} --help': partial(_run_verb, [verb, '--help'], folder) for verb in find_verbs()}
        helps = {'dualattn --help': partial(_run_verb, ['--help'], folder), **helps}
        clock = 'wall' if sys.platform == 'win32' else 'children'
        for name, timing in time_interleaved(helps, args.rounds, warm_up=1, clock=clock).items():
            yield Row({}, name, timing)
        refusals = {name: partial(_run_verb, arguments, folder, 2) for name, arguments in REFUSALS.items()}
        lines = {name: len(refuse().splitlines()) for name, refuse in refusals.items()}
        for name, timing in time_interleaved(refusals, args.rounds, warm_up=0, clock='wall').items():
            yield Row({}, name, timing, dict(lines=lines[name]))
        if args.demo:
            log = _run_verb(['demo', '--work-dir', str(Path(folder, 'demo'))], folder)
            yield Row({}, DEMO, figures=dict(lines=len(log.splitlines())))


def _start(arguments: list[str], folder: str, code: int = 0) -> str:
    """Run Python to its end in a folder; return what it printed, errors included.

    Raises:
        RuntimeError: it ends with another code.
    """
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != code:
        raise RuntimeError(f'{arguments[-1]} ended with {done.returncode}, expected {code}:\n{done.stdout}')
    return done.stdout


def _run_verb(arguments: list[str], folder: str, code: int = 0) -> str:
    program = 'import sys; from dualattn.commands.front import main; sys.exit(main(sys.argv[1:]))'
    return _start(['-c', program, *arguments], folder, code)


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
    rows = []
    for row in run.rows:
        if row.timing is None:
            seconds, quartiles, clock = '', '', ''
        else:
            low, high = row.timing.quartiles
            seconds, quartiles = f'{row.timing.median:.2f}', f'{low:.2f} to {high:.2f}'
            clock = 'wall' if row.timing.clock == 'wall' else 'CPU'
        rows.append([row.side, seconds, quartiles, clock, f'{row.figures["lines"]:.0f}' if row.figures else ''])
    return Table(['process', 'seconds', 'quartiles', 'clock', 'lines'], rows)


def judge(run: Run) -> list[Goal]:
    """Judge the help of the verbs, what is refused, and the log of a first training."""
    rows = {row.side: row for row in run.rows}
    goals = []
    helps = {side: row.time.median for side, row in rows.items() if side.endswith('--help')}
    if helps:
        slowest = max(helps, key=helps.__getitem__)
        text = f'seconds of {slowest}' + (f', the slowest of {len(helps)}' if len(helps) > 1 else '')
        goals.append(Goal(text, MOST_FOR_HELP, helps[slowest], at_most=True))
    for side in REFUSALS:
        if side in rows:
            goals.append(Goal(f'seconds of {side}', MOST_FOR_REFUSAL, rows[side].time.median, at_most=True))
            goals.append(Goal(f'lines of {side}', 1, rows[side].figures['lines'], at_most=True, timed=False))
    if DEMO in rows:
        lines = rows[DEMO].figures['lines']
        goals.append(Goal(f'lines of {DEMO}', MOST_LINES_OF_DEMO, lines, at_most=True, timed=False))
    return goals
