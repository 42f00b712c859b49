"""Measure a trained model of this repository on the test data of its config, and keep a record of it.

The record is one JSON file: figures, protocol, hashes of data and weights, versions. `dualattn tables` puts records
beside the papers' rows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dualattn.commands.files import check_checkpoint, check_data, check_new_folder
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

    from dualattn.engine import StrictRunner

EXAMPLES = """examples:
  # the weights that ship with the package, on your own photographs
  dualattn test configs/colorize/mpt_small.py colorization/weights/mpt_small.safetensors \\
      --cfg-options test_dataloader.dataset.data_root=PHOTOS

  # a checkpoint of your own training, with FID: on all 50,000 validation images, or on the papers' val5k
  dualattn test configs/colorize/mpt_base.py work_dirs/mpt_base/iter_200000.pth --fid INCEPTION.pth
  dualattn test configs/colorize/mpt_base_val5k.py work_dirs/mpt_base/iter_200000.pth --fid INCEPTION.pth

  # the papers' rows and ours
  dualattn tables work_dirs/*/test_mpt_base*.json --beside mpt-1

  # a detector, with truth and prediction drawn for every image, or for every point cloud from above
  dualattn test configs/det/mask_rcnn_dualattn_t.py work_dirs/mask_rcnn_dualattn_t/epoch_36.pth --show-dir found
"""
# what only a training reads, and what the checkpoint on the command line decides
UNREAD = ('train_', 'val_', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr', 'resume', 'load_from', 'runner_type')


def make_parser() -> CommandParser:
    """Return the parser of this verb."""
    parser = CommandParser('test', __doc__, EXAMPLES)
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='training checkpoint (.pth), or exported weights (.safetensors)')
    parser.add_argument(
        '--fid',
        metavar='FILE',
        help="also measure FID, with torch-fidelity's Inception weights in this file (colorizers)",
    )
    parser.add_argument(
        '--record',
        type=Path,
        metavar='FILE',
        help='JSON record to write (default: test_<config name>.json in the work dir)',
    )
    parser.add_argument('--name', help='name of the model, for tables (default: the name of the config)')
    parser.add_argument('--work-dir', help='where logs and pictures go (default: work_dirs/<config name>)')
    parser.add_argument('--out', help='also write every prediction to this .pkl file')
    parser.add_argument('--show-dir', help='also draw every prediction, in this folder below the work dir (detectors)')
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test each image mirrored and at 0.75, 1 and 1.25 of its size as well (all but point clouds)',
    )
    parser.add_argument(
        '--tta-scales', nargs='+', type=float, metavar='S', help='--tta at these sizes; 1 alone mirrors and no more'
    )
    add_options_argument(parser)
    add_launcher_arguments(parser)
    return parser


def load_config(args: argparse.Namespace, options: dict) -> Config:
    """Read the config and let the arguments change it.

    Raises:
        FileNotFoundError: there is no such config.
        OptionError: an argument does not fit the config.
    """
    cfg = read_config(args.config, import_modules=False)
    # what training alone needs, such as the weights of a perceptual loss, must not stand in a test's way
    cfg.merge_from_dict(cfg.get('test_overrides', {}))
    merge_options(cfg, options)
    check_checkpoint(args.checkpoint)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(args.config).stem))
    check_new_folder(cfg.work_dir, '--work-dir')
    if args.out and Path(args.out).is_dir():
        raise IsADirectoryError(f'--out {args.out} is a folder, expected a .pkl file')
    check_data(cfg, ['test_dataloader'])
    # these take no time; what follows loads torch, mmengine and what the config imports
    from dualattn.engine import OptionError, check_options

    check_options(options, unread=UNREAD)
    import_modules(cfg)
    cfg.launcher = args.launcher
    if args.show_dir:
        if 'visualization' not in cfg.default_hooks:
            raise OptionError(f'--show-dir: {args.config} has no default_hooks.visualization that could draw')
        cfg.default_hooks.visualization.update(draw=True, test_out_dir=args.show_dir)
    if args.fid:
        add_fid(cfg, args)
    if args.tta or args.tta_scales:
        from dualattn.engine.augmentation import SCALES, use_augmentation

        use_augmentation(cfg, args.tta_scales or SCALES)
    if not args.checkpoint.endswith('.safetensors'):
        cfg.load_from = args.checkpoint
    elif is_colorizer(cfg):
        cfg.model.generator_weights = args.checkpoint
    # The runner writes the config into the work dir under the name of its file; the one of the training, which lies
    # there as a rule and describes the network of the checkpoint, is not to be replaced.
    name = Path(cfg.filename)
    return type(cfg)(cfg._cfg_dict, cfg_text=cfg.text, filename=str(name.with_name(f'test_{name.name}')))


def is_colorizer(cfg: Config) -> bool:
    """Tell whether a config describes the training of a colorizer."""
    return 'generator' in cfg.model


def add_fid(cfg: Config, args: argparse.Namespace) -> None:
    """Add FID to the evaluator; the test data set states the protocol.

    Raises:
        OptionError: the config is for no colorizer.
    """
    from dualattn.engine import OptionError

    if not is_colorizer(cfg):
        raise OptionError(f'--fid compares photographs with their colorizations; {args.config} is no colorizer')
    evaluator = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    cfg.test_evaluator = [*evaluator, dict(type='FID', weights=args.fid)]


def load_exported(runner: StrictRunner, path: str) -> None:
    """Load the weights of a detector or classifier from a .safetensors file, all or nothing."""
    from dualattn.engine import unwrap
    from dualattn.io.weights import load_strictly, read_weights

    model = unwrap(runner.model)
    load_strictly(model, read_weights(path).tensors, path)


def keep_record(runner: StrictRunner, metrics: dict, args: argparse.Namespace) -> None:
    """Write the record of a test, in the first of several processes.

    Raises:
        OSError: it cannot be written.
    """
    from mmengine.dist import is_main_process

    from dualattn.engine.record import make_test_record
    from dualattn.io.records import write_record

    if not is_main_process():
        return
    not_measured = {}
    if is_colorizer(runner.cfg):
        # as `dualattn evaluate` names them; this metric's prefix says nothing in a record of colours alone
        metrics = {name.removeprefix('color/'): value for name, value in metrics.items()}
        if not args.fid:
            not_measured['FID'] = 'needs --fid FILE, which `dualattn weights get inception` fetches'
    stem = Path(args.config).stem
    record = make_test_record(
        runner,
        metrics,
        args.checkpoint,
        args.name or stem,
        not_measured,
        dict(config=Path(args.config).name, options=args.cfg_options or [], tta=bool(args.tta or args.tta_scales)),
    )
    path = args.record or Path(runner.work_dir, f'test_{stem}.json')
    write_record(record, path)
    runner.logger.info(f'record: {path}')


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; returns 0, or 2 with one line on standard error where something is missing or does not fit."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.out and not args.out.endswith('.pkl'):
        parser.error(f'--out takes a .pkl file, got {args.out}')
    if args.record and args.record.suffix != '.json':
        parser.error(f'--record takes a .json file, got {args.record}')
    if args.record and not args.record.parent.is_dir():
        parser.error(f'--record: no folder {args.record.parent}')
    try:
        cfg = load_config(args, parse_options(parser, args.cfg_options))
    except (OSError, ValueError) as error:
        print(describe(error), file=sys.stderr)
        return 2
    from mmengine.registry import METRICS

    from dualattn.engine import CheckpointError, DataError, StrictRunner

    try:
        runner = StrictRunner.from_cfg(cfg)
        if args.checkpoint.endswith('.safetensors') and not is_colorizer(cfg):
            load_exported(runner, args.checkpoint)
        if is_colorizer(cfg) and not args.fid:
            runner.logger.info(
                'FID is not computed: it needs --fid FILE, which `dualattn weights get inception` fetches'
            )
        if args.out:
            # mmdet's own, which its tools for analysis read, codes masks by their runs
            kind = 'mmdet.DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'DumpResults'
            runner.test_evaluator.metrics.append(METRICS.build(dict(type=kind, out_file_path=args.out)))
        keep_record(runner, runner.test(), args)
    except (OSError, CheckpointError, DataError) as error:
        print(describe(error), file=sys.stderr)
        return 2
    return 0
