"""Tell what photographs show, with a trained classifier of this repository."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.parser import CommandParser, describe
from dualattn.configs import find_config

EXAMPLES = """examples:
  dualattn classify dog.jpg cat.png --config configs/cls/dualattn_t_in1k.py \\
      --checkpoint work_dirs/dualattn_t_in1k/epoch_300.pth --out classes.json

exit codes: 0 all done, 1 some photographs failed (named at the end), 2 nothing was started
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('classify', __doc__, EXAMPLES)
    parser.add_argument('photos', nargs='+', metavar='PHOTO', help='image files')
    parser.add_argument('--config', required=True, help='config file of the classifier')
    parser.add_argument('--checkpoint', required=True, help='weights of its training, .pth or .safetensors')
    parser.add_argument('--topk', type=int, default=5, help='classes to name for each photograph (default: 5)')
    parser.add_argument('--out', type=Path, metavar='JSON', help='also write the classes to this file')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, mps, ... (default: a GPU where there is one)')
    args = parser.parse_args(argv)
    if args.topk < 1:
        parser.error(f'--topk has to be at least 1, got {args.topk}')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Classify photographs; see the exit codes in EXAMPLES."""
    args = parse_args(argv)
    try:
        find_config(args.config)
        if not Path(args.checkpoint).exists():
            raise FileNotFoundError(f'no checkpoint at {args.checkpoint}')
        if args.out is not None and args.out.is_dir():
            raise IsADirectoryError(f'--out {args.out} is a folder, expected a .json file')
    except OSError as error:
        print(describe(error), file=sys.stderr)
        return 2
    from dualattn.devices import DeviceError, choose_device
    from dualattn.engine import CheckpointError, DataError
    from dualattn.io.files import write_json

    try:
        from transfer.classification.inference import PhotoClassifier

        classifier = PhotoClassifier(args.config, args.checkpoint, str(choose_device(args.device)))
    except (FileNotFoundError, CheckpointError, DataError, DeviceError) as error:
        print(describe(error), file=sys.stderr)
        return 2
    results, failures = {}, []
    for path in args.photos:
        try:
            results[path] = classifier.predict(path, args.topk)
        except Exception as error:  # whatever is wrong with one file, the others are not to wait for it
            kind = '' if isinstance(error, (OSError, DataError)) else f'{type(error).__name__}: '
            failures.append(f'{kind}{error}' if str(path) in str(error) else f'{path}: {kind}{error}')
            continue
        print(path)
        for item in results[path]:
            print(f'  {item["score"]:7.2%}  {item["name"]}')
    if args.out:
        write_json(args.out, results)
    for failure in failures:
        print(f'failed: {failure}', file=sys.stderr)
    return 1 if failures else 0
