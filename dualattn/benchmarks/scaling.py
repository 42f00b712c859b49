"""The cost of the backbone against the size of the image.

Multiply-adds and time of a forward pass at batch 1 in float32; both should grow with the number of pixels.
"""

import argparse
from collections.abc import Iterator
from functools import partial

from dualattn.benchmarks.backbones import check_models
from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import time_interleaved


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--model', default='dualattn_tiny', help='timm name')
    parser.add_argument('--sizes', type=int, nargs='+', default=[224, 448, 896, 1792], help='sides in pixels')
    parser.add_argument('--rounds', type=int, default=5, help='timed rounds; each runs every size once')


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Time a forward pass at batch 1 for each size, and count its multiply-adds."""
    import timm
    import torch
    from fvcore.nn import FlopCountAnalysis

    check_models([args.model])
    model = timm.create_model(args.model).eval()
    with torch.inference_mode():
        images = {size: torch.randn(1, 3, size, size) for size in args.sizes}
        timings = time_interleaved(
            {str(size): partial(model, image) for size, image in images.items()}, args.rounds, warm_up=1
        )
        for size, image in images.items():
            flops = FlopCountAnalysis(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            yield Row(dict(size=size), args.model, timings[str(size)], dict(gmacs=flops.total() / 1e9))


def _per_pixel(run: Run) -> list[tuple[float, float]]:
    """Return multiply-adds and seconds of a pixel of each row over those of the first row."""
    first = run.rows[0]
    ratios = []
    for row in run.rows:
        pixels = (row.case['size'] / first.case['size']) ** 2
        gmacs, seconds = row.figures['gmacs'] / first.figures['gmacs'], row.timing.median / first.timing.median
        ratios.append((gmacs / pixels, seconds / pixels))
    return ratios


def tabulate(run: Run) -> Table:
    """Show a line for each size."""
    rows = [
        [
            str(row.case['size']),
            f'{row.figures["gmacs"]:.2f}',
            f'{row.timing.median:.3f}',
            f'{gmacs:.2f} x',
            f'{seconds:.2f} x',
        ]
        for row, (gmacs, seconds) in zip(run.rows, _per_pixel(run), strict=True)
    ]
    return Table(['size', 'GMACs', 'seconds', 'GMACs per pixel', 'seconds per pixel'], rows)


def judge(run: Run) -> list[Goal]:
    """Judge whether the largest image costs no more than a quarter more for each pixel than the smallest."""
    if len(run.rows) < 2:
        return []
    _, seconds = _per_pixel(run)[-1]
    return [Goal('seconds per pixel, largest over smallest image', 1.25, seconds, at_most=True)]
