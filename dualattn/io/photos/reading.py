"""The one reader of photographs: with all that they carry, or as plain RGB for data sets.

What is in a file decides how it is read, never its name. Everything is brought to sRGB and upright here, so that no
other module knows EXIF orientation, palettes, CMYK or colour profiles. A PNG's `gAMA` chunk is not read.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from dualattn.io.photos import color_profile, metadata
from dualattn.io.photos.color_profile import ProfileError
from dualattn.io.photos.photo import MAX_SIDE, ImageError, Photo, over_white, to_8_bit, upright, with_three_channels

logger = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000
# Raster formats that Pillow decodes by itself. Left out on purpose: EPS and PDF would start Ghostscript, and formats
# without a signature (TGA) would take any file for an image.
_READ_FORMATS = ('JPEG', 'PNG', 'TIFF', 'WEBP', 'BMP', 'GIF', 'PPM', 'JPEG2000', 'AVIF')
_DECODER_ERRORS = (*metadata.DECODER_ERRORS, cv2.error, Image.DecompressionBombError)
_TIFF_SIGNATURES = (b'II*\0', b'MM\0*')


def read_photo(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photograph: first frame or page, upright, in sRGB, with its bit depth, alpha and metadata kept.

    Args:
        path: a JPEG, PNG, TIFF, WebP, BMP, GIF, PNM, JPEG 2000 or AVIF file under any name.
        max_pixels: a larger image is refused from its header, before anything is decoded. Above 179 million pixels
            Pillow's own limit, PIL.Image.MAX_IMAGE_PIXELS, has to be raised as well.

    Raises:
        ImageError: the file cannot be read, is broken, too large, or of a kind that is not supported.
    """
    with _opened(path, max_pixels) as image:
        is_16_bit_color = _is_16_bit_color(image)  # first, as asking a PNG for its EXIF data decodes it
        orientation, exif = metadata.read_exif(image, path)
        dpi = metadata.read_dpi(image, exif, orientation)
        metadata.warn_of_iptc(image, path)
        orientation = _orientation_left(image, orientation)
        if image.format != 'MPO' and getattr(image, 'is_animated', False):  # MPO: the other frames are previews
            logger.warning('%s: %d frames or pages, the first one is used', path, image.n_frames)
        profile = image.info.get('icc_profile')
        pixels = alpha = None
        if is_16_bit_color:
            pixels, alpha = _decode_16_bit_color(image, path)
            pixels, profile = color_profile.rgb16_in_srgb(pixels, profile, path)
        elif image.mode.startswith('I'):
            pixels, alpha = _decode_16_bit_gray(image)
            pixels, profile = color_profile.gray_in_srgb(pixels, profile, path)
        elif image.mode != 'F' and (bits := _bits_per_channel(image)) > 8:
            logger.warning('%s: %d bits per channel are read at 8 bits; save it as a TIFF or PNG in RGB', path, bits)
        if pixels is None:
            pixels, alpha, profile = _decode_8_bit(image, path)
        pixels = np.ascontiguousarray(upright(pixels, orientation))
        alpha = None if alpha is None else upright(alpha, orientation)
        return Photo(pixels, alpha, exif, profile, dpi, metadata.read_text(image), metadata.read_xmp(image))


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
    with _opened(path, max_pixels) as image:
        orientation = _orientation_left(image, metadata.read_exif(image, path)[0])
        if min_side is not None:
            image.draft(None, (min_side, min_side))
        if image.mode.startswith('I'):
            pixels, alpha = _decode_16_bit_gray(image)
            pixels, _ = color_profile.gray_in_srgb(pixels, image.info.get('icc_profile'), path)
            pixels, alpha = to_8_bit(pixels), None if alpha is None else to_8_bit(alpha)
        else:
            pixels, alpha, _ = _decode_8_bit(image, path)
        pixels = with_three_channels(pixels)
        if alpha is not None:
            pixels = over_white(pixels, alpha)
        return np.ascontiguousarray(upright(pixels, orientation))


@contextmanager
def _opened(path: str | os.PathLike, max_pixels: int) -> Iterator[Image.Image]:
    """Open a file, check its header, and turn what its decoder raises into an `ImageError`."""
    try:
        if not os.path.isfile(path):
            raise ImageError('no such file' if not os.path.exists(path) else 'not a regular file')
        if os.path.getsize(path) == 0:
            raise ImageError('the file is empty (0 bytes)')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)  # the limit is ours, just below
            warnings.filterwarnings('ignore', category=UserWarning, module='PIL')  # remarks on broken metadata
            # Given a name, Pillow maps uncompressed pixels into memory, with the sides of a rotated TIFF exchanged.
            with open(path, 'rb') as file, Image.open(file, formats=_READ_FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ImageError(f'{width} x {height} pixels are more than the limit of {max_pixels} pixels')
                if max(width, height) > MAX_SIDE or min(width, height) < 1:
                    raise ImageError(f'{width} x {height} pixels; sides must be from 1 to {MAX_SIDE} pixels')
                yield image
    except Image.UnidentifiedImageError as error:
        raise ImageError(f'{os.fspath(path)}: {_describe_unknown(path)}') from error
    except _DECODER_ERRORS as error:
        raise ImageError(f'{os.fspath(path)}: cannot be read: {error or type(error).__name__}') from error


def _describe_unknown(path: str | os.PathLike) -> str:
    """Say why Pillow does not know a file: mostly it is no image, but it can be a TIFF of a rare kind."""
    with open(path, 'rb') as file:
        header = file.read(8)
        if header[:4] not in _TIFF_SIGNATURES or len(header) < 8:
            return f'not an image in a known format ({", ".join(_READ_FORMATS)})'
        directory = TiffImagePlugin.ImageFileDirectory_v2(header)
        try:
            with warnings.catch_warnings(action='ignore', category=UserWarning):
                file.seek(directory.next)
                directory.load(file)
            bits = directory[TiffImagePlugin.BITSPERSAMPLE][0]
            kind = directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION]
            channels = directory.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
        except metadata.DECODER_ERRORS:
            return 'cannot be read: a TIFF without an intact directory'
    if channels == 2 and kind in (0, 1):
        return f'a TIFF of {bits}-bit gray with alpha, which is not supported; save it without alpha'
    return (
        f'a TIFF with {channels} channel{"s" if channels > 1 else ""} of {bits} bits, which is not supported; '
        'save it as 8-bit or 16-bit RGB or gray'
    )


def _orientation_left(image: Image.Image, orientation: int) -> int:
    """Return the EXIF orientation that decoding leaves to be undone: Pillow and OpenCV turn a TIFF upright."""
    return 1 if image.format == 'TIFF' else orientation


def _bits_per_channel(image: Image.Image) -> int:
    """Return the bits in the file of an image that Pillow decodes to 8, where its header tells them; else 8."""
    if image.format == 'TIFF':
        return image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))[0]
    if image.format == 'PPM' and image.mode == 'RGB':
        arguments = image.tile[0].args  # a mode, or a mode and the largest value
        return int(arguments[1]).bit_length() if isinstance(arguments, tuple) else 8
    if image.format == 'JPEG2000':
        image.fp.seek(0)
        codestream = image.fp.read(1 << 16).partition(b'\xff\x4f\xff\x51')[2]  # SOC and SIZ (ISO 15444-1, A.5)
        return (codestream[38] & 0x7F) + 1 if len(codestream) > 38 else 8
    return 8


def _is_16_bit_color(image: Image.Image) -> bool:
    if image.mode not in ('RGB', 'RGBA'):
        return False
    if image.format == 'PNG':
        return bool(image.tile) and str(image.tile[0][3]).endswith(';16B')
    return image.format == 'TIFF' and image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))[0] == 16


def _decode_16_bit_color(image: Image.Image, path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (H, W, 3) and alpha (H, W) or None, both uint16, from a 16-bit colour PNG or TIFF.

    Pillow has no mode for 16 bits per colour channel and drops the low byte, so OpenCV decodes these two kinds.
    """
    premultiplied = False
    if image.format == 'TIFF':
        if image.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) != 1:  # both decoders get these wrong
            raise ImageError('16-bit colour in separate planes; save it with interleaved (chunky) channels')
        premultiplied = image.tag_v2.get(TiffImagePlugin.EXTRASAMPLES, (0,))[0] == 1
    decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)  # bytes, as names may be non-ASCII
    if decoded is None:
        image.load()  # of a broken file, Pillow says what is wrong with it
    channels = (3, 4) if image.mode == 'RGB' else (4,)
    if decoded is None or decoded.dtype != np.uint16 or decoded.ndim != 3 or decoded.shape[2] not in channels:
        raise ImageError('a 16-bit colour image that OpenCV cannot decode; save it as plain RGB')
    if sorted(decoded.shape[:2]) != sorted(image.size):
        raise ImageError(f'decoders disagree on the size: {image.size} and {decoded.shape[1::-1]}')
    pixels = np.ascontiguousarray(decoded[..., 2::-1])
    alpha = decoded[..., 3].copy() if image.mode == 'RGBA' else None
    if premultiplied and alpha is not None:
        straight = pixels.astype(np.float32) * 65535 / np.maximum(alpha, 1)[..., None]
        pixels = np.rint(straight).clip(0, 65535).astype(np.uint16)
    return pixels, alpha if alpha is not None else _color_key_alpha(image, pixels)


def _decode_16_bit_gray(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (H, W) and alpha or None, both uint16, from an image in one of Pillow's modes I or I;16."""
    if image.format == 'TIFF':
        bits, kind = (
            image.tag_v2.get(tag, (1,))[0] for tag in (TiffImagePlugin.BITSPERSAMPLE, TiffImagePlugin.SAMPLEFORMAT)
        )
        if bits != 16 or kind != 1:
            raise ImageError(f'{bits}-bit {"signed " if kind == 2 else ""}gray; save it with 8 or 16 bits, unsigned')
    pixels = np.asarray(image).astype(np.uint16)
    if image.format == 'TIFF' and image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        pixels = 65535 - pixels  # white is zero; Pillow inverts these at 8 bits but not at 16
    return pixels, _color_key_alpha(image, pixels)


def _color_key_alpha(image: Image.Image, pixels: np.ndarray) -> np.ndarray | None:
    """Return the alpha that a 16-bit PNG gives as one transparent colour (tRNS), or None."""
    key = image.info.get('transparency')
    if key is None:
        return None
    matches = pixels == key if pixels.ndim == 2 else (pixels == np.asarray(key)).all(axis=-1)
    return np.where(matches, 0, 65535).astype(np.uint16)


def _decode_8_bit(image: Image.Image, path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
    """Return (H, W) or (H, W, 3) uint8 in sRGB, alpha (H, W) uint8 or None, and the sRGB profile to embed or None."""
    profile = image.info.get('icc_profile')
    is_gray = image.mode in ('1', 'L', 'LA', 'La')
    alpha = None
    if image.has_transparency_data:
        image = image.convert('LA' if is_gray else 'RGBA')
        alpha = np.array(image.getchannel('A'))
    elif image.mode not in ('1', 'L', 'P', 'RGB', 'RGBX', 'YCbCr', 'CMYK'):
        raise ImageError(f"pixels of kind '{image.mode}' are not supported; save it as 8-bit or 16-bit RGB or gray")
    if is_gray:
        image = image if image.mode == 'L' else image.convert('L')
        pixels, profile = color_profile.gray_in_srgb(np.array(image), profile, path)
        return pixels, alpha, profile
    if image.mode not in ('RGB', 'CMYK'):
        image = image.convert('RGB')
    if profile:
        try:
            if image.mode == 'CMYK' or not color_profile.is_srgb(profile):
                image = color_profile.image_to_srgb(image, profile)
                profile = color_profile.srgb_profile()
        except ProfileError as error:
            logger.warning('%s: taken as sRGB, because %s', path, error)
            profile = None
    if image.mode == 'CMYK':
        image = image.convert('RGB')
    return np.array(image), alpha, profile or None
