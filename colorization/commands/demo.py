"""The main job in a few minutes: train on photographs, look at the sheets, colorize black-and-white photographs."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from colorization.samples import packaged_gray_photos
from colorization.sheet import draw_sheet, save_sheet

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'configs' / 'colorize' / 'mpt_demo.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f'{__doc__} Everything comes from installed packages; nothing is downloaded.'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs', 'mpt_demo'), help='where everything goes')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='override entries of the config, for example train_cfg.max_iters=20',
    )
    return parser.parse_args()


def run(*command) -> None:
    print('\n$ python', *command, flush=True)
    code = subprocess.run([sys.executable, *map(str, command)]).returncode
    if code:
        raise SystemExit(code)


def main() -> None:
    args = parse_args()
    start = time.monotonic()
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    run(ROOT / 'tools' / 'train.py', CONFIG, '--work-dir', args.work_dir, *options)

    photos = packaged_gray_photos()
    colorized = args.work_dir / 'colorized'
    packaged = args.work_dir / 'colorized_packaged'
    run(ROOT / 'tools' / 'colorize.py', *photos.values(), '-o', packaged, '--overwrite')
    run(
        ROOT / 'tools' / 'colorize.py',
        *photos.values(),
        '-o',
        colorized,
        '--overwrite',
        '--weights',
        args.work_dir / 'weights.safetensors',
    )
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
        ('the trained weights', args.work_dir / 'weights.safetensors'),
    ]
    print(f'\nDone in {(time.monotonic() - start) / 60:.1f} minutes:')
    for title, path in results:
        print(f'  {title:<42}{path}')
    print(
        '\nYour own photographs, with the weights that ship with the package:\n'
        '  .venv/bin/python tools/colorize.py PHOTO.jpg -o PHOTO_color.png'
    )


if __name__ == '__main__':
    main()
