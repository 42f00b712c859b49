"""The main job in a few minutes: train on photographs, look at the sheets, colorize black-and-white photographs."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.files import check_new_folder
from dualattn.commands.parser import CommandParser, add_options_argument

CONFIG = 'colorize/mpt_demo.py'  # a packaged one, so that an installed wheel has it too


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('demo', f'{__doc__} Everything comes from installed packages; nothing is downloaded.')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs', 'mpt_demo'), help='where everything goes')
    add_options_argument(parser)
    return parser.parse_args(argv)


def run(*command: str | Path) -> int:
    """Run a verb of `dualattn` in a process of its own, as a user would; returns its exit code."""
    words = [str(part) for part in command]
    print('\n$ dualattn', *words, flush=True)
    return subprocess.run([sys.executable, '-m', 'dualattn', *words]).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Train, colorize and draw; returns 0, or the exit code of the first step that failed."""
    args = parse_args(argv)
    from PIL import Image

    from colorization.samples import packaged_gray_photos
    from colorization.sheet import draw_sheet, save_sheet

    try:
        check_new_folder(args.work_dir, '--work-dir')
        photos = packaged_gray_photos()
    except OSError as error:
        print(f'demo: {error}', file=sys.stderr)
        return 2
    start = time.monotonic()
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    colorized = args.work_dir / 'colorized'
    packaged = args.work_dir / 'colorized_packaged'
    trained = args.work_dir / 'weights.safetensors'
    for command in (
        ['train', CONFIG, '--work-dir', args.work_dir, *options],
        ['colorize', *photos.values(), '-o', packaged, '--overwrite'],
        ['colorize', *photos.values(), '-o', colorized, '--overwrite', '--weights', trained],
    ):
        code = run(*command)
        if code:
            return code
    rows = [
        [Image.open(folder / path.name) for folder in (path.parent, packaged, colorized)] for path in photos.values()
    ]
    sheet = draw_sheet(rows, ('black and white', 'packaged weights', 'after this training'), list(photos), tile=320)
    save_sheet(sheet, args.work_dir / 'before_after.png')

    results = [
        ('before and after', args.work_dir / 'before_after.png'),
        ('in colour, by the packaged weights', packaged),
        ('in colour, after this training', colorized),
        ('gray, prediction, truth during training', args.work_dir / 'sheets'),
        ('loss curves', args.work_dir / 'curve.png'),
        ('the trained weights', trained),
    ]
    print(f'\nDone in {(time.monotonic() - start) / 60:.1f} minutes:')
    for title, path in results:
        print(f'  {title:<42}{path}')
    print(
        '\nYour own photographs, with the weights that ship with the package:\n'
        '  dualattn colorize PHOTO.jpg -o PHOTO_color.png'
    )
    return 0
