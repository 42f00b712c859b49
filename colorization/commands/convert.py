"""Turn weights of any form, released DDColor checkpoints above all, into a safetensors file that describes itself."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dualattn.commands.files import check_new_file, check_weights
from dualattn.commands.parser import CommandParser, explain

EPILOG = """examples:
  a released DDColor: a .pth with 'params', a .pt, or the safetensors of Hugging Face; its size is recognised
      dualattn convert ddcolor_modelscope.pth -o ddcolor_large.safetensors
  half the size on disk, the same network
      dualattn convert ddcolor_paper_tiny.pth -o ddcolor_tiny.safetensors --half
  a training checkpoint of this repository, with the config that made it
      dualattn convert work_dirs/my_run/iter_1000.pth -o my_run.safetensors --config my_run.py

exit codes: 0 written, 2 the checkpoint cannot be used or the file not written
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('convert', __doc__, EPILOG)
    parser.add_argument('checkpoint', help='weights to read; nothing in them is executed')
    parser.add_argument('-o', '--out', required=True, type=Path, help='.safetensors file to write')
    parser.add_argument('--config', help='training config; its model.generator describes the network of the checkpoint')
    parser.add_argument('--half', action='store_true', help='store matrices and kernels as float16')
    parser.add_argument('--overwrite', action='store_true', help='replace the output if it exists')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert a checkpoint; see the exit codes in EPILOG."""
    args = parse_args(argv)
    try:
        check_weights(args.checkpoint)
    except FileNotFoundError as error:
        print(f'convert: {error}', file=sys.stderr)
        return 2
    from colorization.checkpoints import load_network, save_network
    from colorization.pipeline import read_network_config

    try:
        check_new_file(args.out, args.overwrite)
        network: Any = load_network(args.checkpoint, read_network_config(args.config) if args.config else None)
        save_network(network, args.out, half=args.half, source=Path(args.checkpoint).name)
    except (ValueError, OSError) as error:
        print(f'convert: {explain(error)}', file=sys.stderr)
        return 2
    count = sum(parameter.numel() for parameter in network.parameters())
    print(
        f'{args.out}: {network.config["type"]}, encoder {network.config["encoder"]}, {count / 1e6:.1f} M parameters, '
        f'{args.out.stat().st_size / 1e6:.0f} MB'
    )
    return 0
