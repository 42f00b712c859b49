"""Measure speed and memory, keep a record, and write docs/benchmarks.md from the records.

Every suite times its sides in turn in one process and keeps medians and quartiles. The record goes to
benchmarks/results/<version>/<suite>--<machine>--<device>.json below --root; a run with the same settings replaces the
earlier one, other settings are added. What was busy beside it is recorded too: a run on a busy machine says so, and is
not used for goals of time. A suite that is interrupted keeps what it has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dualattn.commands.parser import CommandParser, suggest

EXAMPLES = """examples:
  dualattn benchmark backbones --batch 8
  dualattn benchmark backbones --help
  dualattn benchmark page

exit codes: 0 all measured, 1 ended by an error, 2 nothing was started, 130 interrupted; what was measured is kept
"""
PAGE = Path('docs', 'benchmarks.md')
_NOT_SETTINGS = {'root', 'no_record'}


def make_parser(name: str, title: str, description: str) -> CommandParser:
    """Return the parser of one suite, with what all suites take."""
    parser = CommandParser(f'benchmark {name}', f'{title}.\n\n{description}')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (default: 1, the steadiest)')
    parser.add_argument('--root', type=Path, default=Path(), help='folder that holds benchmarks/ (default: this one)')
    parser.add_argument('--no-record', action='store_true', help='print the table alone')
    return parser


def describe_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments and versions as a record keeps them: of a path its name alone, no trace of this machine."""
    import torch

    def describe(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [describe(each) for each in value]
        return value.name if isinstance(value, Path) else value

    settings = {name: describe(value) for name, value in vars(args).items() if name not in _NOT_SETTINGS}
    return {**settings, 'torch': torch.__version__}


def show_help() -> None:
    """Print the suites with a line for each."""
    from dualattn.benchmarks.suite import find_suites, summarize

    print(f'usage: dualattn benchmark SUITE [ARGUMENT ...]\n       dualattn benchmark page\n\n{__doc__}')
    suites = find_suites()
    width = max(map(len, suites), default=0)
    for name, entry in suites.items():
        print(f'  {name:{width}}  {summarize(entry.module)[0]}')
    print(f'  {"page":{width}}  Write {PAGE} from the records\n\n{EXAMPLES}', end='')


def write_page(argv: Sequence[str]) -> int:
    """Run `dualattn benchmark page`."""
    parser = CommandParser('benchmark page', f'Write {PAGE} from the records in benchmarks/results.')
    parser.add_argument('--root', type=Path, default=Path(), help='folder of the repository (default: this one)')
    parser.add_argument('--check', action='store_true', help='write nothing; fail where the page is out of date')
    args = parser.parse_args(argv)
    from dualattn.benchmarks.page import make_page
    from dualattn.io.files import write_whole

    path = args.root / PAGE
    try:
        text = make_page(args.root)
        if args.check:
            if not path.is_file() or path.read_text(encoding='utf-8') != text:
                print(f'benchmark: {path} is out of date; run dualattn benchmark page', file=sys.stderr)
                return 1
            return 0
        with write_whole(path) as aside:
            aside.write_text(text, encoding='utf-8', newline='\n')
    except (ValueError, OSError) as error:
        print(f'benchmark: {error}', file=sys.stderr)
        return 2
    print(path)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a suite, or write the page; returns the exit code."""
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ['--help']
    if name in ('-h', '--help'):
        show_help()
        return 0
    if name == 'page':
        return write_page(rest)
    from dualattn.benchmarks.suite import find_suites, load_suite, summarize

    suites = find_suites()
    if name not in suites:
        hint = suggest(name, [*suites, 'page']) or f'; there are {", ".join(suites)}'
        if not suites:
            hint = '; none is declared here: install the package (pip install .) instead of running a bare checkout'
        print(f'benchmark: no suite {name!r}{hint}', file=sys.stderr)
        return 2
    try:
        suite = load_suite(suites[name])
    except ModuleNotFoundError as error:
        print(f'benchmark: the suite {name} needs a package that is not there: {error}', file=sys.stderr)
        return 2
    parser = make_parser(name, *summarize(suites[name].module))
    suite.add_arguments(parser)
    return run_suite(name, suite, parser.parse_args(rest))


def run_suite(name: str, suite: Any, args: argparse.Namespace) -> int:
    """Measure with parsed arguments, write the record after every row, and print the table."""
    import torch

    import dualattn
    from dualattn.benchmarks.machine import OtherLoad, describe_commit, load_average, name_device, name_processor
    from dualattn.benchmarks.record import Record, Run, read_record

    if args.threads < 1:
        print(f'benchmark: --threads has to be at least 1, got {args.threads}', file=sys.stderr)
        return 2
    torch.set_num_threads(args.threads)
    device = getattr(args, 'device', 'cpu')
    run = Run(
        settings=describe_settings(args),
        commit=describe_commit(Path(dualattn.__file__).parent),
        started=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        load=dict(average=load_average(), others=None),
    )
    code = 0
    try:
        record = Record(name, dualattn.__version__, name_processor(), name_device(device))
        path = record.path(args.root)
        if path.is_file() and not args.no_record:
            record = read_record(path)
        others = OtherLoad()
        for row in suite.measure(args):
            run.rows.append(row)
            run.note_load(others.cores())
            _keep(record, run, args)
        run.complete = True
        _keep(record, run, args)
    except KeyboardInterrupt:
        print(f'benchmark: interrupted after {len(run.rows)} rows, which are kept', file=sys.stderr)
        code = 130
    except (ValueError, OSError, ModuleNotFoundError, RuntimeError) as error:
        print(f'benchmark: {type(error).__name__}: {error}', file=sys.stderr)
        code = 1 if run.rows else 2
    if run.rows:
        print(suite.tabulate(run).to_markdown(), end='')
        for goal in suite.judge(run) if run.complete else []:
            print(f'{goal.text}: {goal.value:.2f}, aimed at {goal.target}' + ('' if goal.is_met else ', missed'))
        if not run.quiet:
            print(f'the machine was busy: others took {run.load["others"]} cores; no goal of time is judged by it')
        if not args.no_record:
            print(path)
    return code


def _keep(record: Any, run: Any, args: argparse.Namespace) -> None:
    if not args.no_record:
        record.add(run)
        record.write(args.root)


if __name__ == '__main__':
    sys.exit(main())
