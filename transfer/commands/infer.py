"""Find objects: boxes and masks on photographs, boxes in point clouds; a picture and a JSON file for each."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dualattn.commands.files import check_new_folder
from dualattn.commands.parser import CommandParser, describe
from dualattn.configs import find_config, read_config

EXAMPLES = """examples:
  # photographs, or all of a folder, with a detector that `dualattn train` has trained
  dualattn infer street.jpg holiday/ --config configs/det/mask_rcnn_dualattn_t.py \\
      --checkpoint work_dirs/mask_rcnn_dualattn_t/epoch_36.pth -o found

  # point clouds, seen from above
  dualattn infer 000008.bin --config configs/det3d/second_dualattn_kitti_3class.py \\
      --checkpoint work_dirs/second_dualattn_kitti_3class/epoch_40.pth -o found

exit codes: 0 all done, 1 some inputs failed (named at the end), 2 nothing was started
"""
# those of dualattn.io.photos that circulate most; a list of it would load what takes seconds
IMAGES = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.tif', '.tiff', '.bmp', '.gif', '.jp2', '.avif'),
    *('.ppm', '.pgm', '.pbm', '.pnm'),
)
CLOUDS = ('.bin', '.pcd', '.ply')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('infer', __doc__, EXAMPLES)
    parser.add_argument(
        'inputs', nargs='+', metavar='INPUT', help='photographs or point clouds (.bin, .pcd, .ply), or folders'
    )
    parser.add_argument('--config', required=True, help='config file of the detector')
    parser.add_argument('--checkpoint', required=True, help='weights of its training, .pth or .safetensors')
    parser.add_argument('-o', '--out', required=True, type=Path, help='folder for NAME.jpg and NAME.json of each input')
    parser.add_argument(
        '--score-threshold',
        type=float,
        metavar='S',
        help='leave out what is less certain (default: that of the detector)',
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: cuda where there is one)')
    return parser.parse_args(argv)


def find_scope(args: argparse.Namespace) -> str | None:
    """Return the library that the config is for; refuses what needs no torch to be refused.

    Raises:
        FileNotFoundError: there is no such config or checkpoint.
        NotADirectoryError: the output folder is a file.
    """
    find_config(args.config)
    check_new_folder(args.out, '-o')
    scope = read_config(args.config, import_modules=False).get('default_scope')
    if scope in ('mmdet', 'mmdet3d') and not Path(args.checkpoint).exists():
        raise FileNotFoundError(f'no checkpoint at {args.checkpoint}')
    return scope


def make_detector(args: argparse.Namespace):
    """Build the detector that the config is for, and tell which files it takes."""
    scope = find_scope(args)
    from dualattn.devices import choose_device
    from dualattn.engine import DataError

    build: Callable[..., Any]
    if scope == 'mmdet':
        from transfer.detection.inference import ImageDetector

        build = ImageDetector
    elif scope == 'mmdet3d':
        from transfer.detection3d.inference import PointCloudDetector

        build = PointCloudDetector
    else:
        raise DataError(
            f"{args.config} is no config of a detector: its default_scope is {scope!r}, expected 'mmdet' or 'mmdet3d'"
        )
    options = {} if args.score_threshold is None else dict(score_threshold=args.score_threshold)
    device = str(choose_device(args.device, metal=False))  # for which mmcv and spconv have no operators
    return build(args.config, args.checkpoint, device, **options), IMAGES if scope == 'mmdet' else CLOUDS


def list_inputs(inputs: list[str], suffixes: tuple[str, ...], out: Path) -> dict[str, Path]:
    """Pair the name of each output with its input; any doubt is an error before work starts."""
    from dualattn.engine import DataError
    from dualattn.io.files import find_files

    found: dict[str, Path] = {}
    folded: dict[str, Path] = {}  # as file systems compare names that ignore case
    for file in find_files(inputs, suffixes):
        if file.suffix.lower() not in suffixes:
            raise DataError(f'{file}: this detector takes {", ".join(suffixes)}')
        other = folded.setdefault(file.stem.casefold(), file)
        if other != file:
            raise DataError(f'{file} and {other} would both become {out / file.stem}.jpg')
        found[file.stem] = file
        if (out / f'{file.stem}.jpg').resolve() == file.resolve():
            raise DataError(f'{file} would be replaced by its result: choose another folder with -o')
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Find objects; see the exit codes in EXAMPLES."""
    args = parse_args(argv)
    try:
        detector, suffixes = make_detector(args)
        inputs = list_inputs(args.inputs, suffixes, args.out)
    except (OSError, ValueError) as error:  # CheckpointError and DataError are values that are wrong
        print(describe(error), file=sys.stderr)
        return 2
    from tqdm import tqdm

    from dualattn.engine import DataError

    args.out.mkdir(parents=True, exist_ok=True)
    failures = []
    for stem, path in tqdm(inputs.items(), unit='file', disable=len(inputs) == 1):
        try:
            number = detector.save(detector.predict(path), args.out / f'{stem}.jpg', args.out / f'{stem}.json')
        except Exception as error:  # whatever is wrong with one file, the others are not to wait for it
            kind = '' if isinstance(error, (OSError, DataError)) else f'{type(error).__name__}: '
            failures.append(f'{kind}{error}' if str(path) in str(error) else f'{path}: {kind}{error}')
        else:
            tqdm.write(f'{path}: {number} objects, {args.out / stem}.jpg and .json')
    for failure in failures:
        print(f'failed: {failure}', file=sys.stderr)
    return 1 if failures else 0
