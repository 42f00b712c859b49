"""Measure speed and memory: every figure is a ratio of medians, both sides interleaved in one process."""

import argparse
import json
from pathlib import Path

import torch
from benchmarks import backbones, bev, colorizers, operators, scaling
from benchmarks.timing import name_machine

import dualattn  # noqa: F401  registers the models
from dualattn.io.files import write_json

EXAMPLES = """examples:
  # does the cost of the backbone grow linearly with the number of pixels?
  python tools/benchmark.py scaling --model dualattn_tiny --repeats 5
  # our operators against the partition with torch's attention, at the four stages of dualattn_tiny
  python tools/benchmark.py ops --batch 8 --dtype bf16
  # images per second against timm's peers, forward and training step
  python tools/benchmark.py --json out.json backbone --batch 8
  python tools/benchmark.py train --batch 8 --peers davit_tiny
  # a detector's input size
  python tools/benchmark.py backbone --shape 800 1280 --batch 1 --peers davit_tiny swin_tiny_patch4_window7_224
  # photographs: DDColor's released code (a checkout of it) against ours on equal weights
  python tools/benchmark.py colorize --peer DDColor
  # 3D detectors: the backbone on the bird's-eye-view map against SECOND's
  python tools/benchmark.py bev
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--json', type=Path, help='also write the figures to this file')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (default: 1, the steadiest)')
    commands = parser.add_subparsers(dest='command', required=True)
    for subject in (scaling, operators, backbones, colorizers, bev):
        subject.add_commands(commands)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    rows = args.measure(args)
    print(name_machine())
    args.show(rows, args)
    if args.json:
        settings = {name: value for name, value in vars(args).items() if name not in ('json', 'measure', 'show')}
        report = dict(machine=name_machine(), settings=settings, rows=rows)
        write_json(args.json, json.loads(json.dumps(report, default=str)), indent=2)


if __name__ == '__main__':
    main()
