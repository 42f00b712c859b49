"""List the weights that configs name and others have published, and our own former ones, and fetch them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.parser import CommandParser, suggest

EPILOG = """examples:
  what there is, from where, under which licence, and what is here already
      dualattn weights list
  fetch what a perceptual loss needs into ./weights, where the configs look for it
      dualattn weights get vgg19
  another folder, and several files
      dualattn weights get ddcolor_modelscope ddcolor_paper_tiny -o /data/weights

An interrupted download goes on where it stopped. DUALATTN_MIRROR is the address of a folder that holds the files under
their names; HF_ENDPOINT replaces https://huggingface.co; HF_HUB_OFFLINE=1 forbids to fetch anything. Files that a
browser brought may be put into the folder by hand: `get` then checks them.

exit codes: 0 done, 1 some files could not be had (the reason is printed), 2 nothing was started
"""


def make_parser() -> CommandParser:
    """Return the parser of this verb."""
    parser = CommandParser('weights', __doc__, EPILOG)
    verbs = parser.add_subparsers(dest='action', required=True, metavar='list|get')
    listing = verbs.add_parser('list', prog='dualattn weights list', help='say what is known about each file')
    get = verbs.add_parser('get', prog='dualattn weights get', help='fetch files, whole and checked')
    get.add_argument('names', nargs='+', metavar='NAME', help='as `dualattn weights list` gives them')
    for each in (listing, get):
        each.add_argument('-o', '--out', type=Path, default=Path('weights'), help='their folder (default: weights)')
    return parser


def format_size(size: int | None) -> str:
    """Return a number of bytes in MB, or 'unknown'."""
    return 'unknown' if size is None else f'{size / 1e6:.0f} MB'


def show_list(folder: Path) -> None:
    """Print what is known about each file, and whether it is in the folder."""
    from dualattn.io.published import find_address, find_published

    for file in find_published().values():
        path = folder / file.file
        kept = folder / f'{file.file}.sha256'
        sha256 = f'{file.sha256}{"..." if len(file.sha256) < 64 else ""}' if file.sha256 else 'unknown'
        if kept.is_file():
            sha256 = f'{kept.read_text(encoding="utf-8").split(" ")[0]} (kept when it was fetched)'
        print(f'{file.name}: {file.purpose}')
        print(f'  {path} ({f"here, {format_size(path.stat().st_size)}" if path.is_file() else "not here"})')
        print(f'  {file.url or find_address(file)}')
        print(f'  licence {file.licence}; size {format_size(file.size)}; SHA-256 {sha256}')


def get(args: argparse.Namespace) -> int:
    """Fetch the files; returns the exit code."""
    from tqdm import tqdm

    from dualattn.io.published import DownloadError, fetch_published, find_published

    files = find_published()
    for name in args.names:
        if name not in files:
            print(f'weights: no file {name!r}{suggest(name, files) or "; see dualattn weights list"}', file=sys.stderr)
            return 2
    failed = 0
    for name in args.names:
        with tqdm(desc=name, unit='B', unit_scale=True, disable=None) as bar:

            def show(done: int, total: int | None, bar: tqdm = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            try:
                path, sha256 = fetch_published(files[name], args.out, show)
            except DownloadError as error:
                failed += 1
                message = f'weights: {name}: {error}'
            else:
                message = ''
        if message:
            print(message, file=sys.stderr)
        else:
            print(f'{path}: {format_size(path.stat().st_size)}, SHA-256 {sha256}')
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """List or fetch; see the exit codes in EPILOG."""
    args = make_parser().parse_args(argv)
    if args.out.exists() and not args.out.is_dir():
        print(f'weights: -o {args.out} is a file, expected a folder', file=sys.stderr)
        return 2
    if args.action == 'get':
        try:
            return get(args)
        except KeyboardInterrupt:
            print('weights: stopped; the same command goes on', file=sys.stderr)
            return 130
    show_list(args.out)
    return 0
