"""Train any model of this repository from its config."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualattn.commands.files import check_checkpoint, check_data, check_new_folder, check_weights_files
from dualattn.commands.overrides import merge_options
from dualattn.commands.parser import (
    CommandParser,
    add_launcher_arguments,
    add_options_argument,
    describe,
    parse_options,
)
from dualattn.configs import import_modules, read_config

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = """examples:
  # a few minutes on a laptop, with photographs that are already installed
  dualattn train configs/colorize/mpt_demo.py

  # your own photographs, starting from the weights that ship with the package
  # (PHOTOS/train and PHOTOS/val; thirty of a kind are enough)
  dualattn train configs/colorize/mpt_finetune_folder.py --cfg-options data_root=PHOTOS

  # go on where an interrupted run stopped
  dualattn train configs/colorize/mpt_base.py --resume

  # 8 GPUs of one machine, with 2 images each: the same batches of 16 as on one
  torchrun --nproc-per-node 8 -m dualattn train configs/colorize/mpt_base.py --launcher pytorch \\
      --cfg-options train_dataloader.batch_size=2
"""
# entries of a model that name files of weights: those of its losses, and those that a training begins with
NEEDED = ('weights',)
NEEDED_AT_FIRST = ('generator_weights', 'encoder_weights', 'checkpoint')


def make_parser() -> CommandParser:
    """Return the parser of this verb."""
    parser = CommandParser('train', __doc__, EXAMPLES)
    parser.add_argument('config', help='config file, for example configs/colorize/mpt_demo.py')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/<config name>)')
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=['bfloat16', 'float16'],
        help='mixed precision: bfloat16 on any device (the default of the flag), float16 on GPUs',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by batch size x processes over the config's base batch size",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='go on from a checkpoint, or from the newest of the work dir if none is named',
    )
    add_options_argument(parser)
    add_launcher_arguments(parser)
    return parser


def use_amp(optim_wrapper: dict, dtype: str) -> None:
    """Switch an optimizer wrapper, or each of a multi-network config, to mixed precision.

    Raises:
        OptionError: the wrapper is not to be replaced, or float16 is asked for where there is no GPU.
    """
    import torch

    from dualattn.engine import OptionError

    entries = [entry for entry in optim_wrapper.values() if isinstance(entry, dict) and 'optimizer' in entry]
    for entry in entries if 'optimizer' not in optim_wrapper else [optim_wrapper]:
        wrapper = entry.get('type', 'OptimWrapper')
        if wrapper != 'OptimWrapper':
            raise OptionError(f'--amp replaces OptimWrapper, but the config has {wrapper}: leave out the flag')
        if dtype == 'float16':
            if not torch.cuda.is_available():
                raise OptionError('--amp float16 needs a GPU; --amp bfloat16 runs anywhere')
            entry.update(type='AmpOptimWrapper', dtype='float16')
        else:
            entry['type'] = 'BFloat16OptimWrapper'


def check_precision(cfg: Config) -> None:
    """Refuse bfloat16, of `--amp` or of the config itself, where a library has no operators for it.

    Raises:
        OptionError: the model has region proposals, which mmcv computes, or sparse convolutions of spconv.
    """
    from dualattn.engine import OptionError

    wrappers = [cfg.optim_wrapper, *(entry for entry in cfg.optim_wrapper.values() if isinstance(entry, dict))]
    if not any(one.get('type') == 'BFloat16OptimWrapper' or 'bfloat16' in str(one.get('dtype')) for one in wrappers):
        return
    way_out = 'on a GPU, --amp float16 will do; leave bfloat16 out elsewhere'
    if 'rpn_head' in cfg.model:
        raise OptionError(f"mmcv's RoIAlign and NMS have no bfloat16; {way_out}")
    sparse = next((kind for kind in _list_types(cfg.model) if re.search('sparse|spconv', kind, re.I)), None)
    if sparse is not None:
        raise OptionError(
            f'spconv, which computes {sparse}, has no bfloat16 and would fall back to float16 without a scaled loss; '
            f'{way_out}'
        )


def _list_types(part: Any) -> Iterator[str]:
    """Yield the types of all parts of a model."""
    if isinstance(part, dict):
        yield str(part.get('type', ''))
        part = list(part.values())
    if isinstance(part, (list, tuple)):
        for one in part:
            yield from _list_types(one)


def load_config(args: argparse.Namespace, options: dict) -> Config:
    """Read the config and let the arguments change it.

    Raises:
        FileNotFoundError: there is no such config or checkpoint.
        NotADirectoryError: the work dir is a file.
        OptionError: an argument does not fit the config.
    """
    cfg = read_config(args.config, import_modules=False)
    merge_options(cfg, options)
    # these take no time; what follows loads torch, mmengine and what the config imports
    if args.resume and args.resume != 'auto':
        check_checkpoint(args.resume, '--resume: ')
    elif isinstance(cfg.get('load_from'), str):
        check_checkpoint(cfg.load_from, 'load_from: ')
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(args.config).stem))
    check_new_folder(cfg.work_dir, '--work-dir')
    check_data(cfg, ['train_dataloader', 'val_dataloader'] if cfg.get('val_cfg') else ['train_dataloader'])
    # a checkpoint to go on from replaces what a training begins with
    check_weights_files(cfg, NEEDED if args.resume or cfg.get('load_from') else [*NEEDED, *NEEDED_AT_FIRST])
    from dualattn.engine import OptionError, check_options

    check_options(options)
    import_modules(cfg)
    cfg.launcher = args.launcher
    if args.amp:
        use_amp(cfg.optim_wrapper, args.amp)
    check_precision(cfg)
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg or 'base_batch_size' not in cfg.auto_scale_lr:
            raise OptionError(f'--auto-scale-lr needs auto_scale_lr.base_batch_size in {args.config}')
        cfg.auto_scale_lr.enable = True
    if args.resume == 'auto':
        cfg.resume = 'auto'  # StrictRunner looks in the work dir, for all processes
    elif args.resume:
        cfg.load_from, cfg.resume = args.resume, True
    return cfg


def main(argv: Sequence[str] | None = None) -> int:
    """Train.

    Returns:
        0; 2 with one line on standard error where something is missing or does not fit; 143 after SIGTERM and 138
        after SIGUSR1, with a checkpoint that `--resume` goes on from.
    """
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        cfg = load_config(args, parse_options(parser, args.cfg_options))
    except (OSError, ValueError) as error:
        print(describe(error), file=sys.stderr)
        return 2
    from mmengine.registry import RUNNERS

    from dualattn.engine import CheckpointError, DataError, PreemptedError, StrictRunner, TrainingDivergedError

    try:
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else StrictRunner.from_cfg(cfg)
        runner.train()
    except PreemptedError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (FileNotFoundError, CheckpointError, DataError, TrainingDivergedError) as error:
        print(describe(error), file=sys.stderr)
        return 2
    return 0
