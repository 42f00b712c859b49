"""Folders of damaged photographs for `dualattn colorize`, which has to name each that it cannot read, and go on."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from colorization.batch import DONE, FAILED, IN_COLOR
from dualattn.io.photos import ImageError, read_photo
from dualattn.io.photos.fuzzing import make_file, make_seeds

_CALL = 'import sys; from colorization.commands.colorize import main; sys.exit(main())'
_FOLDER = 500  # photographs that one run gets
_SECONDS = 1800  # that it may take
_SIDE = 32  # of what the network sees, so that the command is tried and not the network


@dataclass
class CommandReport:
    """What came of colorizing folders of damaged photographs.

    Attributes:
        states: what became of the photographs, with their number.
        faults: what must not be: a run that ended, a photograph without an outcome, an output that cannot be read.
    """

    states: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def fuzz_command(count: int, first: int = 0, *options: str) -> CommandReport:
    """Colorize damaged photographs by the command, `_FOLDER` at a time, each run a process of its own.

    Args:
        count: how many.
        first: seed of the first one; each has the next.
        options: further arguments of the command.
    """
    seeds, report = make_seeds(), CommandReport()
    for start in range(first, first + count, _FOLDER):
        numbers = range(start, min(start + _FOLDER, first + count))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / 'in').mkdir()
            for number in numbers:
                (folder / 'in' / f'{number}.jpg').write_bytes(make_file(number, seeds)[1])
            _run(folder, numbers, options, report)
    return report


def _run(folder: Path, numbers: range, options: tuple[str, ...], report: CommandReport) -> None:
    manifest = folder / 'done.jsonl'
    command = [sys.executable, '-c', _CALL, str(folder / 'in'), '-o', str(folder / 'out')]
    command += ['--manifest', str(manifest), '--size', str(_SIDE), '--max-megapixels', '1', '--format', 'png', *options]
    which = f'seeds {numbers[0]} to {numbers[-1]}'
    try:
        run = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        report.faults.append(f'{which}: the run has not ended within {_SECONDS} seconds')
        return
    lines = [json.loads(line) for line in manifest.read_text().splitlines()] if manifest.exists() else []
    states = {Path(line['input']).stem: line['state'] for line in lines}
    report.states.update(states.values())
    if run.returncode not in (0, 1):
        report.faults.append(f'{which}: exit code {run.returncode}: {run.stderr[-500:].decode(errors="replace")}')
    for number in numbers:
        state, target = states.get(str(number), 'nothing'), folder / 'out' / f'{number}.png'
        if state not in (DONE, FAILED, IN_COLOR) or (state == DONE) != target.exists():
            report.faults.append(f'seed {number}: {state}, and its output is {"" if target.exists() else "not "}there')
        elif state == DONE:
            try:
                read_photo(target)
            except ImageError as error:
                report.faults.append(f'seed {number}: its output cannot be read: {error}')
    for line in lines:
        if line['state'] == FAILED and 'cannot be' not in line.get('reason', ''):
            report.faults.append(f'seed {Path(line["input"]).stem}: {line.get("reason")}')
    left = [path.name for path in (folder / 'out').iterdir() if path.name.startswith('.')]
    if left:
        report.faults.append(f'{which}: left behind: {", ".join(left)}')
