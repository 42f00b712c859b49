"""Write what colorizes whole photographs without PyTorch: two ONNX files, or a page for the visitor's browser.

SOURCE is `packaged` (the colorizer that ships with the package), a weights file of a colorizer, or a training config
with --weights. The pictures of the files are compared with those of `dualattn colorize` before they get their names.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.export import require_libraries
from dualattn.commands.parser import CommandParser, describe

EPILOG = """examples:
  the files of dualattn-light, and those of half the size
      dualattn export photo packaged -o light/dualattn_light/model
      dualattn export photo packaged -o model --numbers float16
  a page that colorizes in the browser; needs npm, which gets the runtime; then serve the folder, from any host
      dualattn export page packaged -o page
      python -m http.server --directory page --bind 127.0.0.1

exit codes: 0 written, 2 nothing was written
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('export', __doc__, EPILOG)
    parser.add_argument('format', choices=('photo', 'page'), help='ONNX files for photographs, or a page with them')
    parser.add_argument('source', metavar='SOURCE', help='packaged, a weights file or a config')
    parser.add_argument('-o', '--out', required=True, type=Path, help='folder to write into')
    parser.add_argument('--weights', metavar='FILE', help='weights of the network of a config')
    parser.add_argument(
        '--numbers', choices=('float32', 'float16'), help='that weights are stored in (float32; float16 for a page)'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace files that exist')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Export; see the exit codes in EPILOG."""
    args = parse_args(argv)
    require_libraries()
    from colorization.browser import write_page
    from colorization.onnx import find_colorizer
    from colorization.photo_onnx import COLORS, JOIN, export_photo_files

    folder = args.out if args.format == 'photo' else args.out / 'model'
    numbers = args.numbers or ('float32' if args.format == 'photo' else 'float16')
    try:
        if not args.overwrite:  # before the minute that the rest takes
            taken = [path for path in (folder / COLORS, folder / JOIN) if path.exists()]
            if taken:
                raise FileExistsError(f'{taken[0]} exists; use --overwrite to replace it')
        found = find_colorizer(args.source, args.weights)
        if found is None:
            raise ValueError(f'{args.source!r} is neither packaged, weights of a colorizer nor the config of one')
        if args.format == 'page':
            write_page(args.out)
        mean, largest = export_photo_files(found[0], folder, numbers, args.overwrite)
    except (ValueError, OSError, RuntimeError, ImportError) as problem:
        print(f'export: {describe(problem)}', file=sys.stderr)
        return 2
    size = sum((folder / name).stat().st_size for name in (COLORS, JOIN)) / 1e6
    print(
        f'{args.out}: {size:.1f} MB of {numbers}; pictures differ from dualattn colorize by {mean:.2g} levels of 255 '
        f'on average, {largest:.0f} at most'
    )
    return 0
