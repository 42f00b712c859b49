"""The backbone against timm's models.

Forward pass or training step, each model in its faster memory layout, on a CPU also with `dualattn.fast_matmul` where
that is taken. Ratios are times over ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import DTYPES, dtype_of, measure_peak_memory, time_interleaved
from dualattn.commands.parser import suggest

if TYPE_CHECKING:
    import torch

PEERS = ['davit_tiny', 'maxvit_tiny_rw_224', 'swin_tiny_patch4_window7_224', 'convnext_tiny']
# times over ours, by dtype, pass and whether the images are those of a detector
GOALS = {
    ('fp32', 'forward', False): dict(
        davit_tiny=1.4, maxvit_tiny_rw_224=2.2, convnext_tiny=1.0, swin_tiny_patch4_window7_224=1.1
    ),
    ('bf16', 'forward', False): dict(davit_tiny=1.15, convnext_tiny=1.0),
    ('fp32', 'train', False): dict(davit_tiny=1.2),
    ('fp32', 'forward', True): dict(davit_tiny=1.25),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--model', default='dualattn_tiny', help='timm name')
    parser.add_argument('--peers', nargs='*', default=PEERS, metavar='MODEL', help='timm names')
    parser.add_argument('--what', choices=['forward', 'train'], default='forward', help='train: a step with backward')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=[224, 224],
        metavar=('H', 'W'),
        help='size of the images in pixels; other than 224 224 measures the feature pyramids',
    )
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--dtype', choices=DTYPES, default='fp32')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument(
        '--compile', action='store_true', help='also what torch.compile makes; of a forward pass with frozen weights'
    )
    parser.add_argument('--rounds', type=int, default=11, help='timed rounds; each runs every side once')


def check_models(names: list[str]) -> None:
    """Refuse names that timm does not know.

    Raises:
        ValueError: names one of them, and the nearest that is known.
    """
    import timm

    import dualattn.models  # noqa: F401  registers the models

    known = timm.list_models()
    for name in names:
        if not timm.is_model(name):
            raise ValueError(f'timm knows no model {name!r}{suggest(name, known)}')


def make_model(name: str, shape: list[int]) -> torch.nn.Module:
    """Build a classifier at its own size, a feature pyramid at any other."""
    import timm

    if shape == [224, 224]:
        return timm.create_model(name)
    fixed: dict[str, Any] = {} if name.startswith(('dualattn', 'davit', 'convnext')) else dict(img_size=tuple(shape))
    return timm.create_model(name, features_only=True, **fixed)


def make_step(model: Any, batch: torch.Tensor, train: bool) -> Callable[[], None]:
    """Return a function that runs a forward pass, or a forward and a backward one."""
    import torch

    def step() -> None:
        if not train:
            with torch.no_grad():
                model(batch)
            return
        model.zero_grad(set_to_none=True)
        outputs = model(batch)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        sum(output.float().square().mean() for output in outputs).backward()

    return step


def make_sides(args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Return every model in every setting, by name and setting."""
    import torch

    from dualattn.matmul import fast_matmul, find_product

    train = args.what == 'train'
    if args.compile and not train:
        from torch._inductor import config as inductor_config

        inductor_config.freezing = True
    sides = {}
    dtype = dtype_of(args.dtype)
    images = torch.randn(args.batch, 3, *args.shape, device=args.device, dtype=dtype)
    for name in (args.model, *args.peers):
        for layout in (torch.contiguous_format, torch.channels_last):
            model: Any = make_model(name, args.shape)
            model.to(args.device, dtype, memory_format=layout).train(train)
            batch = images.to(memory_format=layout)
            key = f'{name}, {"NHWC" if layout == torch.channels_last else "NCHW"}'
            step = make_step(model, batch, train)
            sides[key] = step
            rows, *sizes = find_product(model, args.shape[0])
            context = fast_matmul((rows * args.batch, *sizes), device=args.device)
            if args.dtype == 'fp32':
                with context as taken:
                    if taken:
                        sides[f'{key}, fast_matmul'] = fast_matmul((rows * args.batch, *sizes))(step)
            if args.compile:
                sides[f'{key}, compiled'] = make_step(torch.compile(model, dynamic=False), batch, train)
    return sides


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Time a model and its peers in every setting; memory is measured in the fastest of each."""
    check_models([args.model, *args.peers])
    sides = make_sides(args)
    timings = time_interleaved(sides, args.rounds, args.device)
    for name in (args.model, *args.peers):
        own = {side: timing for side, timing in timings.items() if side.split(', ')[0] == name}
        fastest = min(own, key=lambda side: own[side].median)
        for side, timing in own.items():
            figures = dict(peak_bytes=measure_peak_memory(sides[side], args.device)) if side == fastest else {}
            yield Row(dict(model=name), side, timing, figures)


def _fastest(run: Run) -> dict[str, Row]:
    fastest: dict[str, Row] = {}
    for row in run.rows:
        model = str(row.case['model'])
        if model not in fastest or row.time.median < fastest[model].time.median:
            fastest[model] = row
    return fastest


def tabulate(run: Run) -> Table:
    """Show each model at its best."""
    fastest, batch = _fastest(run), run.settings['batch']
    ours = fastest.get(run.settings['model'])
    rows: list[list[str]] = []
    for model, row in fastest.items():
        timing = row.time
        rows.append(
            [
                f'`{model}`',
                row.side.partition(', ')[2],
                f'{batch / timing.median:.1f}',
                f'{timing.median * 1e3:.1f} ({timing.quartiles[0] * 1e3:.1f} to {timing.quartiles[1] * 1e3:.1f})',
                f'{timing.median / ours.time.median:.2f}' if ours else '',
                f'{row.figures["peak_bytes"] / 2**20:.0f}' if 'peak_bytes' in row.figures else '',
            ]
        )
    return Table(['model', 'setting', 'images/s', 'ms (quartiles)', 'time / ours', 'peak MiB'], rows)


def judge(run: Run) -> list[Goal]:
    """Judge the times of the peers over ours, on a CPU with one thread."""
    settings = run.settings
    if settings['device'] != 'cpu' or settings['model'] != 'dualattn_tiny' or settings['threads'] != 1:
        return []
    targets = GOALS.get((settings['dtype'], settings['what'], settings['shape'] == [800, 1280]), {})
    fastest = _fastest(run)
    return [
        Goal(f'time of `{peer}` / ours', target, fastest[peer].time.median / fastest['dualattn_tiny'].time.median)
        for peer, target in targets.items()
        if peer in fastest and 'dualattn_tiny' in fastest
    ]
