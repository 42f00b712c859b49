"""The attention operators.

Ours against plain PyTorch, against the partition with torch's attention and its reverse, and against what is named by
--peers, at the four stages of `dualattn_tiny` at 224 px. The ratio is that of the best other way to ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import DTYPES, dtype_of, measure_peak_memory, time_interleaved

if TYPE_CHECKING:
    from torch import Tensor

    Attend = Callable[[Tensor], Tensor]

HEAD_DIM = 32
WINDOW = 7
PEERS = ('compiled', 'natten', 'flex', 'flash-window')
# least ratio of the best other way to ours at stages 1 to 4: of AVX-512 in float32 at batch 8, of a GPU in bfloat16
CPU_GOALS = {('sda', 'forward'): 2.3, ('sda', 'forward + backward'): 1.5, ('fca', 'forward'): 2.2}
GPU_GOALS = {('sda', 'forward'): 3.0, ('sda', 'forward + backward'): 3.0, ('fca', 'forward'): 2.5}
BANDWIDTH_GOAL = 0.85  # of a copy's, stages 1 and 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--dtype', choices=DTYPES, default='fp32')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument('--rounds', type=int, default=11, help='timed rounds; each runs every side once')
    parser.add_argument(
        '--instruction-set',
        choices=['avx512', 'avx2', 'generic'],
        help='which CPU kernels to measure (default: the best that the processor runs)',
    )
    parser.add_argument(
        '--peers', nargs='*', default=[], choices=PEERS, help='more ways: torch.compile, and the libraries of a GPU'
    )


def attend_by_partition(qkv: Tensor, grid: int, heads: int, scale: float) -> Tensor:
    """Attend as it is written without a kernel of its own: partition, torch's attention, reverse."""
    import torch.nn.functional as F

    b, h, w, c3 = qkv.shape
    sh, sw, d = h // grid, w // grid, c3 // (3 * heads)
    parts = qkv.view(b, grid, sh, grid, sw, 3, heads, d).permute(5, 0, 2, 4, 6, 1, 3, 7)
    q, k, v = parts.reshape(3, b * sh * sw, heads, grid * grid, d).unbind(0)
    out = F.scaled_dot_product_attention(q, k, v, scale=scale)
    return out.view(b, sh, sw, heads, grid, grid, d).permute(0, 4, 1, 5, 2, 3, 6).reshape(b, h, w, c3 // 3)


def _attend_by_natten(side: int, heads: int, scale: float) -> Attend:
    """NATTEN's dilated neighbourhood: kernel and stride of one window, dilation of the distance between its tokens."""
    import natten

    def attend(qkv: Tensor) -> Tensor:
        b, h, w, c3 = qkv.shape
        q, k, v = qkv.view(b, h, w, 3, heads, c3 // (3 * heads)).unbind(3)
        return natten.na2d(
            q, k, v, kernel_size=WINDOW, stride=WINDOW, dilation=max(1, side // WINDOW), scale=scale
        ).reshape(b, h, w, c3 // 3)

    return attend


def _attend_by_flex(side: int, heads: int, scale: float, device: str) -> Attend:
    """Torch's FlexAttention over the whole map, under the mask of the dilated windows."""
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    stride = side // WINDOW

    def same_window(b, h, query, key):
        return ((query // side) % stride == (key // side) % stride) & ((query % side) % stride == (key % side) % stride)

    mask = create_block_mask(same_window, None, None, side * side, side * side, device=device)
    compiled = torch.compile(flex_attention, dynamic=False)

    def attend(qkv: Tensor) -> Tensor:
        b, h, w, c3 = qkv.shape
        q, k, v = qkv.view(b, h * w, 3, heads, c3 // (3 * heads)).permute(2, 0, 3, 1, 4)
        # neither sums nor maxima are asked for, so that it comes alone
        attended: Any = compiled(q, k, v, block_mask=mask, scale=scale)
        return attended.transpose(1, 2).reshape(b, h, w, c3 // 3)

    return attend


def _attend_by_flash_window(heads: int, scale: float) -> Attend:
    """FlashWindowAttention (Triton) between a partition and its reverse, which it needs."""
    from flash_window_attention import flash_window_attention

    def attend(qkv: Tensor) -> Tensor:
        b, h, w, c3 = qkv.shape
        sh, sw, d = h // WINDOW, w // WINDOW, c3 // (3 * heads)
        parts = qkv.view(b, WINDOW, sh, WINDOW, sw, 3, heads, d).permute(5, 0, 2, 4, 6, 1, 3, 7)
        q, k, v = parts.reshape(3, b * sh * sw, heads, WINDOW * WINDOW, d).unbind(0)
        out = flash_window_attention(q, k, v, scale=scale)
        out = out.view(b, sh, sw, heads, WINDOW, WINDOW, d).permute(0, 4, 1, 5, 2, 3, 6)
        return out.reshape(b, h, w, c3 // 3)

    return attend


def make_sides(side: int, heads: int, peers: list[str], device: str) -> dict[str, dict[str, Attend]]:
    """Return for each operator the ways to compute it, as functions of qkv; one of each is 'ours'."""
    import torch

    from dualattn.ops import factorized_channel_attention, reference, separable_dilated_attention

    scale, window = HEAD_DIM**-0.5, (WINDOW, WINDOW)
    operators = {
        'sda': {
            'ours': lambda qkv: separable_dilated_attention(qkv, window, heads, scale),
            'reference': lambda qkv: reference.separable_dilated_attention(qkv, window, heads, scale),
            'sdpa': lambda qkv: attend_by_partition(qkv, WINDOW, heads, scale),
        },
        'fca': {
            'ours': lambda qkv: factorized_channel_attention(qkv, heads, scale),
            'reference': lambda qkv: reference.factorized_channel_attention(qkv, heads, scale),
        },
    }
    if 'compiled' in peers:
        for operator, unfused in (('sda', 'sdpa'), ('fca', 'reference')):
            operators[operator]['compiled'] = torch.compile(operators[operator][unfused], dynamic=False)
    if 'natten' in peers:
        operators['sda']['natten'] = _attend_by_natten(side, heads, scale)
    if 'flex' in peers:
        operators['sda']['flex'] = _attend_by_flex(side, heads, scale, device)
    if 'flash-window' in peers:
        operators['sda']['flash-window'] = _attend_by_flash_window(heads, scale)
    return operators


def measure_copy_bandwidth(device: str) -> float:
    """Return the bytes per second, read and written, of a copy of 1 GiB: what an operator bound by memory can reach."""
    import torch

    source = torch.empty(2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = time_interleaved({'copy': lambda: target.copy_(source)}, 11, device)
    return 2 * source.nbytes / seconds['copy'].median


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Time both operators at the stages of dualattn_tiny at 224 px, forward, and forward with backward."""
    import torch

    from dualattn.ops import library

    if args.instruction_set:
        library.select_cpu_instruction_set(args.instruction_set)
    on_gpu = args.device.startswith('cuda')
    copy_bandwidth = measure_copy_bandwidth(args.device) if on_gpu else 0.0
    for stage in range(4):
        side, dim = 56 >> stage, 96 << stage
        qkv = torch.randn(args.batch, side, side, 3 * dim, device=args.device).to(dtype_of(args.dtype))
        grad = torch.randn(args.batch, side, side, dim, device=args.device).to(dtype_of(args.dtype))
        leaf = qkv.clone().requires_grad_()

        def forward(attend, qkv=qkv):
            with torch.no_grad():
                attend(qkv)

        def both(attend, leaf=leaf, grad=grad):
            torch.autograd.grad(attend(leaf), leaf, grad)

        for operator, sides in make_sides(side, dim // HEAD_DIM, args.peers, args.device).items():
            for what, run in (('forward', forward), ('forward + backward', both)):
                calls = {name: (lambda attend=attend, run=run: run(attend)) for name, attend in sides.items()}
                timings = time_interleaved(calls, args.rounds, args.device)
                for name, timing in timings.items():
                    figures: dict[str, float] = dict(peak_bytes=measure_peak_memory(calls[name], args.device))
                    if on_gpu:
                        moved = qkv.nbytes + grad.nbytes  # each number read or written once
                        if what != 'forward':
                            moved += 2 * qkv.nbytes + grad.nbytes
                        figures['share_of_copy_bandwidth'] = moved / timing.median / copy_bandwidth
                    yield Row(dict(operator=operator, what=what, stage=stage + 1), name, timing, figures)


def tabulate(run: Run) -> Table:
    """Show a line for each operator, pass and stage."""
    heading = [
        'operator',
        'what',
        'stage',
        'ms, ours',
        'ms, others',
        'best other / ours',
        'peak MiB, ours',
        'least other',
    ]
    on_gpu = any('share_of_copy_bandwidth' in row.figures for row in run.rows)
    rows = []
    for case, sides in run.sides().items():
        others = {name: row for name, row in sides.items() if name != 'ours'}
        if 'ours' not in sides or not others:
            continue
        ours = sides['ours']
        rows.append(
            [
                *(str(value) for _, value in case),
                f'{ours.time.median * 1e3:.3g}',
                ', '.join(f'{name} {row.time.median * 1e3:.3g}' for name, row in others.items()),
                f'{_ratio(sides):.2f}',
                f'{ours.figures["peak_bytes"] / 2**20:.1f}',
                f'{min(row.figures["peak_bytes"] for row in others.values()) / 2**20:.1f}',
                *([f'{ours.figures["share_of_copy_bandwidth"]:.0%}'] if on_gpu else []),
            ]
        )
    return Table([*heading, *(['of copy bandwidth'] if on_gpu else [])], rows)


def _ratio(sides: dict[str, Row]) -> float:
    return min(row.time.median for name, row in sides.items() if name != 'ours') / sides['ours'].time.median


def judge(run: Run) -> list[Goal]:
    """Judge the least ratio of all stages: on a CPU in float32 at batch 8, on a GPU in bfloat16."""
    settings = run.settings
    on_gpu = settings['device'].startswith('cuda')
    if on_gpu and settings['dtype'] == 'bf16':
        targets = GPU_GOALS
    elif not on_gpu and settings['dtype'] == 'fp32' and settings['batch'] == 8 and not settings['instruction_set']:
        targets = CPU_GOALS
    else:
        return []
    goals = []
    for (operator, what), target in targets.items():
        ratios = [
            _ratio(sides)
            for case, sides in run.sides().items()
            if (dict(case)['operator'], dict(case)['what']) == (operator, what) and len(sides) > 1
        ]
        if ratios:
            goals.append(Goal(f'{operator}, {what}, best other / ours at the worst stage', target, min(ratios)))
    shares = [
        row.figures['share_of_copy_bandwidth']
        for row in run.rows
        if row.side == 'ours' and row.case['what'] == 'forward' and row.number('stage') <= 2 and on_gpu
    ]
    if shares:
        goals.append(Goal('share of copy bandwidth, forward, stages 1 and 2', BANDWIDTH_GOAL, min(shares)))
    return goals
