"""Colorize photographs: files, folders and glob patterns in, the same photographs in colour out."""

import argparse
import logging
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.parser import CommandParser

EPILOG = """examples:
  one photograph, with the weights that ship with the package; makes grandma_color.jpg
      dualattn colorize grandma.jpg
  a folder with its subfolders; run it again after an interruption, finished files are skipped
      dualattn colorize scans --recursive -o colorized
  a pattern (quote it), results as JPEG named NAME_color.jpg, a before/after picture beside each
      dualattn colorize 'scans/19*.tif' -o colorized --format jpg --suffix _color --compare
  stronger colours; six other plausible versions on one sheet, and a map of where the network is unsure
      dualattn colorize grandma.jpg -o grandma_color.png --vividness 1.5 --variants 6 --doubt
  weights of your own training: its export, or a checkpoint with the config that made it
      dualattn colorize scans -o colorized --weights work_dirs/my_run/weights.safetensors
      dualattn colorize scans -o colorized --weights work_dirs/my_run/iter_1000.pth --config my_run.py

What is kept: size and luminance; 16 bits of PNG and TIFF, gray or RGB, in png and tif (16-bit CMYK, PPM and JPEG 2000
are read at 8 bits, with a message); transparency in png, tif and webp; in each format the resolution, XMP, and the EXIF
entries for camera, dates, place, author, copyright, titles, keywords, comments and rating; PNG text chunks in png; JPEG
comments in jpg and png. Upright sRGB replaces rotation and colour profiles. Thumbnails, maker notes and IPTC records
are dropped.

exit codes: 0 all done or skipped, 1 some photographs failed (listed at the end), 2 nothing was started, 130 stopped
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('colorize', __doc__, EPILOG)
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='photographs, folders or quoted glob patterns')
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        help='output file (for one INPUT file) or folder (default: NAME_color beside it, or the folder colorized)',
    )
    parser.add_argument('--weights', help='weights file, also a released DDColor (default: the one in the package)')
    parser.add_argument('--config', help='training config; its model.generator describes the network of --weights')
    parser.add_argument('--size', type=int, help='side of the square whose area the network sees (default: its own)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: cuda where there is one)')
    parser.add_argument('--chroma', type=float, default=1.0, help='factor on the colours: 0.8 paler, 1.2 stronger')
    parser.add_argument(
        '--vividness',
        type=float,
        default=1.0,
        help='how far the network decides for one colour instead of mixing all that are plausible (default: 1)',
    )
    parser.add_argument('--variants', type=int, default=0, metavar='N', help='also write N other plausible versions')
    parser.add_argument('--variant-files', action='store_true', help='as files of their own, not as one sheet')
    parser.add_argument('--seed', type=int, default=0, help='of the versions; the same seed draws the same ones')
    parser.add_argument('--doubt', action='store_true', help='also write NAME_doubt.jpg: where the network is unsure')
    parser.add_argument('-r', '--recursive', action='store_true', help='search folders with their subfolders')
    parser.add_argument('--overwrite', action='store_true', help='replace outputs that exist')
    parser.add_argument('--format', choices=('png', 'jpg', 'webp', 'tif'), help='of outputs (default: as the input)')
    parser.add_argument('--suffix', default='', help='text added to the name of each output, such as _color')
    parser.add_argument('--compare', action='store_true', help='also write NAME_compare.jpg: before and after')
    parser.add_argument('--max-megapixels', type=float, default=100, help='larger photographs are refused (100)')
    return parser.parse_args(argv)


def list_beside(args: argparse.Namespace) -> list[str]:
    """Return what is written beside each photograph.

    Raises:
        ValueError: the number of versions is negative, or files are asked of none.
    """
    if args.variants < 0 or (args.variant_files and not args.variants):
        raise ValueError(f'--variants needs a number above 0, got {args.variants}')
    singles = [f'variant{number}' for number in range(1, args.variants + 1)]
    versions = singles if args.variant_files else ['variants'] * bool(args.variants)
    return ['compare'] * args.compare + versions + ['doubt'] * args.doubt


def choose_output(inputs: Sequence[str], form: str | None) -> Path:
    """Return where results go if nobody says: beside the one photograph, or in the folder `colorized`."""
    photo = Path(inputs[0])
    if len(inputs) > 1 or not photo.is_file():
        return Path('colorized')
    suffix = photo.suffix if photo.suffix.lower() in ('.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff') else '.png'
    return photo.with_name(f'{photo.stem}_color{f".{form}" if form else suffix}')


def make_folders(jobs):
    """Make the output folders and try to write there, before hours of work."""
    for folder in sorted({job.target.parent for job in jobs}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise OSError(f'{folder}: this output folder cannot be written: {error.strerror}') from error


def load_colorizer(args):
    """Build the colorizer that the arguments ask for."""
    import torch

    from colorization.pipeline import Colorizer, has_palette, read_network_config

    config = read_network_config(args.config) if args.config else None
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    options = dict(size=args.size, device=device, chroma=args.chroma, vividness=args.vividness)
    colorizer = Colorizer.from_pretrained(args.weights, config, **options)
    if (args.variants or args.doubt) and not has_palette(colorizer.network):
        raise ValueError('--variants and --doubt need weights with a palette head; these know one version alone')
    return colorizer


def main(argv: Sequence[str] | None = None) -> int:
    """Colorize photographs; see the exit codes in EPILOG."""
    args = parse_args(argv)
    # as Ctrl-C, so that no half-written file stays
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return colorize(args)
    finally:
        signal.signal(signal.SIGTERM, before)


def colorize(args: argparse.Namespace) -> int:
    """Do what the arguments ask for; returns the exit code."""
    from PIL import Image
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from colorization.batch import run_job
    from colorization.jobs import plan_jobs

    logging.basicConfig(format='%(message)s')
    Image.MAX_IMAGE_PIXELS = None  # read_photo has the limit, and it is the user's to raise
    args.out = args.out or choose_output(args.inputs, args.format)
    try:
        jobs, earlier = plan_jobs(
            args.inputs, args.out, args.recursive, args.suffix, args.format, list_beside(args), args.overwrite
        )
        make_folders(jobs)
        colorizer = load_colorizer(args)
    except (ValueError, OSError, RuntimeError, ImportError, SyntaxError, LookupError) as error:
        print(f'colorize: {error}', file=sys.stderr)
        return 2
    skipped, failed = 0, []
    try:
        with logging_redirect_tqdm():
            for job in tqdm(jobs, unit='photo', disable=None):
                if job.is_done and not args.overwrite:
                    skipped += 1
                    continue
                try:
                    max_pixels = int(args.max_megapixels * 1e6)
                    run_job(job, colorizer, args.overwrite, max_pixels, args.variants, args.seed)
                except (ValueError, OSError, ArithmeticError, MemoryError, RuntimeError) as error:
                    reason = str(error) or type(error).__name__
                    failed.append(reason if str(job.source) in reason else f'{job.source}: {reason}')
                    logging.error(failed[-1])
    except KeyboardInterrupt:
        print('colorize: stopped; run the same command again to go on', file=sys.stderr)
        return 130
    already = ' (already there; --overwrite makes them anew)' if skipped else ''
    done = len(jobs) - skipped - len(failed)
    print(f'{done} colorized to {args.out}, {skipped} skipped{already}, {len(failed)} failed')
    if earlier:
        names = ', '.join(map(str, earlier[:10])) + (', ...' if len(earlier) > 10 else '')
        print(f'{len(earlier)} not colorized again, taken for outputs of an earlier run: {names}')
    sys.stderr.writelines(f'  {line}\n' for line in failed)
    return 1 if failed else 0
