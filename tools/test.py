"""Measure a trained model of this repository on the test data of its config."""

import argparse
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.evaluator import DumpResults

from engine import CheckpointError, DataError, StrictRunner

EXAMPLES = """examples:
  # the weights that ship with the package, on your own photographs
  python tools/test.py configs/colorize/mpt_small.py colorization/weights/mpt_small.safetensors \\
      --cfg-options test_dataloader.dataset.data_root=PHOTOS

  # a checkpoint of your own training
  python tools/test.py configs/colorize/mpt_base.py work_dirs/mpt_base/iter_200000.pth

  # a detector, with truth and prediction drawn for every image, or for every point cloud from above
  python tools/test.py configs/det/mask_rcnn_dualattn_t.py work_dirs/mask_rcnn_dualattn_t/epoch_36.pth --show-dir found
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='training checkpoint (.pth), or exported weights (.safetensors)')
    parser.add_argument('--work-dir', help='where logs and pictures go (default: work_dirs/<config name>)')
    parser.add_argument('--out', help='also write every prediction to this .pkl file')
    parser.add_argument('--show-dir', help='also draw every prediction, in this folder below the work dir (detectors)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='override entries of the config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='how the processes of a distributed run were started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by older launchers; unused')
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> Config:
    cfg = Config.fromfile(args.config)
    # what training alone needs, such as the weights of a perceptual loss, must not stand in a test's way
    cfg.merge_from_dict(cfg.get('test_overrides', {}))
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(args.config).stem))
    if not Path(args.checkpoint).is_file():
        raise SystemExit(f'no checkpoint at {args.checkpoint}')
    if args.show_dir:
        if 'visualization' not in cfg.default_hooks:
            raise SystemExit(f'--show-dir: {args.config} has no default_hooks.visualization that could draw')
        cfg.default_hooks.visualization.update(draw=True, test_out_dir=args.show_dir)
    if args.checkpoint.endswith('.safetensors'):
        if 'generator' not in cfg.model:
            raise SystemExit('.safetensors files hold a colorizer; this config needs a training checkpoint (.pth)')
        cfg.model.generator_weights = args.checkpoint
    else:
        cfg.load_from = args.checkpoint
    return cfg


def main() -> None:
    args = parse_args()
    if args.out and not args.out.endswith('.pkl'):
        raise SystemExit(f'--out takes a .pkl file, got {args.out}')
    cfg = load_config(args)
    try:
        runner = StrictRunner.from_cfg(cfg)
        if args.out:
            runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
        runner.test()
    except (FileNotFoundError, CheckpointError, DataError) as error:
        raise SystemExit(f'{type(error).__name__}: {error}') from error


if __name__ == '__main__':
    main()
