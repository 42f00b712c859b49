"""Colorize photographs with onnxruntime; nothing is sent anywhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

EPILOG = """examples:
  makes grandma_color.jpg
      dualattn-light grandma.jpg
  several into a folder, under their names
      dualattn-light scans/*.jpg -o colorized

exit codes: 0 all done, 1 some photographs failed (named), 2 nothing was started
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = argparse.ArgumentParser(
        'dualattn-light', description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('photos', nargs='+', metavar='PHOTO', type=Path, help='files to colorize')
    parser.add_argument(
        '-o', '--out', type=Path, help='file (for one PHOTO) or folder to write (default: NAME_color beside each)'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace outputs that exist')
    parser.add_argument(
        '--model', type=Path, metavar='FOLDER', help='files of dualattn export photo (the packaged ones)'
    )
    parser.add_argument('--threads', type=int, default=0, help='of onnxruntime (default: as many as it likes)')
    return parser.parse_args(argv)


def choose_target(photo: Path, out: Path | None, is_folder: bool) -> Path:
    """Return the file that a photograph becomes; formats that are only read become PNG."""
    from dualattn_light.photographs import FORMATS

    suffix = photo.suffix if photo.suffix.lower() in FORMATS else '.png'
    if out is None:
        return photo.with_name(f'{photo.stem}_color{suffix}')
    return out / f'{photo.stem}{suffix}' if is_folder else out


def plan(args: argparse.Namespace) -> dict[Path, Path]:
    """Decide what becomes which file.

    Raises:
        ValueError: a suffix is no format, two photographs would become one file, or one would be replaced.
        FileExistsError: an output folder is a file.
        OSError: the folder cannot be made.
    """
    from dualattn_light.photographs import FORMATS

    out = args.out
    is_folder = out is not None and (len(args.photos) > 1 or out.is_dir() or not out.suffix)
    if is_folder:
        out.mkdir(parents=True, exist_ok=True)
    elif out is not None and out.suffix.lower() not in FORMATS:
        raise ValueError(f'{out}: is written as {", ".join(FORMATS)}')
    targets: dict[Path, Path] = {}
    for photo in dict.fromkeys(args.photos):
        target = choose_target(photo, out, is_folder)
        if target in targets.values():
            raise ValueError(f'{photo} would become {target}, as another photograph does; use two folders')
        if target.exists() and target.resolve() in {each.resolve() for each in args.photos}:
            raise ValueError(f'{target} is one of the photographs; nothing is written over those')
        targets[photo] = target
    return targets


def main(argv: Sequence[str] | None = None) -> int:
    """Colorize; see the exit codes in EPILOG."""
    args = parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):  # a name that the terminal cannot show is printed escaped
            stream.reconfigure(errors='backslashreplace')
    from dualattn_light.photographs import PhotographError, read_photograph, write_photograph
    from dualattn_light.runtime import LightColorizer, ModelError

    try:
        targets = plan(args)
        colorize = LightColorizer(args.model, args.threads)
    except (ValueError, OSError) as error:
        print(f'dualattn-light: {error}', file=sys.stderr)
        return 2
    failed = 0
    for photo, target in targets.items():
        try:
            if target.exists() and not args.overwrite:  # before the seconds that colours take
                raise FileExistsError(f'{target} exists; use --overwrite to replace it')
            picture = read_photograph(photo)
            write_photograph(target, colorize(picture.pixels), picture, args.overwrite)
        except (PhotographError, ModelError, OSError, MemoryError) as error:
            failed += 1
            text = str(error)
            if isinstance(error, FileNotFoundError):
                text = f'{error.filename or photo}: no such file or folder'
            elif isinstance(error, MemoryError):
                text = 'too large for the memory'
            print(f'failed: {text if str(photo) in text else f"{photo}: {text}"}', file=sys.stderr)
        else:
            print(f'{photo} -> {target}')
    return 1 if failed else 0
