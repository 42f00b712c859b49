"""The bird's-eye-view backbone.

A backbone with its neck on the map of a 3D detector, against the SECOND backbone with the same neck.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dualattn.benchmarks.configs import find_configs
from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import DTYPES, dtype_of, measure_peak_memory, profile_operators, time_interleaved

if TYPE_CHECKING:
    import torch

SYSTEMS = dict(
    centerpoint_voxel01=('centerpoint_voxel01_{}_nus', (256, 128, 128)),
    centerpoint_pillar02=('centerpoint_pillar02_{}_nus', (64, 512, 512)),
    second=('second_{}_kitti_3class', (256, 200, 176)),
)
BACKBONES = ('second', 'dualattn', 'dualattn_light')
GOALS = dict(dualattn=0.8, dualattn_light=0.5)  # time over SECOND's, on all three maps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--systems', nargs='+', choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--dtype', choices=DTYPES, default='fp32')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument('--rounds', type=int, default=9, help='timed rounds; each runs every side once')
    parser.add_argument('--profile', action='store_true', help='print the operators that take most of the time (CPU)')


def build_network(path: Path, device: str, dtype: torch.dtype) -> torch.nn.Module:
    """Build the backbone and the neck of a config."""
    import torch
    from mmdet3d.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    prefix = 'pts_' if 'pts_backbone' in cfg.model else ''
    parts = [MODELS.build(cfg.model[prefix + name]) for name in ('backbone', 'neck')]
    return torch.nn.Sequential(*parts).to(device, dtype).eval()


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Time the same map through every backbone, and count FLOPs, parameters and peak memory."""
    import torch
    from fvcore.nn import FlopCountAnalysis

    from dualattn.matmul import fast_matmul, find_product

    for system in args.systems:
        name, shape = SYSTEMS[system]
        networks = {
            backbone: build_network(
                find_configs('det3d', [name.format(backbone)])[0], args.device, dtype_of(args.dtype)
            )
            for backbone in BACKBONES
        }
        x = torch.randn(args.batch, *shape, device=args.device, dtype=dtype_of(args.dtype))
        runs = {backbone: (lambda network=network, x=x: network(x)) for backbone, network in networks.items()}
        product = find_product(networks['dualattn'], shape[-1])
        with torch.inference_mode(), fast_matmul(product, device=args.device):
            timings = time_interleaved(runs, args.rounds, args.device)
        for backbone, network in networks.items():
            with torch.inference_mode():
                flops = FlopCountAnalysis(network, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
                figures = dict(
                    gmacs=flops.total() / 1e9,
                    parameters=sum(value.numel() for value in network.parameters()),
                    peak_bytes=measure_peak_memory(runs[backbone], args.device),
                )
                if args.profile:
                    shares = profile_operators(runs[backbone]).items()
                    print(f'{system}, {backbone}: {", ".join(f"{name} {share:.0%}" for name, share in shares)}')
            yield Row(dict(system=system, map=' x '.join(map(str, shape))), backbone, timings[backbone], figures)


def tabulate(run: Run) -> Table:
    """Show a line for each map and backbone."""
    rows = []
    for case, sides in run.sides().items():
        second = sides.get('second')
        for backbone, row in sides.items():
            figures = row.figures
            rows.append(
                [
                    *(str(value) for _, value in case),
                    backbone,
                    f'{row.time.median * 1e3:.1f}',
                    f'{row.time.median / second.time.median:.2f}' if second else '',
                    f'{figures["gmacs"]:.1f}',
                    f'{figures["parameters"] / 1e6:.2f} M',
                    f'{figures["peak_bytes"] / 2**20:.0f}',
                ]
            )
    heading = ['system', 'map', 'backbone', 'ms', 'time / SECOND', 'GMACs', 'parameters', 'peak MiB']
    return Table(heading, rows)


def judge(run: Run) -> list[Goal]:
    """Judge the time over SECOND's on the map where it is largest, on a CPU in float32."""
    if run.settings['device'] != 'cpu' or run.settings['dtype'] != 'fp32':
        return []
    goals = []
    for backbone, target in GOALS.items():
        ratios = [
            sides[backbone].time.median / sides['second'].time.median
            for sides in run.sides().values()
            if {'second', backbone} <= sides.keys()
        ]
        if len(ratios) == len(SYSTEMS):
            goals.append(Goal(f'time of {backbone} / SECOND, the worst of three maps', target, max(ratios), True))
    return goals
