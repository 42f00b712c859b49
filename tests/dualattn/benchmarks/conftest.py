"""The suites as pyproject.toml declares them, whatever is installed; and records with made-up figures."""

from importlib.metadata import EntryPoint

import pytest
import tomllib

from dualattn.benchmarks import suite
from dualattn.benchmarks.record import Record, Row, Run, Timing


@pytest.fixture
def declared(repo_root, monkeypatch):
    """Make `find_suites` see pyproject.toml; returns the modules by the names of the suites."""
    entries = tomllib.loads((repo_root / 'pyproject.toml').read_text(encoding='utf-8'))['project']['entry-points']
    modules = entries[suite.GROUP]
    monkeypatch.setattr(
        suite,
        'entry_points',
        lambda group: [EntryPoint(name, module, group) for name, module in modules.items() if group == suite.GROUP],
    )
    return modules


@pytest.fixture
def make_run():
    """Function that makes a quiet, whole run from seconds by case and side."""

    def make(seconds, figures=None, **settings):
        rows = [
            Row(dict(case), side, Timing(value, (value * 0.9, value * 1.1), 5, 'process'), dict(figures or {}))
            for (case, side), value in seconds.items()
        ]
        load = dict(average=0.0, others=0.01)
        settings = dict(threads=1, torch='2.11.0', device='cpu', **settings)
        return Run(settings, 'abcdef0', '2026-11-30T12:00:00+00:00', load, quiet=True, complete=True, rows=rows)

    return make


@pytest.fixture
def make_record():
    """Function that makes a record of some runs."""

    def make(suite_name, runs, version='0.1.0', machine='A Processor, 2 cores', device='cpu'):
        return Record(suite_name, version, machine, device, list(runs))

    return make
