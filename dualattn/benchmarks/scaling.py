"""The cost of the backbone against the size of the image.

Multiply-adds and time of a forward pass in float32, of one image of each size and of several of the first; both should
grow with the number of pixels of all images.
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
    parser.add_argument('--batches', type=int, nargs='*', default=[2, 4, 8], help='numbers of images of the first size')
    parser.add_argument('--rounds', type=int, default=5, help='timed rounds; each runs every size once')


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Time a forward pass for each size and batch, and count its multiply-adds."""
    import timm
    import torch
    from fvcore.nn import FlopCountAnalysis

    check_models([args.model])
    model = timm.create_model(args.model).eval()
    with torch.inference_mode():
        inputs = {(size, 1): torch.randn(1, 3, size, size) for size in args.sizes}
        inputs |= {
            (args.sizes[0], batch): torch.randn(batch, 3, args.sizes[0], args.sizes[0]) for batch in args.batches
        }
        timings = time_interleaved(
            {str(case): partial(model, images) for case, images in inputs.items()}, args.rounds, warm_up=1
        )
        for (size, batch), images in inputs.items():
            flops = FlopCountAnalysis(model, images).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            case = dict(size=size, batch=batch)
            yield Row(case, args.model, timings[str((size, batch))], dict(gmacs=flops.total() / 1e9))


def _per_pixel(run: Run) -> list[tuple[float, float]]:
    """Return multiply-adds and seconds of a pixel of each row over those of the first row."""
    first = run.rows[0]
    ratios = []
    for row in run.rows:
        pixels = (row.number('size') / first.number('size')) ** 2 * row.number('batch') / first.number('batch')
        gmacs, seconds = row.figures['gmacs'] / first.figures['gmacs'], row.time.median / first.time.median
        ratios.append((gmacs / pixels, seconds / pixels))
    return ratios


def tabulate(run: Run) -> Table:
    """Show a line for each size and batch."""
    rows = [
        [
            str(row.case['size']),
            str(row.case['batch']),
            f'{row.figures["gmacs"]:.2f}',
            f'{row.time.median:.3f}',
            f'{gmacs:.2f} x',
            f'{seconds:.2f} x',
        ]
        for row, (gmacs, seconds) in zip(run.rows, _per_pixel(run), strict=True)
    ]
    return Table(['size', 'images', 'GMACs', 'seconds', 'GMACs per pixel', 'seconds per pixel'], rows)


def judge(run: Run) -> list[Goal]:
    """Judge whether no size and no batch costs more than a quarter more for each pixel than the first."""
    if len(run.rows) < 2:
        return []
    worst = max(seconds for _, seconds in _per_pixel(run)[1:])
    return [Goal('seconds per pixel over those of the first image, at worst', 1.25, worst, at_most=True)]
