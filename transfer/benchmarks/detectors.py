"""Whole detectors.

Frames a second on the wall, from an image or a point cloud in memory to boxes and masks, with random weights, at batch
1: as many proposals reach the second stage of a two-stage detector as with trained ones, but fewer masks are drawn. The
paper's are those of MPT Table XII, CenterPoint on nuScenes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dualattn.benchmarks.configs import find_configs
from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import time_interleaved

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config

CONFIGS = dict(
    det=['mask_rcnn_dualattn_t'],
    det3d=[
        'second_second_kitti_3class',
        'second_dualattn_kitti_3class',
        'second_dualattn_light_kitti_3class',
        'centerpoint_voxel01_second_nus',
        'centerpoint_voxel01_dualattn_nus',
        'centerpoint_pillar02_second_nus',
        'centerpoint_pillar02_dualattn_nus',
    ],
)
# frames a second on a V100, MPT Table XII
PAPER = dict(
    centerpoint_voxel01_second_nus=14,
    centerpoint_voxel01_dualattn_nus=21,
    centerpoint_pillar02_second_nus=11,
    centerpoint_pillar02_dualattn_nus=17,
)
FRONT_POINTS = 18_000  # of a KITTI frame, within the camera's view
ROUND_POINTS = 250_000  # of ten sweeps of nuScenes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    for folder, names in CONFIGS.items():
        parser.add_argument(
            f'--{folder}', nargs='*', default=names, metavar='NAME', help=f'configs of configs/{folder}'
        )
    parser.add_argument('--shape', type=int, nargs=2, default=[800, 1280], metavar=('H', 'W'), help='of the image')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument('--rounds', type=int, default=5, help='timed rounds; each runs every side once')


def build_detector(cfg: Config, device: str) -> torch.nn.Module:
    """Build the detector of a config, without reading weights."""
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(cfg.default_scope)
    for name in ('backbone', 'pts_backbone'):
        if name in cfg.model:
            cfg.model[name].pop('init_cfg', None)
    return MODELS.build(cfg.model).to(device).eval()


def make_image(shape: list[int]) -> dict:
    """Return one image as a loader hands it over: (3, H, W) uint8, BGR."""
    import torch
    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(img_shape=tuple(shape), ori_shape=tuple(shape), scale_factor=(1.0, 1.0)))
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return dict(inputs=[image], data_samples=[sample])


def make_cloud(cfg: Config) -> dict:
    """Return one point cloud as a loader hands it over: points (N, 3 + features), in metres within the config's range.

    It lies before the scanner, as KITTI's in the camera's view, or all around it, as nuScenes' sweeps; the features,
    intensity and age of a point, are in [0, 1].
    """
    import torch
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    limits = cfg.model.data_preprocessor.voxel_layer.point_cloud_range
    encoder = cfg.model.get('pts_voxel_encoder', cfg.model.get('voxel_encoder'))
    dims = encoder.get('in_channels', encoder.get('num_features', 4))
    low, high = torch.tensor(limits[:3], dtype=torch.float32), torch.tensor(limits[3:], dtype=torch.float32)
    is_round = bool(low[0] < 0)
    count = ROUND_POINTS if is_round else FRONT_POINTS
    points = torch.rand(count, dims, generator=torch.Generator().manual_seed(0))
    # a scanner sees most of its points near by
    if is_round:
        distance, angle = high[0] * points[:, 0] ** 2, 2 * torch.pi * points[:, 1]
        flat = torch.stack([distance * angle.cos(), distance * angle.sin()], dim=1)
        points = torch.cat([flat, low[2] + (high[2] - low[2]) * points[:, 2:3], points[:, 3:]], dim=1)
    else:
        points[:, :3] = low + (high - low) * points[:, :3] ** torch.tensor([2.0, 1.0, 1.0])
    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
    return dict(inputs=dict(points=[points]), data_samples=[sample])


def make_sides(args: argparse.Namespace) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """Build all detectors; each side is one frame. Also returns their parameters.

    Raises:
        ValueError: an unknown config.
    """
    import torch
    from mmengine.config import Config

    from dualattn.matmul import fast_matmul, find_product

    sides: dict[str, Callable[[], object]] = {}
    paths = [(folder, path) for folder in CONFIGS for path in find_configs(folder, getattr(args, folder))]
    parameters = {}
    for folder, path in paths:
        cfg = Config.fromfile(path)
        detector = build_detector(cfg, args.device)
        parameters[path.stem] = sum(value.numel() for value in detector.parameters())
        frame = make_image(args.shape) if folder == 'det' else make_cloud(cfg)
        product = find_product(detector, max(args.shape))

        @torch.inference_mode()
        def run(detector=detector, frame=frame, product=product) -> None:
            with fast_matmul(product, device=args.device):
                detector.test_step(frame)
            if args.device.startswith('cuda'):
                torch.cuda.synchronize()

        sides[path.stem] = run
    return sides, parameters


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Time one frame through each detector in turn."""
    sides, parameters = make_sides(args)
    for name, timing in time_interleaved(sides, args.rounds, warm_up=1, clock='wall').items():
        yield Row({}, name, timing, dict(frames_per_second=1 / timing.median, parameters=parameters[name]))


def tabulate(run: Run) -> Table:
    """Show a line for each detector."""
    rows = [
        [
            row.side,
            f'{row.figures["frames_per_second"]:.2f}',
            f'{row.time.median:.3f} ({row.time.quartiles[0]:.3f} to {row.time.quartiles[1]:.3f})',
            f'{row.figures["parameters"] / 1e6:.2f} M' if 'parameters' in row.figures else '',
            str(PAPER.get(row.side, '')),
        ]
        for row in run.rows
    ]
    heading = [
        'detector',
        'frames a second',
        'seconds (quartiles)',
        'parameters',
        'frames a second in the paper (V100)',
    ]
    return Table(heading, rows)


def judge(run: Run) -> list[Goal]:
    """Nothing was aimed at."""
    return []
