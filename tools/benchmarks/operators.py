"""The attention operators against the ways to write them without kernels of their own."""

import argparse

import torch
import torch.nn.functional as F

from benchmarks.timing import DTYPES, measure_peak_memory, print_table, time_interleaved
from dualattn.ops import factorized_channel_attention, library, reference, separable_dilated_attention

HEAD_DIM = 32


def add_commands(commands) -> None:
    command = commands.add_parser('ops', help='our operators against partition + torch attention + reverse')
    command.add_argument('--batch', type=int, default=8)
    command.add_argument('--dtype', choices=DTYPES, default='fp32')
    command.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    command.add_argument('--compile', action='store_true', help='also the form that torch.compile makes')
    command.add_argument('--repeats', type=int, default=11, help='timed rounds; each round runs every side once')
    command.add_argument(
        '--instruction-set',
        choices=['avx512', 'avx2', 'generic'],
        help='which CPU kernels to measure (default: the best that the processor runs)',
    )
    command.set_defaults(measure=measure, show=show)


def attend_by_partition(qkv: torch.Tensor, grid: int, heads: int, scale: float) -> torch.Tensor:
    """Dilated attention as it is written without a kernel of its own: partition, torch's attention, reverse."""
    b, h, w, c3 = qkv.shape
    sh, sw, d = h // grid, w // grid, c3 // (3 * heads)
    parts = qkv.view(b, grid, sh, grid, sw, 3, heads, d).permute(5, 0, 2, 4, 6, 1, 3, 7)
    q, k, v = parts.reshape(3, b * sh * sw, heads, grid * grid, d).unbind(0)
    out = F.scaled_dot_product_attention(q, k, v, scale=scale)
    return out.view(b, sh, sw, heads, grid, grid, d).permute(0, 4, 1, 5, 2, 3, 6).reshape(b, h, w, c3 // 3)


def make_sides(heads: int, compiled: bool) -> dict[str, dict]:
    """Return for each operator the ways to compute it, as functions of qkv; one of each is 'ours'."""
    scale = HEAD_DIM**-0.5
    operators = {
        'sda': {
            'ours': lambda qkv: separable_dilated_attention(qkv, (7, 7), heads, scale),
            'reference': lambda qkv: reference.separable_dilated_attention(qkv, (7, 7), heads, scale),
            'sdpa': lambda qkv: attend_by_partition(qkv, 7, heads, scale),
        },
        'fca': {
            'ours': lambda qkv: factorized_channel_attention(qkv, heads, scale),
            'reference': lambda qkv: reference.factorized_channel_attention(qkv, heads, scale),
        },
    }
    if compiled:
        for operator, unfused in (('sda', 'sdpa'), ('fca', 'reference')):
            operators[operator]['compiled'] = torch.compile(operators[operator][unfused], dynamic=False)
    return operators


def measure_copy_bandwidth(device: str) -> float:
    """Return the bytes per second, read and written, of a copy of 1 GiB: what an operator bound by memory can reach."""
    source = torch.empty(2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = time_interleaved({'copy': lambda: target.copy_(source)}, 11, device)
    return 2 * source.nbytes / seconds['copy']


def measure(args: argparse.Namespace) -> list[dict]:
    """Time both operators at the stages of dualattn_tiny at 224 px, forward, and forward with backward."""
    if args.instruction_set:
        library.select_cpu_instruction_set(args.instruction_set)
    on_gpu = args.device.startswith('cuda')
    copy_bandwidth = measure_copy_bandwidth(args.device) if on_gpu else None
    rows = []
    for stage in range(4):
        side, dim = 56 >> stage, 96 << stage
        qkv = torch.randn(args.batch, side, side, 3 * dim, device=args.device).to(DTYPES[args.dtype])
        grad = torch.randn(args.batch, side, side, dim, device=args.device).to(DTYPES[args.dtype])
        leaf = qkv.clone().requires_grad_()

        def forward(attend, qkv=qkv):
            with torch.no_grad():
                attend(qkv)

        def both(attend, leaf=leaf, grad=grad):
            torch.autograd.grad(attend(leaf), leaf, grad)

        for operator, sides in make_sides(dim // HEAD_DIM, args.compile).items():
            for what, run in (('forward', forward), ('forward + backward', both)):
                calls = {name: (lambda attend=attend, run=run: run(attend)) for name, attend in sides.items()}
                seconds = time_interleaved(calls, args.repeats, args.device)
                memory = {name: measure_peak_memory(call, args.device) for name, call in calls.items()}
                best = min(value for name, value in seconds.items() if name != 'ours')
                row = dict(
                    operator=operator,
                    what=what,
                    stage=stage + 1,
                    seconds=seconds,
                    peak_bytes=memory,
                    ratio=best / seconds['ours'],
                )
                if on_gpu:
                    moved = qkv.nbytes + grad.nbytes  # each number read or written once
                    if what != 'forward':
                        moved += 2 * qkv.nbytes + grad.nbytes
                    row['share_of_copy_bandwidth'] = moved / seconds['ours'] / copy_bandwidth
                rows.append(row)
    return rows


def show(rows: list[dict], args: argparse.Namespace) -> None:
    where = args.instruction_set or (library.cpu_instruction_set() if args.device == 'cpu' else args.device)
    print(f'batch {args.batch}, {args.dtype}, {where}')
    on_gpu = 'share_of_copy_bandwidth' in rows[0]
    print_table(
        [
            'operator',
            'what',
            'stage',
            'ms, ours',
            'ms, others',
            'best other / ours',
            'peak MiB, ours and least other',
            *(['of copy bandwidth'] if on_gpu else []),
        ],
        [
            [
                row['operator'],
                row['what'],
                str(row['stage']),
                f'{row["seconds"]["ours"] * 1e3:.3g}',
                ', '.join(f'{name} {value * 1e3:.3g}' for name, value in row['seconds'].items() if name != 'ours'),
                f'{row["ratio"]:.2f}',
                format_memory(row['peak_bytes']),
                *([f'{row["share_of_copy_bandwidth"]:.0%}'] if on_gpu else []),
            ]
            for row in rows
        ],
    )


def format_memory(peaks: dict[str, int]) -> str:
    others = min(value for name, value in peaks.items() if name != 'ours')
    return f'{peaks["ours"] / 2**20:.1f}, {others / 2**20:.1f}'
