"""Tables of records, beside the papers' rows: Markdown, CSV, LaTeX."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from colorization.evaluation.papers import COLUMNS, PaperTable
from colorization.evaluation.protocols import PROTOCOLS

__all__ = ['FORMATS', 'Table', 'make_table']

_DASH = '-'


@dataclass(frozen=True)
class Table:
    """Headings, rows of text, and what has to be said beneath them."""

    title: str
    groups: tuple[str, ...]  # heading above each column, '' over the first
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return _DASH
    text = f'{figure["value"]:.2f}'
    return text if figure['low'] is None else f'{text} [{figure["low"]:.2f}, {figure["high"]:.2f}]'


def _find_number(record: dict[str, Any], ends: Sequence[str], factor: float) -> dict[str, Any] | None:
    """Return the mean of the figures whose names end so, as a cell takes it; None where one is missing."""
    found = [next((figure for name, figure in record['figures'].items() if name.endswith(end)), None) for end in ends]
    values = [figure['value'] for figure in found if figure is not None]
    return dict(value=factor * sum(values) / len(ends), low=None) if len(values) == len(ends) else None


def make_recognition_table(records: Sequence[dict[str, Any]], paper: PaperTable) -> Table:
    """Put records of `dualattn test` beside a paper's table of recognition.

    Raises:
        ValueError: two records have one name, one is of a colorizer, or has no figure of this table.
    """
    rows = []
    for name, groups in paper.rows.items():
        numbers = groups[paper.protocols[0]]
        rows.append((f'{name} (paper)', *(_DASH if number is None else f'{number:g}' for number in numbers)))
    notes = [
        f'{paper.protocols[0]}; FLOPs of ours by `dualattn flops`, frames a second by `dualattn benchmark detectors`.'
    ]
    names = [record['name'] for record in records]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f'two records of {twice.pop()}; give one of them another --name')
    for record in records:
        cells: dict[str, dict[str, Any] | None] = {
            column: _find_number(record, *paper.figures[column]) for column in paper.columns if column in paper.figures
        }
        if not any(cells.values()):
            known = ', '.join(list(record['figures'])[:5]) or 'none'
            raise ValueError(f'{paper.title}: the record of {record["name"]} has no figure of it; it has {known}')
        parameters = record.get('network', {}).get('parameters')
        if parameters:
            cells['Params'] = dict(value=parameters / 1e6, low=None)
        rows.append((record['name'], *(_cell(cells.get(column)) for column in paper.columns)))
        notes.append(f'{record["name"]}: {record["protocol"].get("description")}.')
        if not record['pictures'].get('complete'):
            notes.append(f'{record["name"]}: incomplete; not comparable')
    return Table(
        title=paper.title,
        groups=('', *(paper.protocols[0] for _ in paper.columns)),
        headings=('method', *paper.columns),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def make_table(records: Sequence[dict[str, Any]], paper: PaperTable | None = None) -> Table:
    """Arrange records by method and protocol, the papers' rows above ours.

    Args:
        records: what `read_record` returns.
        paper: the table whose rows stand beside ours; without it the columns are those of a paper's, with the
            protocols of the records.

    Raises:
        ValueError: two records are of one method under one protocol; there are neither records nor a paper; or a
            record's protocol has the name of another one, or is no column of the paper's table.
    """
    if paper is not None and paper.figures:
        return make_recognition_table(records, paper)
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    notes = []
    for record in records:
        protocol, name = record['protocol'], record['name']
        if protocol.get('name') is None:
            raise ValueError(
                f'the record of {name} was made under no protocol that has a name '
                f'({protocol.get("description")}); only {", ".join(PROTOCOLS)} stand in a table'
            )
        known = PROTOCOLS.get(protocol['name'])
        if known is None or known.to_dict() != protocol:
            raise ValueError(
                f'the record of {name} was made under another {protocol["name"]} than this version knows '
                f'({protocol.get("description")}); measure it again'
            )
        key = (name, protocol['name'])
        if key in cells:
            raise ValueError(f'two records of {name} under {protocol["name"]}; give one of them another --name')
        cells[key] = record
        if not record['pictures']['complete']:
            wanted = f' of {known.count:,}' if known.count else ''
            notes.append(
                f'{name}, {known.name}: incomplete, {record["pictures"]["measured"]:,}{wanted} pictures; not comparable'
            )
        for figure in record['unverified']:
            notes.append(f'{name}, {known.name}: {figure} was made with weights that nobody published and is left out')
    if paper is None and not cells:
        raise ValueError('no record and no table of a paper: nothing to show')
    protocols = paper.protocols if paper else tuple(dict.fromkeys(name for _, name in cells))
    strangers = [f'{name} ({protocol})' for name, protocol in cells if protocol not in protocols]
    if paper and strangers:
        raise ValueError(f'{paper.title} has no column for {", ".join(strangers)}; it has {", ".join(protocols)}')
    columns = paper.columns if paper else tuple(COLUMNS)
    printed = paper.parameters if paper else {}
    rows = []
    for name, groups in paper.rows.items() if paper else ():
        numbers = [number for protocol in protocols for number in groups[protocol]]
        size = [f'{printed[name]:.1f}'] if printed else []
        rows.append((f'{name} (paper)', *size, *(_DASH if number is None else f'{number:.2f}' for number in numbers)))
    for name in dict.fromkeys(name for name, _ in cells):
        row = [name, *([_describe_size(cells, name)] if printed else [])]
        for protocol in protocols:
            measured = cells.get((name, protocol))
            figures = measured['figures'] if measured else {}
            row += [_cell(figures.get(COLUMNS[column])) for column in columns]
        rows.append(tuple(row))
    notes = [
        'In brackets: 95 % bootstrap intervals over pictures. CF is the variant with absolute opponent colours.',
        *(f'{name}: {PROTOCOLS[name].describe()}.' for name in protocols),
        *notes,
    ]
    return Table(
        title=paper.title if paper else 'Records',
        groups=('', *([''] if printed else []), *(protocol for protocol in protocols for _ in columns)),
        headings=('method', *(['#Params. (M)'] if printed else []), *(column for _ in protocols for column in columns)),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _describe_size(cells: Mapping[tuple[str, str], dict[str, Any]], name: str) -> str:
    """Return the parameters of a method in millions: `dualattn test` counts them, a folder of pictures tells none."""
    found = [record.get('network', {}).get('parameters') for (method, _), record in cells.items() if method == name]
    count = next((one for one in found if one), None)
    return _DASH if count is None else f'{count / 1e6:.1f}'


def to_markdown(table: Table) -> str:
    """Write a table as Markdown, the protocol within each heading."""
    single = len(set(table.groups)) <= 2
    headings = [
        heading if single or not group else f'{group} {heading}'
        for group, heading in zip(table.groups, table.headings, strict=True)
    ]

    def line(cells: Sequence[str]) -> str:
        return f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |'

    rule = '|'.join(['', '---', *('---:' for _ in headings[1:]), ''])
    body = '\n'.join([line(headings), rule, *(line(row) for row in table.rows)])
    return f'**{table.title}**\n\n{body}\n\n' + '\n'.join(f'- {note}' for note in table.notes) + '\n'


def to_csv(table: Table) -> str:
    """Write a table as CSV: value, low and high in columns of their own, the notes left out."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    headings = [
        f'{group} {heading}'.strip() for group, heading in zip(table.groups[1:], table.headings[1:], strict=True)
    ]
    writer.writerow(['method', *(f'{name}{part}' for name in headings for part in ('', ' low', ' high'))])
    for name, *cells in table.rows:
        row = [name]
        for cell in cells:
            value, _, interval = cell.partition(' [')
            low, _, high = interval.rstrip(']').partition(', ')
            row += ['' if value == _DASH else value, low, high]
        writer.writerow(row)
    return out.getvalue()


_LATEX = {'&': r'\&', '%': r'\%', '_': r'\_', '#': r'\#', '$': r'\$', 'Δ': r'$\Delta$', '^': r'\^{}', '~': r'\~{}'}


def _latex(text: str) -> str:
    text = text.replace('\\', r'\textbackslash ').replace('{', r'\{').replace('}', r'\}')
    return ''.join(_LATEX.get(letter, letter) for letter in text)


def to_latex(table: Table) -> str:
    """Write a table as LaTeX for the package booktabs."""
    spans: list[list] = []
    for group in table.groups[1:]:
        if spans and spans[-1][0] == group:
            spans[-1][1] += 1
        else:
            spans.append([group, 1])
    above = ' & '.join(['', *(rf'\multicolumn{{{width}}}{{c}}{{{_latex(group)}}}' for group, width in spans)])
    lines = [
        r'\begin{table}',
        rf'\caption{{{_latex(table.title)}}}',
        rf'\begin{{tabular}}{{l{"r" * (len(table.headings) - 1)}}}',
        r'\toprule',
        rf'{above} \\',
        rf'{" & ".join(map(_latex, table.headings))} \\',
        r'\midrule',
        *(rf'{" & ".join(map(_latex, row))} \\' for row in table.rows),
        r'\bottomrule',
        r'\end{tabular}',
        *(rf'\par\footnotesize {_latex(note)}' for note in table.notes),
        r'\end{table}',
    ]
    return '\n'.join(lines) + '\n'


FORMATS: dict[str, Callable[[Table], str]] = {'markdown': to_markdown, 'csv': to_csv, 'latex': to_latex}
