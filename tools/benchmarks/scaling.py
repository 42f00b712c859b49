"""FLOPs and time of a backbone against the size of the image."""

import argparse

import timm
import torch

from benchmarks.timing import print_table, time_interleaved


def add_commands(commands) -> None:
    command = commands.add_parser('scaling', help='FLOPs and time of a model against the size of the image')
    command.add_argument('--model', default='dualattn_tiny', help='timm name')
    command.add_argument('--sizes', type=int, nargs='+', default=[224, 448, 896, 1792], help='sides in pixels')
    command.add_argument('--repeats', type=int, default=5, help='timed rounds; each round runs every size once')
    command.set_defaults(measure=measure, show=show)


@torch.inference_mode()
def measure(args: argparse.Namespace) -> list[dict]:
    """Time a forward pass at batch 1 for each size, and count its multiply-adds."""
    from fvcore.nn import FlopCountAnalysis

    model = timm.create_model(args.model).eval()
    images = {size: torch.randn(1, 3, size, size) for size in args.sizes}
    seconds = time_interleaved(
        {size: (lambda image=image: model(image)) for size, image in images.items()}, args.repeats, warm_up=1
    )
    rows = []
    for size, image in images.items():
        flops = FlopCountAnalysis(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        rows.append(dict(size=size, gmacs=flops.total() / 1e9, seconds=seconds[size]))
    first = rows[0]
    for row in rows:
        pixels = (row['size'] / first['size']) ** 2
        row['gmacs_per_pixel_ratio'] = row['gmacs'] / first['gmacs'] / pixels
        row['seconds_per_pixel_ratio'] = row['seconds'] / first['seconds'] / pixels
    return rows


def show(rows: list[dict], args: argparse.Namespace) -> None:
    print(f'{args.model}, forward, batch 1, fp32; cost of one pixel against that at {args.sizes[0]} px')
    print_table(
        ['size', 'GMACs', 'seconds', 'GMACs per pixel', 'seconds per pixel'],
        [
            [
                str(row['size']),
                f'{row["gmacs"]:.2f}',
                f'{row["seconds"]:.3f}',
                f'{row["gmacs_per_pixel_ratio"]:.2f} x',
                f'{row["seconds_per_pixel_ratio"]:.2f} x',
            ]
            for row in rows
        ],
    )
