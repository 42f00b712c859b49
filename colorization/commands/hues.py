"""Tell whether colorized pictures have the hues of photographs, or are all sepia."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.parser import CommandParser, explain

EPILOG = """example:
  dualattn colorize scans -o colorized
  dualattn hues colorized --photographs photos/val

The distance is the total variation between the mean hue histograms (36 steps of Lab's hue, pixels of chroma above 6): 0
where they agree, 1 where they share no hue. Brown is the share of hues between 50 and 105 degrees.

exit codes: 0 measured, 2 nothing was
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('hues', __doc__, EPILOG)
    parser.add_argument('pictures', type=Path, help='folder of colorized pictures, sub-folders included')
    parser.add_argument('--photographs', type=Path, metavar='DIR', help='colour photographs to compare them with')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the hues of folders; see the exit codes in EPILOG."""
    args = parse_args(argv)
    from tqdm import tqdm

    from colorization.evaluation.hues import average_hues, compare_hues, measure_hues
    from dualattn.io.files import list_files
    from dualattn.io.photos import IMAGE_SUFFIXES, ImageError, read_rgb

    means, failed = [], []
    try:
        for folder in filter(None, (args.pictures, args.photographs)):
            hues = []
            for file in tqdm(list_files(folder, IMAGE_SUFFIXES, recursive=True), unit='picture', disable=None):
                try:
                    hues.append(measure_hues(read_rgb(file)))
                except (ImageError, OSError) as error:
                    failed.append(explain(error))
            if not hues:
                raise ValueError(f'{folder}: no picture in it can be read')
            means.append(average_hues(hues))
            mean = means[-1]
            print(
                f'{folder}: {len(hues)} pictures, chroma {mean.chroma:.1f}, brown {mean.brown:.2f}, '
                f'more than 0.8 brown {mean.mostly_brown:.0%}'
            )
    except (ValueError, OSError) as error:
        print(f'hues: {explain(error)}', file=sys.stderr)
        return 2
    if len(means) == 2:
        print(f'distance of their hues: {compare_hues(*means):.2f}')
    sys.stderr.writelines(f'  left out: {line}\n' for line in failed)
    return 0
