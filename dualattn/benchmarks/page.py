"""The page of figures, made from the records alone."""

from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from dualattn.benchmarks.record import Record, Run, find_records, read_record
from dualattn.benchmarks.suite import find_suites, load_suite, summarize

__all__ = ['make_page']

INTRODUCTION = """# Benchmarks

<!-- Written by `dualattn benchmark page` from benchmarks/results; do not edit. -->

Every figure stands in a record below benchmarks/results, with its quartiles. Sides are timed in turn in one process;
figures are medians. A run counts as quiet while other processes take less than a tenth of a core; goals of time are
judged by quiet runs alone, and those that were missed are shown as well. Runs of one suite stand in the order in which
they were measured: where weights or code have changed in between, the last one tells what they are now. Peaks of memory
are those of tensors, as PyTorch's allocator counts them above the input and the weights, unless a suite says otherwise.
"""
HIDDEN_SETTINGS = ('torch', 'rounds', 'profile')


def make_page(root: Path) -> str:
    """Return the page in Markdown: of every suite, machine and device the newest version that was measured.

    Raises:
        ValueError: a file is no record.
    """
    newest: dict[tuple[str, str, str], Record] = {}
    for path in find_records(root):
        record = read_record(path)
        key = (record.suite, record.machine, record.device)
        if key not in newest or _order(record.version) >= _order(newest[key].version):
            newest[key] = record
    suites = find_suites()
    parts = [INTRODUCTION]
    for name, entry in suites.items():
        records = [record for key, record in sorted(newest.items()) if key[0] == name]
        if records:
            parts.append(_show_suite(name, entry, load_suite(entry), records))
    unmeasured = [name for name in suites if not any(key[0] == name for key in newest)]
    if unmeasured:
        parts.append(f'\n## Not measured yet\n\n{", ".join(f"`dualattn benchmark {name}`" for name in unmeasured)}\n')
    return ''.join(parts)


def _order(version: str) -> list[int]:
    return [int(part) if part.isdigit() else -1 for part in version.split('.')]


def _show_suite(name: str, entry: EntryPoint, suite: ModuleType, records: list[Record]) -> str:
    title, description = summarize(entry.module)
    text = f'\n## {title}\n\n{description}\n' if description else f'\n## {title}\n'
    for record in records:
        where = record.machine if record.device == 'cpu' else f'{record.device}, {record.machine}'
        text += f'\n### {title}: {where}\n'
        for run in record.runs:
            text += f'\n{_describe(name, record, run)}\n\n{suite.tabulate(run).to_markdown()}'
            goals = [goal for goal in suite.judge(run) if run.quiet or not goal.timed] if run.complete else []
            if goals:
                text += '\n| aimed at | measured | |\n| --- | --- | --- |\n'
            for goal in goals:
                sign, result = ('<=' if goal.at_most else '>='), ('met' if goal.is_met else 'missed')
                text += f'| {goal.text}: {sign} {goal.target} | {goal.value:.2f} | {result} |\n'
    return text


def _describe(name: str, record: Record, run: Run) -> str:
    settings = ' '.join(
        f'--{key.replace("_", "-")} {_spell(value)}'.rstrip()
        for key, value in run.settings.items()
        if key not in HIDDEN_SETTINGS and value not in (None, False, [])
    )
    states = [
        f'torch {run.settings["torch"]}',
        run.started[:10],
        f'commit {run.commit}' if run.commit else '',
        '' if run.quiet else f'**on a busy machine**: others took {run.load["others"]} cores',
        '' if run.complete else '**interrupted**',
    ]
    return f'`dualattn benchmark {name} {settings}`; {record.version}, {", ".join(state for state in states if state)}.'


def _spell(value: object) -> str:
    if value is True:
        return ''
    return ' '.join(map(str, value)) if isinstance(value, list) else str(value)
