"""The one reader of photographs: with all that they carry, or as plain RGB for data sets.

What is in a file decides how it is read, never its name. Everything is brought to sRGB and upright here, so that no
other module knows EXIF orientation, palettes, CMYK or colour profiles. One file of this folder knows one format.
"""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from dualattn.io.photos import color_profile
from dualattn.io.photos.messages import printable
from dualattn.io.photos.photo import ImageError, Photo, over_white, to_8_bit, upright, with_three_channels
from dualattn.io.photos.reading import formats, heif, jpeg, jpeg2000, jpegxl, pillow, png, pnm, raw, tiff
from dualattn.io.photos.reading.source import Decoded, Source

MAX_PIXELS = 100_000_000
# what libraries raise where numbers of a damaged file lead them astray: it tells their authors something, no user
_NO_REASONS = (TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, struct.error)


def read_photo(
    path: str | os.PathLike,
    max_pixels: int = MAX_PIXELS,
    *,
    allow_truncated: bool = False,
    page: int | None = None,
) -> Photo:
    """Read a photograph: upright, in sRGB, with its bit depth, alpha and metadata kept.

    Of several frames or pages the first photograph is taken: no thumbnail, mask or preview.

    Args:
        path: a JPEG, PNG, TIFF, WebP, BMP, GIF, PNM, JPEG 2000, AVIF or JPEG XL file under any name; HEIC where pi-heif
            is installed, DNG and camera raw where rawpy is.
        max_pixels: a larger image is refused from its header, before anything is decoded. Above 179 million pixels
            Pillow's own limit, PIL.Image.MAX_IMAGE_PIXELS, has to be raised as well.
        allow_truncated: take what can be decoded of a file that is cut or damaged; what is missing is said.
        page: which page of a TIFF, from 1; see `count_pages`.

    Raises:
        ImageError: the file cannot be read, is broken, too large, or of a kind that is not supported.
    """
    with _opened(path, max_pixels, allow_truncated=allow_truncated, page=page) as source:
        found = _decode(source)
        pixels, profile = color_profile.to_srgb(found.pixels, found.space, found.profile, path)
        pixels = np.ascontiguousarray(upright(pixels, found.orientation))
        alpha = None if found.alpha is None else np.ascontiguousarray(upright(found.alpha, found.orientation))
        return Photo(pixels, alpha, found.exif, profile, found.dpi, found.text, found.xmp, found.iptc)


def read_rgb(path: str | os.PathLike, max_pixels: int = MAX_PIXELS, min_side: int | None = None) -> np.ndarray:
    """Read an image for a data set: upright 8-bit sRGB, transparent parts over white.

    Args:
        path: as for `read_photo`.
        max_pixels: as for `read_photo`.
        min_side: lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size, as long as both sides keep so many pixels.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: as for `read_photo`.
    """
    with _opened(path, max_pixels, min_side=min_side) as source:
        found = _decode(source)
        pixels, _ = color_profile.to_srgb(found.pixels, found.space, found.profile, path)
        pixels = with_three_channels(to_8_bit(pixels))
        if found.alpha is not None:
            pixels = over_white(pixels, to_8_bit(found.alpha))
        # decoders hand out views that cannot be written to, which torch warns of
        return np.require(upright(pixels, found.orientation), requirements=['C', 'W'])


def count_pages(path: str | os.PathLike) -> int:
    """Return how many photographs a file holds that `read_photo` takes by their page: more than 1 in a TIFF at most.

    Raises:
        ImageError: the file cannot be opened.
    """
    with _opened(path, MAX_PIXELS) as source:
        return max(1, tiff.count_pages(source)) if _identify(source) == 'TIFF' else 1


def _decode(source: Source) -> Decoded:
    kind = _identify(source)
    if source.page not in (None, 1) and kind != 'TIFF':
        raise ImageError(f'page {source.page} is asked for, and only a TIFF has pages')
    if kind in ('PPM', 'PAM'):
        return pnm.decode(source)
    decoders = {
        'JPEG': jpeg,
        'PNG': png,
        'JPEG2000': jpeg2000,
        'JPEGXL': jpegxl,
        'HEIF': heif,
        'RAW': raw,
        'TIFF': tiff,
    }
    return decoders[kind].decode(source) if kind in decoders else pillow.decode(source, kind)


def _identify(source: Source) -> str:
    source.file.seek(0)
    header = source.file.read(formats.HEADER_BYTES)
    kind = formats.identify(header)
    if kind is not None:
        return kind
    foreign = formats.describe_foreign(header)
    raise ImageError(foreign or f'not an image in a known format ({formats.FORMATS})')


@contextmanager
def _opened(path: str | os.PathLike, max_pixels: int, **options) -> Iterator[Source]:
    """Open a file, and turn what its decoder raises into an `ImageError` that names it."""
    source = None
    try:
        if not os.path.isfile(path):
            raise ImageError('no such file' if not os.path.exists(path) else 'not a regular file')
        if os.path.getsize(path) == 0:
            raise ImageError('the file is empty (0 bytes)')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)  # the limit is ours
            warnings.filterwarnings('ignore', category=UserWarning, module='PIL')  # remarks on broken metadata
            with open(path, 'rb') as file:
                source = Source(path, file, max_pixels, **options)
                yield source
    except MemoryError as error:
        raise ImageError(f'{printable(path)}: cannot be read: the memory does not suffice') from error
    # Decoders have no common base class and raise what they like on broken bytes, assertions included: no file may end
    # the run that it is one of thousands in.
    except Exception as error:
        # a signature, and nothing behind it that makes sense
        is_unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = 'its header is damaged' if is_unknown else ' '.join(str(error).split()) or type(error).__name__
        if isinstance(error, _NO_REASONS):
            reason = f'it is damaged ({reason})'
        if source is not None and source.lack:
            reason = f'the file is truncated: {source.lack}, and what is there cannot be decoded ({reason})'
        if 'allow_truncated' not in options:  # who cannot ask for it is not told of it
            reason = reason.partition('; --allow-truncated')[0]
        raise ImageError(f'{printable(path)}: cannot be read: {reason}') from error
