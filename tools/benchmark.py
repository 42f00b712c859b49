"""Measure speed: every figure is a ratio of medians, both sides interleaved in one process."""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from tqdm import tqdm

import dualattn  # noqa: F401  registers the models
from dualattn.ops import factorized_channel_attention, reference, separable_dilated_attention

PEERS = ['davit_tiny', 'maxvit_tiny_rw_224', 'swin_tiny_patch4_window7_224', 'convnext_tiny']
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}

EXAMPLES = """examples:
  # does the cost of the backbone grow linearly with the number of pixels?
  python tools/benchmark.py scaling --model dualattn_tiny --repeats 5
  # our operators against the partition with torch's attention, at the four stages of dualattn_tiny
  python tools/benchmark.py ops --batch 8 --dtype bf16
  # images per second against timm's peers, forward and training step
  python tools/benchmark.py --json out.json backbone --batch 8
  python tools/benchmark.py train --batch 8 --peers davit_tiny
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', type=Path, help='also write the figures to this file')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (default: 1, the steadiest)')
    commands = parser.add_subparsers(dest='command', required=True)
    scaling = commands.add_parser('scaling', help='FLOPs and time of a model against the size of the image')
    scaling.add_argument('--model', default='dualattn_tiny', help='timm name')
    scaling.add_argument('--sizes', type=int, nargs='+', default=[224, 448, 896, 1792], help='sides in pixels')
    scaling.add_argument('--repeats', type=int, default=5, help='timed rounds; each round runs every size once')
    for name, text in (('ops', 'our operators against partition + torch attention + reverse'),
                       ('backbone', 'forward pass of a model against timm models'),
                       ('train', 'forward and backward pass of a model against timm models')):
        command = commands.add_parser(name, help=text)
        command.add_argument('--batch', type=int, default=8)
        command.add_argument('--dtype', choices=DTYPES, default='fp32')
        command.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
        command.add_argument('--compile', action='store_true', help='also the form that torch.compile makes')
        command.add_argument('--repeats', type=int, default=11, help='timed rounds; each round runs every side once')
        if name != 'ops':
            command.add_argument('--model', default='dualattn_tiny', help='timm name')
            command.add_argument('--peers', nargs='+', default=PEERS, help='timm names')
    return parser.parse_args()


def time_interleaved(sides: dict, repeats: int, device: str) -> dict[str, float]:
    """Run every side once a round and return the median seconds of each.

    A CPU is timed by the seconds that this process computed, summed over its threads: the figure of one thread then
    does not depend on what else the machine does, as far as caches allow. A GPU is timed by its own events.
    """
    seconds = {name: [] for name in sides}
    for round_ in tqdm(range(repeats + 2), leave=False, unit='round'):
        for name, run in sides.items():
            if device.startswith('cuda'):
                torch.cuda._sleep(4_000_000)  # about 2 ms, in which the CPU queues the whole call: no gaps are timed
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                run()
                end.record()
                end.synchronize()
                elapsed = start.elapsed_time(end) / 1e3
            else:
                begin = time.process_time()
                run()
                elapsed = time.process_time() - begin
            if round_ >= 2:  # the first rounds warm up
                seconds[name].append(elapsed)
    return {name: statistics.median(values) for name, values in seconds.items()}


def attend_by_partition(qkv: torch.Tensor, grid: int, heads: int, scale: float) -> torch.Tensor:
    """Dilated attention as it is written without a kernel of its own: partition, torch's attention, reverse."""
    b, h, w, c3 = qkv.shape
    sh, sw, d = h // grid, w // grid, c3 // (3 * heads)
    parts = qkv.view(b, grid, sh, grid, sw, 3, heads, d).permute(5, 0, 2, 4, 6, 1, 3, 7)
    q, k, v = parts.reshape(3, b * sh * sw, heads, grid * grid, d).unbind(0)
    out = F.scaled_dot_product_attention(q, k, v, scale=scale)
    return out.view(b, sh, sw, heads, grid, grid, d).permute(0, 4, 1, 5, 2, 3, 6).reshape(b, h, w, c3 // 3)


def measure_copy_bandwidth(device: str) -> float:
    """Return the bytes per second, read and written, of a copy of 1 GiB: what an operator bound by memory can reach."""
    source = torch.empty(2 ** 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = time_interleaved({'copy': lambda: target.copy_(source)}, 11, device)
    return 2 * source.nbytes / seconds['copy']


def measure_ops(args: argparse.Namespace) -> list[dict]:
    """Time both operators at the stages of dualattn_tiny at 224 px, forward, and forward with backward."""
    rows = []
    scale = 32 ** -0.5
    copy_bandwidth = measure_copy_bandwidth(args.device) if args.device.startswith('cuda') else None
    for stage in range(4):
        side, dim = 56 >> stage, 96 << stage
        qkv = torch.randn(args.batch, side, side, 3 * dim, device=args.device).to(DTYPES[args.dtype])
        grad = torch.randn(args.batch, side, side, dim, device=args.device).to(DTYPES[args.dtype])
        leaf = qkv.clone().requires_grad_()
        heads = dim // 32
        operators = {
            'sda': {
                'ours': lambda x, heads=heads: separable_dilated_attention(x, (7, 7), heads, scale),
                'reference': lambda x, heads=heads: reference.separable_dilated_attention(x, (7, 7), heads, scale),
                'sdpa': lambda x, heads=heads: attend_by_partition(x, 7, heads, scale),
            },
            'fca': {
                'ours': lambda x, heads=heads: factorized_channel_attention(x, heads, scale),
                'reference': lambda x, heads=heads: reference.factorized_channel_attention(x, heads, scale),
            },
        }
        for operator, sides in operators.items():
            if args.compile:
                unfused = 'sdpa' if operator == 'sda' else 'reference'
                sides['compiled'] = torch.compile(sides[unfused])

            def forward(attend, qkv=qkv):
                with torch.inference_mode():
                    attend(qkv)

            def both(attend, leaf=leaf, grad=grad):
                torch.autograd.grad(attend(leaf), leaf, grad)

            for what, run in (('forward', forward), ('forward + backward', both)):
                calls = {name: (lambda attend=attend, run=run: run(attend)) for name, attend in sides.items()}
                seconds = time_interleaved(calls, args.repeats, args.device)
                best = min(value for name, value in seconds.items() if name != 'ours')
                row = dict(operator=operator, what=what, stage=stage + 1, seconds=seconds, ratio=best / seconds['ours'])
                if args.device.startswith('cuda'):
                    moved = qkv.nbytes + grad.nbytes  # each number read or written once
                    if what != 'forward':
                        moved += 2 * qkv.nbytes + grad.nbytes
                    row['bandwidth'] = moved / seconds['ours']
                    row['copy_bandwidth'] = copy_bandwidth
                rows.append(row)
    return rows


def measure_models(args: argparse.Namespace, train: bool) -> list[dict]:
    """Time a model and its peers, each in both memory layouts of which the faster counts."""
    sides = {}
    images = torch.randn(args.batch, 3, 224, 224, device=args.device, dtype=DTYPES[args.dtype])
    for name in (args.model, *args.peers):
        for layout in (torch.contiguous_format, torch.channels_last):
            model = timm.create_model(name).to(args.device, DTYPES[args.dtype], memory_format=layout).train(train)
            batch = images.to(memory_format=layout)
            run = make_step(model, batch, train)
            key = f'{name} {"NHWC" if layout == torch.channels_last else "NCHW"}'
            sides[key] = run
            if args.compile:
                sides[f'{key} compiled'] = make_step(torch.compile(model), batch, train)
    seconds = time_interleaved(sides, args.repeats, args.device)
    rows = []
    for suffix in ('', ' compiled') if args.compile else ('',):
        fastest = {name: min((seconds[f'{name} {layout}{suffix}'], layout) for layout in ('NCHW', 'NHWC'))
                   for name in (args.model, *args.peers)}
        for name, (value, layout) in fastest.items():
            memory = measure_memory(sides[f'{name} {layout}{suffix}']) if args.device.startswith('cuda') else None
            rows.append(dict(model=name + suffix, layout=layout, images_per_second=args.batch / value,
                             ratio=value / fastest[args.model][0], peak_bytes=memory))
    return rows


def make_step(model: torch.nn.Module, batch: torch.Tensor, train: bool):
    def step():
        if not train:
            with torch.inference_mode():
                model(batch)
            return
        model.zero_grad(set_to_none=True)
        model(batch).float().square().mean().backward()

    return step


def measure_memory(run) -> int:
    """Return the largest number of bytes that a run holds on the GPU."""
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def print_ops(rows: list[dict]) -> None:
    on_gpu = 'bandwidth' in rows[0]
    print('| operator | what | stage | ms, ours | ms, others | best other / ours |'
          f'{" of copy bandwidth |" if on_gpu else ""}\n|---|---|---|---|---|---|{"---|" if on_gpu else ""}')
    for row in rows:
        share = f' {row["bandwidth"] / row["copy_bandwidth"]:.0%} |' if on_gpu else ''
        others = ', '.join(f'{name} {value * 1e3:.3g}' for name, value in row['seconds'].items() if name != 'ours')
        print(f'| {row["operator"]} | {row["what"]} | {row["stage"]} | {row["seconds"]["ours"] * 1e3:.3g} | {others} '
              f'| {row["ratio"]:.2f} |{share}')


def print_models(rows: list[dict]) -> None:
    print('| model | layout | images/s | its time / ours |\n|---|---|---|---|')
    for row in rows:
        print(f'| {row["model"]} | {row["layout"]} | {row["images_per_second"]:.1f} | {row["ratio"]:.2f} |')


def name_machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        cpu = next((line.split(':', 1)[1].strip() for line in info.read_text().splitlines()
                    if line.startswith('model name')), cpu)
    if torch.cuda.is_available():
        cpu = f'{torch.cuda.get_device_name()}, {cpu}'
    return f'{cpu}, {torch.get_num_threads()} thread(s), torch {torch.__version__}, {time.strftime("%Y-%m-%d")}'


@torch.inference_mode()
def measure_scaling(model_name: str, sizes: list[int], repeats: int) -> list[dict]:
    """Time a forward pass at batch 1 for each size, and count its multiply-adds."""
    from fvcore.nn import FlopCountAnalysis  # the other commands do without it

    model = timm.create_model(model_name).eval()
    images = {size: torch.randn(1, 3, size, size) for size in sizes}
    seconds = {size: [] for size in sizes}
    for round_ in tqdm(range(repeats + 1), desc=model_name, unit='round'):
        for size, image in images.items():
            start = time.perf_counter()
            model(image)
            if round_ > 0:  # the first round warms up
                seconds[size].append(time.perf_counter() - start)
    rows = []
    for size, image in images.items():
        flops = FlopCountAnalysis(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        rows.append(dict(size=size, gmacs=flops.total() / 1e9, seconds=statistics.median(seconds[size])))
    first = rows[0]
    for row in rows:
        pixels = (row['size'] / first['size']) ** 2
        row['gmacs_per_pixel_ratio'] = row['gmacs'] / first['gmacs'] / pixels
        row['seconds_per_pixel_ratio'] = row['seconds'] / first['seconds'] / pixels
    return rows


def print_scaling(rows: list[dict], args: argparse.Namespace) -> None:
    print(f'{args.model}, forward, batch 1, fp32; cost of one pixel against that at {args.sizes[0]} px')
    print('| size | GMACs | seconds | GMACs per pixel | seconds per pixel |\n|---|---|---|---|---|')
    for row in rows:
        print(f'| {row["size"]} | {row["gmacs"]:.2f} | {row["seconds"]:.3f} | {row["gmacs_per_pixel_ratio"]:.2f} x '
              f'| {row["seconds_per_pixel_ratio"]:.2f} x |')


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    if args.command == 'scaling':
        rows = measure_scaling(args.model, args.sizes, args.repeats)
    elif args.command == 'ops':
        rows = measure_ops(args)
    else:
        rows = measure_models(args, train=args.command == 'train')
    print(name_machine())
    if args.command == 'scaling':
        print_scaling(rows, args)
    elif args.command == 'ops':
        print_ops(rows)
    else:
        print_models(rows)
    if args.json:
        settings = {name: value for name, value in vars(args).items() if name != 'json'}
        args.json.write_text(json.dumps(dict(machine=name_machine(), settings=settings, rows=rows), indent=2) + '\n')


if __name__ == '__main__':
    main()
