"""A bird's-eye-view backbone with its neck against the SECOND backbone with the same neck."""

import argparse
from pathlib import Path

import torch

from benchmarks.timing import DTYPES, measure_peak_memory, print_table, profile_operators, time_interleaved

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'det3d'
SYSTEMS = dict(
    centerpoint_voxel01=('centerpoint_voxel01_{}_nus.py', (256, 128, 128)),
    centerpoint_pillar02=('centerpoint_pillar02_{}_nus.py', (64, 512, 512)),
    second=('second_{}_kitti_3class.py', (256, 200, 176)),
)
BACKBONES = ('second', 'dualattn', 'dualattn_light')


def add_commands(commands) -> None:
    command = commands.add_parser('bev', help="bird's-eye-view backbones with their neck against SECOND's, of configs")
    command.add_argument('--systems', nargs='+', choices=SYSTEMS, default=list(SYSTEMS))
    command.add_argument('--batch', type=int, default=1)
    command.add_argument('--dtype', choices=DTYPES, default='fp32')
    command.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    command.add_argument('--repeats', type=int, default=9, help='timed rounds; each round runs every side once')
    command.add_argument('--profile', action='store_true', help='also the operators that take most of the time (CPU)')
    command.set_defaults(measure=measure, show=show)


def build_network(path: Path, device: str, dtype: torch.dtype) -> torch.nn.Module:
    """Build the backbone and the neck of a config."""
    from mmdet3d.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    prefix = 'pts_' if 'pts_backbone' in cfg.model else ''
    parts = [MODELS.build(cfg.model[prefix + name]) for name in ('backbone', 'neck')]
    return torch.nn.Sequential(*parts).to(device, dtype).eval()


@torch.inference_mode()
def measure(args: argparse.Namespace) -> list[dict]:
    """Time the same map through every backbone, and count FLOPs, parameters and peak memory."""
    from fvcore.nn import FlopCountAnalysis

    rows = []
    for system in args.systems:
        name, shape = SYSTEMS[system]
        networks = {
            backbone: build_network(CONFIGS / name.format(backbone), args.device, DTYPES[args.dtype])
            for backbone in BACKBONES
        }
        x = torch.randn(args.batch, *shape, device=args.device, dtype=DTYPES[args.dtype])
        runs = {backbone: (lambda network=network, x=x: network(x)) for backbone, network in networks.items()}
        seconds = time_interleaved(runs, args.repeats, args.device)
        for backbone, network in networks.items():
            flops = FlopCountAnalysis(network, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            rows.append(
                dict(
                    system=system,
                    backbone=backbone,
                    shape=list(x.shape),
                    seconds=seconds[backbone],
                    ratio=seconds[backbone] / seconds['second'],
                    gmacs=flops.total() / 1e9,
                    parameters=sum(value.numel() for value in network.parameters()),
                    peak_bytes=measure_peak_memory(runs[backbone], args.device),
                )
            )
            if args.profile:
                rows[-1]['profile'] = profile_operators(runs[backbone])
    return rows


def show(rows: list[dict], args: argparse.Namespace) -> None:
    print(f'backbone and neck, forward, batch {args.batch}, {args.dtype}, {args.device}; time beside SECOND')
    print_table(
        ['system', 'backbone', 'map', 'ms', 'time / SECOND', 'GMACs', 'parameters', 'peak MiB'],
        [
            [
                row['system'],
                row['backbone'],
                ' x '.join(map(str, row['shape'][1:])),
                f'{row["seconds"] * 1e3:.1f}',
                f'{row["ratio"]:.2f}',
                f'{row["gmacs"]:.1f}',
                f'{row["parameters"] / 1e6:.2f} M',
                f'{row["peak_bytes"] / 2**20:.0f}',
            ]
            for row in rows
        ],
    )
    for row in rows:
        if 'profile' in row:
            shares = ', '.join(f'{name} {share:.0%}' for name, share in row['profile'].items())
            print(f'{row["system"]}, {row["backbone"]}: {shares}')
