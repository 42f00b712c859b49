"""Colorize photographs: files, folders and glob patterns in, the same photographs in colour out."""

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from colorization.images import WRITE_FORMATS, Photo, list_images, read_photo, write_photo
from colorization.pipeline import Colorizer

EPILOG = """examples:
  one photograph, with the weights that ship with the package
      python tools/colorize.py grandma.jpg -o grandma_color.png
  a folder with its subfolders; run it again after an interruption, finished files are skipped
      python tools/colorize.py scans --recursive -o colorized
  a pattern (quote it), results as JPEG named NAME_color.jpg, a before/after picture beside each
      python tools/colorize.py 'scans/19*.tif' -o colorized --format jpg --suffix _color --compare
  weights of your own training: its export, or a checkpoint with the config that made it
      python tools/colorize.py scans -o colorized --weights work_dirs/my_run/weights.safetensors
      python tools/colorize.py scans -o colorized --weights work_dirs/my_run/iter_1000.pth --config my_run.py

Size, luminance, bit depth, transparency and EXIF data are kept as far as the format holds them (png, tif: all).

exit codes: 0 all done or skipped, 1 some photographs failed (listed at the end), 2 nothing was started, 130 stopped
"""


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='photographs, folders or quoted glob patterns')
    parser.add_argument('-o', '--out', required=True, type=Path, help='output file (for one INPUT file) or folder')
    parser.add_argument('--weights', help='weights file (default: the one that ships with the package)')
    parser.add_argument('--config', help='training config; its model.generator describes the network of --weights')
    parser.add_argument('--size', type=int, default=256, help='side of the square whose area the network sees (256)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: cuda where there is one)')
    parser.add_argument('--chroma', type=float, default=1.0, help='factor on the colours: 0.8 paler, 1.2 stronger')
    parser.add_argument('-r', '--recursive', action='store_true', help='search folders with their subfolders')
    parser.add_argument('--overwrite', action='store_true', help='replace outputs that exist')
    parser.add_argument('--format', choices=('png', 'jpg', 'webp', 'tif'), help='of outputs (default: as the input)')
    parser.add_argument('--suffix', default='', help='text added to the name of each output, such as _color')
    parser.add_argument('--compare', action='store_true', help='also write NAME_compare.jpg: before and after')
    parser.add_argument('--max-megapixels', type=float, default=100, help='larger photographs are refused (100)')
    return parser.parse_args(argv)


def plan_jobs(args):
    """Pair each output with its photograph; any doubt about the names is an error before work starts."""
    single = len(args.inputs) == 1 and os.path.isfile(args.inputs[0])
    if single and args.out.suffix and not args.out.is_dir():
        jobs = {args.out: Path(args.inputs[0])}
    elif args.out.suffix.lower() in WRITE_FORMATS and not args.out.is_dir():
        raise ValueError(f'{args.out} looks like a file, but several photographs may come: name a folder with -o')
    else:
        jobs, out = {}, args.out.resolve()
        for name in args.inputs:
            is_folder = os.path.isdir(name)
            for source in list_images([name], args.recursive):
                is_nested = out != Path(name).resolve() and out in source.resolve().parents
                is_named = args.suffix and source.stem.removesuffix('_compare').endswith(args.suffix)
                if is_folder and (is_nested or is_named):
                    continue  # an output of an earlier run
                inside = source.relative_to(name).parent if is_folder else Path()
                kept = source.suffix if source.suffix.lower() in WRITE_FORMATS else '.png'
                suffix = f'.{args.format}' if args.format else kept
                target = args.out / inside / f'{source.stem}{args.suffix}{suffix}'
                if jobs.setdefault(target, source).resolve() != source.resolve():
                    raise ValueError(f'{source} and {jobs[target]} would both become {target}; colorize them apart')
    if replaced := {path.resolve() for path in jobs} & {path.resolve() for path in jobs.values()}:
        raise ValueError(f'{min(replaced)} is an input and would be replaced; choose another -o or a --suffix')
    for target in jobs:
        if target.suffix.lower() not in WRITE_FORMATS:
            raise ValueError(f"{target}: suffix '{target.suffix}' cannot be written, use {', '.join(WRITE_FORMATS)}")
        if single and target.exists() and not args.overwrite:
            raise FileExistsError(f'{target} exists; use --overwrite to replace it')
    for folder in sorted({target.parent for target in jobs}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise OSError(f'{folder}: this output folder cannot be written: {error.strerror}') from error
    return jobs


def load_colorizer(args):
    config = None
    if args.config:
        from mmengine.config import Config

        config = Config.fromfile(args.config, import_custom_modules=False).to_dict().get('model', {}).get('generator')
        if not config:
            raise ValueError(f'{args.config}: has no model.generator, so it does not describe a colorization network')
        config.pop('encoder_weights', None)  # where training starts from; --weights holds what it came to
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    return Colorizer.from_pretrained(args.weights, config, size=args.size, device=device, chroma=args.chroma)


def colorize(colorizer, source, target, args):
    photo = read_photo(source, max_pixels=int(args.max_megapixels * 1e6))
    result = colorizer(photo)
    write_photo(result, target, args.overwrite)
    if args.compare:
        pair = Photo(np.concatenate([photo.rgb, result.rgb], axis=1))
        write_photo(pair, target.with_name(f'{target.stem}_compare.jpg'), overwrite=True)


def main(argv=None):
    args = parse_args(argv)
    logging.basicConfig(format='%(message)s')
    Image.MAX_IMAGE_PIXELS = None  # read_photo has the limit, and it is the user's to raise
    try:
        jobs = plan_jobs(args)
        colorizer = load_colorizer(args)
    except (ValueError, OSError, RuntimeError, ImportError, SyntaxError, LookupError) as error:
        print(f'colorize: {error}', file=sys.stderr)
        return 2
    skipped, failed = 0, []
    try:
        with logging_redirect_tqdm():
            for target, source in tqdm(jobs.items(), unit='photo', disable=None):
                if target.exists() and not args.overwrite:
                    skipped += 1
                    continue
                try:
                    colorize(colorizer, source, target, args)
                except (ValueError, OSError, ArithmeticError, MemoryError, RuntimeError) as error:
                    reason = str(error) or type(error).__name__
                    failed.append(reason if str(source) in reason else f'{source}: {reason}')
                    logging.error(failed[-1])
    except KeyboardInterrupt:
        print('colorize: stopped; run the same command again to go on', file=sys.stderr)
        return 130
    print(f'{len(jobs) - skipped - len(failed)} colorized to {args.out}, {skipped} skipped, {len(failed)} failed')
    sys.stderr.writelines(f'  {line}\n' for line in failed)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
