"""Train the rows of a table, of a paper or our own, under a budget of time; write table and curves with spread.

All rows go on in rounds of equally many iterations, each in a process of its own, until the budget is spent. The same
command goes on where a former one ended, whether by its budget or by a kill.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dualattn.commands.parser import CommandParser, add_options_argument, explain

if TYPE_CHECKING:
    from colorization.evaluation.ablation import Run

EPILOG = """examples:
  dualattn ablate mpt-3 --budget 2h                    # ten rows on ImageNet, as the config says
  dualattn ablate mpt-4 --budget 40m --small --photos PHOTOS/train --val PHOTOS/val --seeds 2
  nohup dualattn ablate mpt-3 --budget 2h --small --photos PHOTOS/train --val PHOTOS/val --seeds 2 --round 750 &
  dualattn ablate mpt-2 --list                         # the configs of the rows, one a line
  dualattn ablate losses --budget 4h                   # the losses of the packaged weights, compared
  dualattn ablate mpt-3 --budget 0s                    # the table of what is there

exit codes: 0 the table is written, 1 written, but a row is too short to say anything, 2 a training failed or nothing
can be run, 143 stopped by SIGTERM, with a checkpoint from which the same command goes on
"""
TABLES = ('mpt-2', 'mpt-3', 'mpt-4', 'dd-2a', 'dd-2b', 'dd-2c', 'dd-3')
OWN = ('losses',)  # no paper's, and small as they are
_UNITS = {'s': 1, 'm': 60, 'h': 3600, 'd': 86400}


def parse_duration(text: str) -> float:
    """Return seconds of '90s', '40m', '2h', '1d'."""
    match = re.fullmatch(r'(\d+(?:\.\d+)?)([smhd])', text)
    if not match:
        raise argparse.ArgumentTypeError(f'expected a time such as 40m or 2h, got {text!r}')
    return float(match[1]) * _UNITS[match[2]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('ablate', __doc__, EPILOG)
    parser.add_argument(
        'table', choices=[*TABLES, *OWN], help="table of MPT or DDColor, or 'losses': those of the small network"
    )
    parser.add_argument('--budget', type=parse_duration, metavar='TIME', help='how long, for example 40m or 2h')
    parser.add_argument('--work-dir', type=Path, metavar='DIR', help='default: work_dirs/ablate_TABLE')
    parser.add_argument('--seeds', type=int, default=3, metavar='N', help='trainings of each row (default: 3)')
    parser.add_argument(
        '--round', type=int, default=250, metavar='N', help='iterations of a round, and between validations'
    )
    parser.add_argument('--photos', metavar='DIR', help='folder of training photographs (default: the config)')
    parser.add_argument('--val', metavar='DIR', help='folder of validation photographs (default: the config)')
    parser.add_argument(
        '--small',
        action='store_true',
        help='networks a quarter as wide, 64 px, batches of 8, the perceptual trunk that a package carries: what a '
        'laptop can train; needs --photos and --val',
    )
    parser.add_argument('--list', action='store_true', help='print the configs of the rows and end')
    add_options_argument(parser)
    args = parser.parse_args(argv)
    if args.budget is None and not args.list:
        parser.error('--budget is needed: how long may the trainings take, for example 2h?')
    if args.seeds < 1 or args.round < 1:
        parser.error(f'--seeds and --round take at least 1, got {args.seeds} and {args.round}')
    if args.small and args.table in OWN:
        parser.error(f'{args.table} is small as it is: leave out --small')
    if args.small and not (args.photos and args.val):
        parser.error('--small needs --photos and --val')
    args.work_dir = args.work_dir or Path('work_dirs', f'ablate_{args.table}')
    return args


def make_options(args: argparse.Namespace) -> list[str]:
    """Return the `--cfg-options` of every training; small configs name the photographs themselves."""
    options = list(args.cfg_options)
    if args.photos and not args.small:
        options.append(f'train_dataloader.dataset.data_root={args.photos}')
    if args.val and not args.small:
        options.append(f'val_dataloader.dataset.data_root={args.val}')
    return options


def add_memory(run: Run, args: argparse.Namespace) -> Run:
    """Make the colour memory that a row with ColorFormer's CM reads, unless it is there, and return the run with it.

    Raises:
        AblationError: the memory cannot be made.
    """
    from colorization.commands import memory
    from colorization.evaluation.ablation import AblationError
    from dualattn.configs import read_config

    generator = read_config(run.config).model.generator
    if generator.get('color_decoder') != 'memory':
        return run
    path = args.work_dir / f'memory_{generator.get("encoder", "dualattn_mpt")}.safetensors'
    if not path.is_file():
        options = ['--photos', args.photos] if args.photos else []
        options += ['--count', '1000'] if args.small else []
        if memory.main([run.config, '-o', str(path), *options]):
            raise AblationError(f'{run.row}: its colour memory cannot be made, see above')
    return replace(run, options=(f'model.generator.memory={path}',))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a grid; see the exit codes in EPILOG."""
    args = parse_args(argv)
    import dualattn
    from colorization.evaluation.ablation import (
        TOO_SHORT,
        AblationError,
        AblationStopped,
        Plan,
        draw_curves,
        run_grid,
        summarize,
        to_markdown,
    )
    from colorization.evaluation.grids import GRIDS
    from colorization.evaluation.small import write_small_configs
    from dualattn.io.files import write_whole

    paper = GRIDS[args.table]
    if args.list:
        print('\n'.join(paper.configs.values()))
        return 0
    for row, reason in paper.refused.items():
        print(f'{row}: not built, {reason}', file=sys.stderr)
    plan = Plan(args.table, tuple(range(args.seeds)), args.round, tuple(make_options(args)))
    try:
        plan.keep(args.work_dir)
        configs = Path(dualattn.__file__).parent / '.mim' / 'configs'  # of a checkout and of a wheel alike
        if args.small:
            configs = write_small_configs(paper, configs, args.work_dir / 'configs', args.photos, args.val)
        began = time.monotonic()
        runs = [add_memory(run, args) for run in plan.runs(paper, configs, args.work_dir)]
        left = args.budget - (time.monotonic() - began)
        iterations = run_grid(plan, runs, left, tell=lambda line: print(line, flush=True))
        if not iterations:
            raise AblationError('no round is complete: give a longer --budget, or a shorter --round')
        rows = summarize(plan, runs, iterations)
        text = to_markdown(plan, paper, rows, iterations)
        with write_whole(args.work_dir / 'table.md') as aside:
            aside.write_text(text, encoding='utf-8')
        with write_whole(args.work_dir / 'curves.png') as aside:
            draw_curves(runs, aside)
    except AblationStopped as error:
        print(f'ablate: {error}', file=sys.stderr)
        return 143
    except (ValueError, OSError) as error:
        print(f'ablate: {explain(error)}', file=sys.stderr)
        return 2
    print(f'\n{text}\ntable: {args.work_dir}/table.md, curves: {args.work_dir}/curves.png')
    return 0 if iterations >= TOO_SHORT else 1
