"""Measure speed: every figure is a ratio of medians, both sides interleaved in one process."""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import timm
import torch
from fvcore.nn import FlopCountAnalysis
from tqdm import tqdm

import dualattn  # noqa: F401  registers the models

EXAMPLES = """examples:
  # does the cost of the backbone grow linearly with the number of pixels?
  python tools/benchmark.py scaling --model dualattn_tiny --repeats 5
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
    return parser.parse_args()


def name_machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        cpu = next((line.split(':', 1)[1].strip() for line in info.read_text().splitlines()
                    if line.startswith('model name')), cpu)
    return f'{cpu}, {torch.get_num_threads()} thread(s), torch {torch.__version__}, {time.strftime("%Y-%m-%d")}'


@torch.inference_mode()
def measure_scaling(model_name: str, sizes: list[int], repeats: int) -> list[dict]:
    """Time a forward pass at batch 1 for each size, and count its multiply-adds."""
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


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    rows = measure_scaling(args.model, args.sizes, args.repeats)
    print(name_machine())
    print(f'{args.model}, forward, batch 1, fp32; cost of one pixel against that at {args.sizes[0]} px')
    print('| size | GMACs | seconds | GMACs per pixel | seconds per pixel |\n|---|---|---|---|---|')
    for row in rows:
        print(f'| {row["size"]} | {row["gmacs"]:.2f} | {row["seconds"]:.3f} | {row["gmacs_per_pixel_ratio"]:.2f} x '
              f'| {row["seconds_per_pixel_ratio"]:.2f} x |')
    if args.json:
        args.json.write_text(json.dumps(dict(machine=name_machine(), command=args.command, rows=rows), indent=2) + '\n')


if __name__ == '__main__':
    main()
