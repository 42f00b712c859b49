"""Ask people which colorizations they prefer: a static page, a box plot of the answers, and sheets of many methods.

With folders, makes the page. With `--key` and the answers that participants have sent, draws the box plot. With
`--sheet`, draws the folders side by side, as the figures of papers do.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.parser import CommandParser, explain

EPILOG = """examples:
  # a page in study/page that can be put on any server; study/key.json stays with you
  dualattn study results/mpt results/ddcolor results/bigcolor -o study --count 50

  # two methods at a time
  dualattn study results/mpt results/ddcolor results/bigcolor -o study --pairs

  # what came of it
  dualattn study --key study/key.json answers/*.json -o preferences.png

  # MPT Fig. 4: gray, methods, truth, a row for each picture
  dualattn study gray results/mpt results/ddcolor truth --sheet -o figure.png

exit codes: 0 written, 1 written, but pictures or answers were left out (they are named), 2 not written
"""
SHOWN = 10


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('study', __doc__, EPILOG)
    parser.add_argument('inputs', nargs='+', type=Path, metavar='DIR|ANSWERS', help='folders, or answers with --key')
    parser.add_argument('-o', '--out', required=True, type=Path, help='new folder of the study, or .png to draw')
    parser.add_argument('--count', type=int, metavar='N', help='pictures (default: 50, of a sheet 8)')
    parser.add_argument('--pairs', action='store_true', help='ask about two methods at a time instead of all at once')
    parser.add_argument('--seed', type=int, default=0, help='draws the pictures (default: 0)')
    parser.add_argument('--title', default='', help='question above the pictures')
    parser.add_argument('--key', type=Path, help='key.json of a study: draw the answers that follow')
    parser.add_argument('--sheet', action='store_true', help='draw the folders side by side')
    parser.add_argument('--names', nargs='+', default=[], metavar='NAME', help='pictures of a sheet, without suffixes')
    parser.add_argument('--tile', type=int, default=192, metavar='PX', help="side of a sheet's picture (default: 192)")
    args = parser.parse_args(argv)
    if args.key and args.sheet:
        parser.error('--key draws answers, --sheet pictures: give one of them')
    if (args.key or args.sheet) and args.out.suffix != '.png':
        parser.error(f'a drawing is a .png file, got {args.out}')
    if args.names and not args.sheet:
        parser.error('--names choose pictures of a --sheet')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Make a page or a drawing; see the exit codes in EPILOG."""
    args = parse_args(argv)
    from colorization.evaluation.study import draw_preferences, make_comparison, make_study, read_preferences
    from dualattn.io.files import write_whole

    try:
        if args.key:
            preferences, left_out = read_preferences(args.key, args.inputs)
            with write_whole(args.out) as aside:
                draw_preferences(preferences, aside)
            for method, numbers in preferences.items():
                mean = f'{sum(numbers) / len(numbers):5.1f} %' if numbers else 'was never shown'
                print(f'{method:24} {mean}  ({len(numbers)} participants)')
        elif args.sheet:
            left_out = make_comparison(args.inputs, args.out, args.names, args.count or 8, args.tile)
        else:
            count = 50 if args.count is None else args.count
            left_out = make_study(args.inputs, args.out, count, args.pairs, args.seed, args.title)
            print(f'{args.out}/page/index.html is the page, {args.out}/key.json what its answers mean')
    except (ValueError, OSError) as error:
        print(f'study: {explain(error)}', file=sys.stderr)
        return 2
    for reason in left_out[:SHOWN]:
        print(f'left out: {reason}', file=sys.stderr)
    if len(left_out) > SHOWN:
        print(f'... and {len(left_out) - SHOWN} more', file=sys.stderr)
    return 1 if left_out else 0
