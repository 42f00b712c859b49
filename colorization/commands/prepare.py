"""Make the data sets of the papers' tables ready: check, sort, list, hash, and copy at 256 px.

Nothing is downloaded. Runs in parallel, goes on where an interrupted run ended, and names every photograph that cannot
be used.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from dualattn.commands.files import check_folder, check_new_folder
from dualattn.commands.parser import CommandParser

EPILOG = """examples:
  # lists and hashes in data/imagenet/lists, copies in data/imagenet/imagenet-val5k and imagenet-val50k
  dualattn data prepare imagenet data/imagenet --workers 8

  # sort the flat validation set into a folder a synset, as classification needs it
  dualattn data prepare imagenet data/imagenet --ground-truth ILSVRC2012_devkit_t12.tar.gz --no-copies

  dualattn data prepare coco-stuff data/coco
  dualattn data prepare ade20k data/ade20k --out prepared/ade20k
  dualattn data prepare celeba-hq data/celeba_hq --workers 8

  # colorize the copies, and score them
  dualattn colorize data/coco/coco-stuff -o colorized
  dualattn evaluate --pred colorized --gt data/coco/coco-stuff --protocol coco-stuff

exit codes: 0 every photograph of the data set is ready, 1 some are missing or cannot be read (they are named),
2 nothing could be prepared, or the disk is full
"""
NAMES = ('imagenet', 'coco-stuff', 'ade20k', 'celeba-hq')
SHOWN = 10


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('data prepare', __doc__, EPILOG)
    parser.add_argument('dataset', choices=NAMES)
    parser.add_argument('root', type=Path, metavar='ROOT', help='folder of the data set as it was unpacked')
    parser.add_argument('--out', type=Path, metavar='DIR', help='where to write lists and copies (default: ROOT)')
    parser.add_argument('--no-copies', action='store_true', help='make lists and hashes alone')
    parser.add_argument('--workers', type=int, default=1, metavar='N', help='processes (default: 1)')
    parser.add_argument(
        '--ground-truth',
        type=Path,
        metavar='FILE',
        help="imagenet: the devkit (folder or .tar.gz) or LOC_val_solution.csv; sorts ROOT's val into synsets",
    )
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f'--workers takes at least 1, got {args.workers}')
    if args.ground_truth is not None and args.dataset != 'imagenet':
        parser.error(f'--ground-truth sorts ImageNet; {args.dataset} has no synsets')
    return args


def _progress(items: Iterable, total: int) -> Iterable:
    from tqdm import tqdm

    return tqdm(items, total=total, disable=not sys.stderr.isatty())


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare a data set; see the exit codes in EPILOG."""
    args = parse_args(argv)
    from colorization.data.imagenet import sort_validation
    from colorization.data.preparation import SOURCES, DiskFullError, prepare_protocol

    source = SOURCES[args.dataset]
    out = args.out or args.root
    is_complete = True
    try:
        check_folder(args.root, 'ROOT')
        check_new_folder(out, '--out')
        folder = source.find(args.root)
        if args.ground_truth is not None:
            moved, before = sort_validation(folder, args.ground_truth)
            print(f'{folder}: {moved:,} images moved into the folders of their synsets, {before:,} were there already')
        for name in source.protocols:
            result = prepare_protocol(
                folder, out, name, copies=not args.no_copies, workers=args.workers, progress=_progress
            )
            is_complete &= result.complete
            for file, reason in result.unreadable[:SHOWN]:
                print(f'{file} cannot be used: {reason}', file=sys.stderr)
            if len(result.unreadable) > SHOWN:
                print(f'... and {len(result.unreadable) - SHOWN} more, see {out}/lists/{name}.json', file=sys.stderr)
            if result.protocol.count not in (None, len(result.files)):
                print(
                    f'{name} has {result.protocol.count:,} photographs, {folder} gives {len(result.files):,}: what is '
                    'measured on them is not that protocol',
                    file=sys.stderr,
                )
            copies = '' if args.no_copies else f', {result.made:,} copies made, {result.kept:,} were there'
            print(f'{name}: {len(result.hashes):,} photographs listed in {out}/lists{copies}')
    except (ValueError, OSError) as error:
        print(f'prepare: {error.strerror if isinstance(error, DiskFullError) else error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('prepare: interrupted; give the same command again to go on', file=sys.stderr)
        return 2
    return 0 if is_complete else 1
