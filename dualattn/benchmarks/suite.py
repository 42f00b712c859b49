"""What a suite of measurements is, and how the installed ones are found."""

import argparse
import ast
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Protocol

from dualattn.benchmarks.record import Row, Run

__all__ = ['Goal', 'Suite', 'Table', 'find_suites', 'load_suite', 'show_interval', 'summarize']

GROUP = 'dualattn.benchmarks'


@dataclass(frozen=True)
class Table:
    """A table as the page shows it.

    Attributes:
        heading: names of the columns.
        rows: texts of the cells.
    """

    heading: list[str]
    rows: list[list[str]]

    def to_markdown(self) -> str:
        """Return the table in Markdown, with a line end."""
        lines = [self.heading, ['---'] * len(self.heading), *self.rows]
        return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


@dataclass(frozen=True)
class Goal:
    """What was aimed at, and what was measured.

    Attributes:
        text: what is compared, at which setting.
        target: the least ratio; where `at_most`, the largest.
        value: the ratio measured.
        at_most: smaller is better.
        timed: what else the machine does changes the value, so that a run on a busy machine says nothing about it.
    """

    text: str
    target: float
    value: float
    at_most: bool = False
    timed: bool = True

    @property
    def is_met(self) -> bool:
        """Whether the value reaches the target."""
        return self.value <= self.target if self.at_most else self.value >= self.target


class Suite(Protocol):
    """The module of a suite. Its docstring opens with the title, and says what is compared and how."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of this suite; heavy libraries are not loaded yet."""

    def measure(self, args: argparse.Namespace) -> Iterator[Row]:
        """Measure, yielding each row as soon as it stands, so that an interruption loses only what was under way.

        Raises:
            ValueError: an argument that cannot be met, such as an unknown peer; before anything is measured.
        """

    def tabulate(self, run: Run) -> Table:
        """Return the rows of one run as a table."""

    def judge(self, run: Run) -> list[Goal]:
        """Return the goals that a run says something about; none where its settings are others."""


def show_interval(row: Row, name: str, style: str) -> str:
    """Write the figure `name` of a row with its interval, the figures `name`_low and `name`_high, in a format."""
    value, low, high = (format(row.figures[key], style) for key in (name, f'{name}_low', f'{name}_high'))
    return f'{value} [{low}, {high}]'


def find_suites() -> dict[str, EntryPoint]:
    """Return the suites of all installed packages by their names, in the order of the alphabet."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def load_suite(entry: EntryPoint) -> ModuleType:
    """Import the module of a suite."""
    return importlib.import_module(entry.module)


def summarize(module: str) -> tuple[str, str]:
    """Return the title and the description of a suite, read as text, so that nothing heavy is loaded.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f'no module named {module}', name=module)
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding='utf-8'))) or ''
    title, _, description = text.partition('\n')
    return title.removesuffix('.'), description.strip()
