"""Memory of the backbone.

Peak bytes of tensors above the weights and the images, of a forward pass and of a training step, with and without
checkpointing of the blocks, for each batch.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from dualattn.benchmarks.backbones import check_models, make_step
from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import DTYPES, dtype_of, measure_peak_memory

PASSES = ('forward', 'train', 'train, checkpointed')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--models', nargs='+', default=['dualattn_tiny', 'davit_tiny'], help='timm names')
    parser.add_argument('--batches', type=int, nargs='+', default=[1, 8])
    parser.add_argument('--dtype', choices=DTYPES, default='fp32')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Run each pass twice and count in the second, when what is made once is there."""
    import timm
    import torch

    check_models(args.models)
    for name in args.models:
        model: Any = timm.create_model(name)
        model.to(args.device, dtype_of(args.dtype), memory_format=torch.channels_last)
        for batch in args.batches:
            images = torch.randn(batch, 3, 224, 224, device=args.device, dtype=dtype_of(args.dtype))
            images = images.to(memory_format=torch.channels_last)
            for what in PASSES:
                model.set_grad_checkpointing(what == 'train, checkpointed')
                step = make_step(model.train(what != 'forward'), images, what != 'forward')
                step()
                model.zero_grad(set_to_none=True)
                figures = dict(peak_bytes=float(measure_peak_memory(step, args.device)))
                yield Row(dict(batch=batch, what=what), name, None, figures)


def tabulate(run: Run) -> Table:
    """Show a line for each batch and pass, a column for each model."""
    models = list(dict.fromkeys(row.side for row in run.rows))
    rows = [
        [
            *(str(value) for _, value in case),
            *(f'{sides[model].figures["peak_bytes"] / 2**20:.0f}' if model in sides else '' for model in models),
        ]
        for case, sides in run.sides().items()
    ]
    return Table(['batch', 'pass', *(f'MiB, `{model}`' for model in models)], rows)


def judge(run: Run) -> list[Goal]:
    """Nothing was aimed at."""
    return []
