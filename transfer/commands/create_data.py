"""Make the info files and the ground-truth database that 3D detection reads, from raw KITTI or nuScenes folders.

A folder of COCO is checked alone: annotations against images, classes and themselves. Detectors read it as it is.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.files import check_folder, check_new_folder
from dualattn.commands.parser import CommandParser, describe

EXAMPLES = """examples:
  # KITTI: ROOT holds training/{velodyne,calib,label_2,image_2} and ImageSets/{train,val}.txt
  dualattn create-data kitti data/kitti

  # a few frames to try things out with: every frame trains and validates, and nothing is written into ROOT
  dualattn create-data kitti data/kitti_mini --out-dir data/kitti --same-frames

  # frames of your own, labelled as KITTI's, with other names
  dualattn create-data kitti site --classes Digger Worker

  # nuScenes: ROOT holds v1.0-trainval/*.json, samples/ and sweeps/
  dualattn create-data nuscenes data/nuscenes --version v1.0-trainval
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('create-data', __doc__, EXAMPLES)
    parser.add_argument('dataset', choices=['coco', 'kitti', 'nuscenes'])
    parser.add_argument('root', type=Path, help='folder of the raw data')
    parser.add_argument(
        '--out-dir', type=Path, help='where to write, with links to the raw data (default: into the folder itself)'
    )
    parser.add_argument(
        '--same-frames', action='store_true', help='KITTI without ImageSets: put every frame into train and val'
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        default=[],
        metavar='NAME',
        help='KITTI: names in the labels beside its own eight; COCO: the classes, in order (default: all there are)',
    )
    parser.add_argument(
        '--without-masks', action='store_true', help='COCO: objects need no outlines, boxes alone will be trained'
    )
    parser.add_argument(
        '--version',
        default='v1.0-trainval',
        choices=['v1.0-trainval', 'v1.0-mini', 'v1.0-test'],
        help='nuScenes tables to read (default: v1.0-trainval)',
    )
    parser.add_argument('--max-sweeps', type=int, default=10, help='nuScenes sweeps to list (default: 10)')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert; returns 0, or 2 with one line on standard error where the raw data are not what they should be."""
    args = parse_args(argv)
    from dualattn.engine import DataError

    out_dir = args.out_dir or args.root
    try:
        check_folder(args.root, 'root')
        check_new_folder(out_dir, '--out-dir')
        if args.dataset == 'coco':
            from transfer.detection.preparation import prepare_coco

            print('\n'.join(prepare_coco(args.root, args.classes or None, with_mask=not args.without_masks)))
            return 0
        from transfer.detection3d.conversion import convert_kitti, convert_nuscenes

        if args.dataset == 'kitti':
            files = convert_kitti(args.root, out_dir, same_frames=args.same_frames, classes=args.classes)
        else:
            files = convert_nuscenes(args.root, out_dir, version=args.version, max_sweeps=args.max_sweeps)
    except (DataError, OSError) as error:
        print(describe(error), file=sys.stderr)
        return 2
    print('\n'.join(f'wrote {path}' for path in files))
    return 0
