"""Pack a folder of photographs into tar shards, from which a cluster trains without a million small files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.files import check_folder, check_new_folder
from dualattn.commands.parser import CommandParser, explain

EPILOG = """examples:
  dualattn shard data/imagenet/train data/imagenet_shards
  dualattn train configs/colorize/mpt_base_shards.py

exit codes: 0 written, 2 not written
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('shard', __doc__, EPILOG)
    parser.add_argument('folder', type=Path, help='folder of photographs; sub-folders are searched')
    parser.add_argument('out', type=Path, help='folder for the shards')
    parser.add_argument('--shard-mb', type=float, default=500.0, metavar='MB', help='size of a shard (default: 500)')
    args = parser.parse_args(argv)
    if args.shard_mb <= 0:
        parser.error(f'--shard-mb takes a positive size, got {args.shard_mb:g}')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Write shards; see the exit codes in EPILOG."""
    args = parse_args(argv)
    from tqdm import tqdm

    from colorization.data.shards import write_shards

    try:
        check_folder(args.folder, 'folder')
        check_new_folder(args.out, 'out')
    except OSError as error:
        print(f'shard: {error}', file=sys.stderr)
        return 2
    try:
        index = write_shards(
            args.folder,
            args.out,
            args.shard_mb * 1e6,
            progress=lambda items: tqdm(items, disable=not sys.stderr.isatty()),
        )
    except (ValueError, OSError) as error:
        print(f'shard: {explain(error)}; what is in {args.out} is not whole', file=sys.stderr)
        return 2
    print(f'{args.out}: {index["images"]:,} images in {len(index["shards"])} shards')
    return 0
