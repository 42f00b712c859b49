"""Put records of `dualattn evaluate` and `dualattn test` into a table, beside the rows of a paper."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.parser import CommandParser, explain

EPILOG = """examples:
  dualattn tables runs/*.json                                    # our rows alone, Markdown
  dualattn tables runs/*.json --beside mpt-1 --format latex      # MPT Table I and ours
  dualattn tables work_dirs/*/test_mask_rcnn*.json --beside mpt-10
  dualattn tables --beside dd-3                                  # what the paper printed
  dualattn tables runs/*.json --beside dd-1 --format csv --out table.csv

exit codes: 0 written, 2 a record cannot be used
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    from colorization.evaluation.papers import PAPER_TABLES
    from colorization.evaluation.recognition import RECOGNITION_TABLES

    parser = CommandParser('tables', __doc__, EPILOG)
    parser.add_argument(
        'records', nargs='*', type=Path, metavar='RECORD', help='JSON files of `dualattn evaluate` or `test`'
    )
    parser.add_argument(
        '--beside', choices=[*PAPER_TABLES, *RECOGNITION_TABLES], help="a paper's table, whose rows stand above ours"
    )
    parser.add_argument('--format', choices=['markdown', 'csv', 'latex'], default='markdown', help='default: markdown')
    parser.add_argument('--out', type=Path, metavar='FILE', help='write there instead of printing')
    args = parser.parse_args(argv)
    if not args.records and args.beside is None:
        parser.error('name at least one RECORD, or a table with --beside')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Make a table; see the exit codes in EPILOG."""
    args = parse_args(argv)
    from colorization.evaluation.papers import PAPER_TABLES
    from colorization.evaluation.recognition import RECOGNITION_TABLES
    from colorization.evaluation.record import read_record
    from colorization.evaluation.tables import FORMATS, make_table
    from dualattn.io.files import write_whole

    papers = {**PAPER_TABLES, **RECOGNITION_TABLES}
    try:
        records = [read_record(path) for path in args.records]
        text = FORMATS[args.format](make_table(records, papers[args.beside] if args.beside else None))
        if args.out is None:
            print(text, end='')
        else:
            with write_whole(args.out) as aside:
                aside.write_text(text, encoding='utf-8')
    except (ValueError, OSError) as error:
        print(f'tables: {explain(error)}', file=sys.stderr)
        return 2
    return 0
