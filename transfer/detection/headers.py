"""Sizes of image files, read from their headers, many at once, and remembered."""

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import MMLogger
from PIL import ExifTags, Image, UnidentifiedImageError

from dualattn.io.files import find_cache_folder, write_json

__all__ = ['ImageHeader', 'read_header', 'read_headers']

_NUM_THREADS = 32  # they wait for disks, most of the time


class ImageHeader(NamedTuple):
    """What the header of an image file tells.

    Attributes:
        size: width and height in pixels, as the picture is seen.
        orientation: EXIF's number, 1 (as stored) to 8; from 5 on, width and height are exchanged.
    """

    size: tuple[int, int]
    orientation: int


def read_header(path: str | Path) -> ImageHeader | str:
    """Read the header of an image file, or tell what is wrong with it; agrees with `dualattn.io.photos.read_rgb`."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            orientation = _read_orientation(image)
    except UnidentifiedImageError:
        return 'no image'
    except Exception as error:  # Pillow's readers raise what they like on broken headers
        return str(error) or type(error).__name__
    return ImageHeader((height, width) if orientation >= 5 else (width, height), orientation)


def _read_orientation(image: Image.Image) -> int:
    # Pillow turns a TIFF itself; what stands behind the pixels of a PNG is not read, as all of them would have to be
    if image.format == 'TIFF' or image.format == 'PNG' and 'exif' not in image.info:
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF data are no reason to refuse an image
        return 1
    return orientation if orientation in range(1, 9) else 1


def read_headers(paths: Sequence[Path]) -> list[ImageHeader | str]:
    """Read the headers of image files by many threads, or take them from the last time.

    They are kept in `~/.cache/dualattn/headers` (or below `XDG_CACHE_HOME`), in a file named by a hash of names, sizes
    and times of all images: whatever changes, all are read again. Unreadable ones are never kept.

    Args:
        paths: the files, which have to be there.

    Returns:
        For each file its header, or a text that says why it has none.
    """
    if not paths:
        return []
    cache = _find_cache(paths)
    remembered = _load(cache, len(paths))
    if remembered is not None:
        return list(remembered)
    logger = MMLogger.get_current_instance()
    if len(paths) > 1000:
        logger.info(f'reading the headers of {len(paths)} images, once, in {paths[0].parent}')
    # here and not in each thread: the filters are one for the process, and threads would put back those of others
    with warnings.catch_warnings(), ThreadPoolExecutor(_NUM_THREADS) as pool:
        warnings.simplefilter('ignore')
        headers = list(pool.map(read_header, paths))
    if not any(isinstance(header, str) for header in headers):
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_json(cache, [[*header.size, header.orientation] for header in headers], indent=0)
        except OSError as error:
            logger.info(f'the headers of the images will be read again next time: {error}')
    return headers


def _find_cache(paths: Sequence[Path]) -> Path:
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        digest.update(
            f'{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}\0'.encode('utf-8', 'surrogateescape')
        )
    return find_cache_folder() / 'headers' / f'{digest.hexdigest()}.json'


def _load(cache: Path, number: int) -> list[ImageHeader] | None:
    """Read what is remembered; a file that is none is as good as no file, since it is written anew."""
    try:
        entries = json.loads(cache.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    if not isinstance(entries, list) or len(entries) != number:
        return None
    if not all(isinstance(entry, list) and len(entry) == 3 and all(type(n) is int for n in entry) for entry in entries):
        return None
    return [ImageHeader((width, height), orientation) for width, height, orientation in entries]
