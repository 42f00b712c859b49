"""Records of measurements: one JSON file for each version, suite, machine and device.

`benchmarks/results/<version>/<suite>--<machine>--<device>.json` holds the runs of a suite, one for each choice of its
settings; a run that is repeated replaces the earlier one. `record.schema.json` beside this file describes the format;
a test checks every record in the repository against it.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dualattn.io.files import write_json

__all__ = ['FORMAT', 'Record', 'Row', 'Run', 'Timing', 'find_records', 'read_record', 'slug']

FORMAT = 1
RESULTS = Path('benchmarks', 'results')
MAX_OTHERS = 0.1  # cores that other processes may take while a quiet run goes on


@dataclass(frozen=True)
class Timing:
    """Seconds of one side.

    Attributes:
        median: of the rounds.
        quartiles: the first and the third.
        rounds: how many were timed.
        clock: 'process' (what this process computed, summed over its threads), 'children' (what those that it started
            computed), 'wall', or 'gpu' (the device's events).
    """

    median: float
    quartiles: tuple[float, float]
    rounds: int
    clock: str


@dataclass(frozen=True)
class Row:
    """What was measured of one side in one case.

    Attributes:
        case: what was measured, such as operator and stage; sides of equal cases are compared.
        side: whose it is, such as the name of a model.
        timing: its seconds, where time was measured.
        figures: other numbers by names that say their unit, such as 'peak_bytes'.
    """

    case: Mapping[str, str | int | float]
    side: str
    timing: Timing | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def time(self) -> Timing:
        """Its seconds, where they have to be there.

        Raises:
            ValueError: no time was measured.
        """
        if self.timing is None:
            raise ValueError(f'no time was measured of {self.side} in {dict(self.case)}')
        return self.timing

    def number(self, name: str) -> float:
        """Return a part of the case that counts something, such as the size of a photograph.

        Raises:
            ValueError: it is a name.
        """
        value = self.case[name]
        if isinstance(value, str):
            raise ValueError(f'{name} of {self.side} has to be a number, got {value!r}')
        return value


@dataclass
class Run:
    """One choice of settings, measured.

    Attributes:
        settings: arguments of the suite, threads and versions; no path of the machine.
        commit: of the code, with '-dirty' where files differed from it; '' where it is unknown.
        started: date and time, UTC, ISO 8601.
        load: 'average' (runnable processes before) and 'others' (cores that other processes took meanwhile).
        quiet: whether others took so little that goals can be judged.
        complete: False while the run goes on, and where it was interrupted.
        rows: what was measured.
    """

    settings: dict[str, Any]
    commit: str
    started: str
    load: dict[str, float | None]
    quiet: bool = False
    complete: bool = False
    rows: list[Row] = field(default_factory=list)

    def note_load(self, others: float | None) -> None:
        """Note how many cores other processes took during the run; None where that cannot be told."""
        self.load['others'] = others
        self.quiet = others is not None and others <= MAX_OTHERS

    def sides(self) -> dict[tuple, dict[str, Row]]:
        """Return the rows by their cases and sides."""
        cases: dict[tuple, dict[str, Row]] = {}
        for row in self.rows:
            cases.setdefault(tuple(row.case.items()), {})[row.side] = row
        return cases


@dataclass
class Record:
    """The runs of one suite on one machine."""

    suite: str
    version: str
    machine: str
    device: str
    runs: list[Run] = field(default_factory=list)

    def path(self, root: Path) -> Path:
        """Return where the record belongs in a repository."""
        return root / RESULTS / self.version / f'{self.suite}--{slug(self.machine)}--{slug(self.device)}.json'

    def add(self, run: Run) -> None:
        """Add a run, or what there is of it so far, in the place of earlier ones with the same settings.

        A whole run goes only when another whole one comes: an interruption costs no earlier result.
        """
        self.runs = [
            other for other in self.runs if other.settings != run.settings or (other.complete and not run.complete)
        ]
        self.runs.append(run)

    def write(self, root: Path) -> Path:
        """Write the record whole, below a root that holds the folder `benchmarks`; return its path.

        Raises:
            OSError: it cannot be written.
        """
        path = self.path(root)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {'format': FORMAT, **asdict(self)})
        return path


def slug(name: str) -> str:
    """Return a name as a part of a file's name: lower case, hyphens for all but letters and digits."""
    name = re.sub(r'\((r|tm)\)', ' ', name.lower())
    return re.sub(r'[^a-z0-9]+', '-', name).strip('-') or 'unknown'


def read_record(path: str | os.PathLike) -> Record:
    """Read a record.

    Raises:
        ValueError: the file is no record, or one of another format; names it.
        OSError: it cannot be read.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
        if not isinstance(content, dict) or content.pop('format', None) != FORMAT:
            raise ValueError(f'expected a record of format {FORMAT}')
        content['runs'] = [_parse_run(**run) for run in content['runs']]
        return Record(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f'{path}: is no record of a benchmark: {error}') from error


def _parse_run(rows: Sequence[dict[str, Any]], **rest: Any) -> Run:
    return Run(rows=[_parse_row(**row) for row in rows], **rest)


def _parse_row(timing: dict[str, Any] | None = None, **rest: Any) -> Row:
    if timing is None:
        return Row(**rest)
    return Row(timing=Timing(**{**timing, 'quartiles': tuple(timing['quartiles'])}), **rest)


def find_records(root: Path) -> list[Path]:
    """Return the records below a root, in the order of their paths."""
    return sorted((root / RESULTS).glob('*/*--*--*.json'))
