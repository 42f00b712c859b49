"""Whole detectors.

Frames a second on the wall, from an image or a point cloud in memory to boxes and masks, with random weights, at batch
1: as many proposals reach the second stage of a two-stage detector as with trained ones, but fewer masks are drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dualattn.benchmarks.configs import find_configs
from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import time_interleaved

if TYPE_CHECKING:
    import torch

CONFIGS = dict(
    det=['mask_rcnn_dualattn_t'],
    det3d=['second_second_kitti_3class', 'second_dualattn_kitti_3class', 'second_dualattn_light_kitti_3class'],
)
POINTS = 18_000  # of a KITTI frame, within the camera's view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    for folder, names in CONFIGS.items():
        parser.add_argument(
            f'--{folder}', nargs='*', default=names, metavar='NAME', help=f'configs of configs/{folder}'
        )
    parser.add_argument('--shape', type=int, nargs=2, default=[800, 1280], metavar=('H', 'W'), help='of the image')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument('--rounds', type=int, default=5, help='timed rounds; each runs every side once')


def build_detector(path: Path, device: str) -> torch.nn.Module:
    """Build the detector of a config, without reading weights."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope

    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.pop('init_cfg', None) if 'backbone' in cfg.model else None
    return MODELS.build(cfg.model).to(device).eval()


def make_image(shape: list[int]) -> dict:
    """Return one image as a loader hands it over: (3, H, W) uint8, BGR."""
    import torch
    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(img_shape=tuple(shape), ori_shape=tuple(shape), scale_factor=(1.0, 1.0)))
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return dict(inputs=[image], data_samples=[sample])


def make_cloud() -> dict:
    """Return one point cloud as a loader hands it over: points (N, 4) in metres within KITTI's range, and intensity."""
    import torch
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    low, high = torch.tensor([0.0, -40.0, -3.0, 0.0]), torch.tensor([70.4, 40.0, 1.0, 1.0])
    # a scanner sees most of its points near by
    spread = torch.rand(POINTS, 4, generator=torch.Generator().manual_seed(0)) ** torch.tensor([2.0, 1.0, 1.0, 1.0])
    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
    return dict(inputs=dict(points=[low + (high - low) * spread]), data_samples=[sample])


def make_sides(args: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Build all detectors; each side is one frame.

    Raises:
        ValueError: an unknown config.
    """
    import torch

    from dualattn.matmul import fast_matmul, find_product

    sides: dict[str, Callable[[], object]] = {}
    paths = [(folder, path) for folder in CONFIGS for path in find_configs(folder, getattr(args, folder))]
    for folder, path in paths:
        detector = build_detector(path, args.device)
        frame = make_image(args.shape) if folder == 'det' else make_cloud()
        product = find_product(detector, max(args.shape))

        @torch.inference_mode()
        def run(detector=detector, frame=frame, product=product) -> None:
            with fast_matmul(product, device=args.device):
                detector.test_step(frame)
            if args.device.startswith('cuda'):
                torch.cuda.synchronize()

        sides[path.stem] = run
    return sides


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Time one frame through each detector in turn."""
    sides = make_sides(args)
    for name, timing in time_interleaved(sides, args.rounds, warm_up=1, clock='wall').items():
        yield Row({}, name, timing, dict(frames_per_second=1 / timing.median))


def tabulate(run: Run) -> Table:
    """Show a line for each detector."""
    rows = [
        [
            row.side,
            f'{row.figures["frames_per_second"]:.2f}',
            f'{row.timing.median:.3f} ({row.timing.quartiles[0]:.3f} to {row.timing.quartiles[1]:.3f})',
        ]
        for row in run.rows
    ]
    return Table(['detector', 'frames a second', 'seconds (quartiles)'], rows)


def judge(run: Run) -> list[Goal]:
    """Nothing was aimed at."""
    return []
