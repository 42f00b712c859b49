"""Choose the colours of a palette head by k-means on the training photographs of a config."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dualattn.commands.files import check_new_file
from dualattn.commands.parser import CommandParser, explain

EPILOG = """example:
  dualattn palette my_mpt.py -o my_palette.json --colors 128
  the config then names it: model.generator.palette='my_palette.json', num_queries=128

exit codes: 0 written, 2 the photographs cannot be read or are gray, or the file cannot be written
"""
SIDE = 36  # pixels; a quarter of the 144 that the trainings see, the resolution at which the head answers


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('palette', __doc__, EPILOG)
    parser.add_argument('config', help='training config; its train_dataloader names the photographs')
    parser.add_argument('-o', '--out', required=True, type=Path, metavar='FILE', help='JSON file to write')
    parser.add_argument('--colors', type=int, default=128, metavar='K', help='number of colours (default: 128)')
    parser.add_argument('--seed', type=int, default=0, help='seed of k-means (default: 0)')
    parser.add_argument('--overwrite', action='store_true', help='replace the output if it exists')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Make a palette; see the exit codes in EPILOG."""
    args = parse_args(argv)
    from colorization.data.dataset import open_training_photos
    from colorization.palette import make_palette, write_palette
    from dualattn.configs import read_config

    try:
        check_new_file(args.out, args.overwrite)
        dataset = open_training_photos(read_config(args.config), SIDE)
        palette = make_palette(_read_colors(dataset), args.colors, args.seed)
        note = f'k-means of {len(dataset)} photographs at a short side of {SIDE} pixels, seed {args.seed}'
        write_palette(palette, args.out, made_from=note)
    except (ValueError, OSError) as error:
        print(f'palette: {explain(error)}', file=sys.stderr)
        return 2
    print(f'{args.out}: {len(palette.colors)} colours of {len(dataset)} photographs')
    return 0


def _read_colors(dataset) -> Iterator:
    """Yield the colours of each photograph, (N, 2) in Lab units."""
    from tqdm import tqdm

    from colorization.color import rgb_to_lab

    for index in tqdm(range(len(dataset)), unit='photo'):
        _, ab = rgb_to_lab(dataset[index]['inputs'][None].float() / 255)
        yield ab[0].flatten(1).T.numpy()
