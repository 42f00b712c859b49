"""The one reader and writer of image files: photographs with all they carry, plain RGB for data sets, input lists.

What is in a file decides how it is read, never its name. Everything is brought to sRGB and upright here, so that no
other module knows EXIF orientation, palettes, CMYK or colour profiles. A PNG's `gAMA` chunk is not read.
"""

import glob
import io
import logging
import os
import struct
import uuid
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from colorization import color_profile, metadata
from colorization.color_profile import ProfileError

logger = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000
MAX_SIDE = 65_535  # pixels; the limit of JPEG, and no scanner makes more
JPEG_SIDE = 65_500  # pixels; what libjpeg takes
# Suffixes that a folder is searched for. A file named by the user is read whatever it is called.
IMAGE_SUFFIXES = frozenset(
    ['.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.apng', '.webp', '.tif', '.tiff', '.bmp', '.gif', '.jp2', '.avif']
    + ['.ppm', '.pgm', '.pbm', '.pnm']
)
# By suffix, the format that `write_photo` writes.
WRITE_FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.webp': 'WEBP', '.tif': 'TIFF', '.tiff': 'TIFF'}
# Raster formats that Pillow decodes by itself. Left out on purpose: EPS and PDF would start Ghostscript, and formats
# without a signature (TGA) would take any file for an image.
_READ_FORMATS = ('JPEG', 'PNG', 'TIFF', 'WEBP', 'BMP', 'GIF', 'PPM', 'JPEG2000', 'AVIF')
_DECODER_ERRORS = (*metadata.DECODER_ERRORS, cv2.error, Image.DecompressionBombError)
_TIFF_SIGNATURES = (b'II*\0', b'MM\0*')


class ImageError(ValueError):
    """An image that cannot be read or written; the message names the file and the reason."""


@dataclass
class Photo:
    """An upright photograph in sRGB with what has to survive colorization.

    Attributes:
        pixels: (H, W) gray or (H, W, 3) RGB; uint8 in [0, 255] or uint16 in [0, 65535], sRGB-coded.
        alpha: (H, W) of the same type as pixels, 0 is transparent; None for an opaque photograph.
        exif: an EXIF block without orientation, sizes, thumbnail and maker note.
        icc_profile: an sRGB profile to embed, present where the source carried a profile of its own.
        dpi: resolution across and down in pixels per inch, from 1 to 65535; None where nothing states one.
        text: by keyword, the text chunks of a PNG; the comment of a JPEG is 'Comment'.
        xmp: an XMP packet that does not ask for a rotation.

    Raises:
        TypeError: pixels or alpha are neither uint8 nor uint16, or differ.
        ValueError: a shape or the resolution is wrong.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    exif: bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: dict[str, str] = field(default_factory=dict)
    xmp: bytes | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype not in (np.uint8, np.uint16):
            raise TypeError(f'pixels must be uint8 or uint16, got {self.pixels.dtype}; scale floats to one of them')
        if self.pixels.ndim not in (2, 3) or self.pixels.shape[2:] not in ((), (3,)) or 0 in self.pixels.shape:
            raise ValueError(f'pixels must be (H, W) or (H, W, 3) and not empty, got {self.pixels.shape}')
        if self.alpha is not None and self.alpha.dtype != self.pixels.dtype:
            raise TypeError(f'alpha must be {self.pixels.dtype} as the pixels are, got {self.alpha.dtype}')
        if self.alpha is not None and self.alpha.shape != self.pixels.shape[:2]:
            raise ValueError(f'alpha must be {self.pixels.shape[:2]}, got {self.alpha.shape}')
        if self.dpi is not None and not all(1 <= value <= metadata.MAX_DPI for value in self.dpi):
            raise ValueError(f'dpi must be two numbers from 1 to {metadata.MAX_DPI}, got {self.dpi}')

    @property
    def bit_depth(self) -> int:
        """8 or 16 bits per channel."""
        return 8 * self.pixels.itemsize

    @property
    def rgb(self) -> np.ndarray:
        """The pixels as (H, W, 3), gray repeated."""
        return _with_three_channels(self.pixels)


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
        pixels = np.ascontiguousarray(_upright(pixels, orientation))
        alpha = None if alpha is None else _upright(alpha, orientation)
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
            pixels, alpha = _to_8_bit(pixels), None if alpha is None else _to_8_bit(alpha)
        else:
            pixels, alpha, _ = _decode_8_bit(image, path)
        pixels = _with_three_channels(pixels)
        if alpha is not None:
            pixels = _over_white(pixels, alpha)
        return np.ascontiguousarray(_upright(pixels, orientation))


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


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (1 to 8; anything else counts as 1) on (H, W, ...)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _with_three_channels(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _to_8_bit(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _over_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Lay (H, W, 3) uint8 with alpha (H, W) uint8 over white."""
    weight = alpha[..., None].astype(np.uint16)
    return ((pixels * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)


def write_photo(photo: Photo, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Write a photograph as RGB in the format that the suffix names, whole or not at all.

    PNG and TIFF keep 16 bits and alpha, WebP keeps alpha at 8 bits; JPEG (quality 95, 4:4:4) has neither, so
    transparent parts are laid over white there. EXIF, resolution, XMP and the sRGB profile go into each format, texts
    into PNG, the one named 'Comment' into JPEG as well.

    Raises:
        ImageError: the suffix is unknown or the image does not fit the format.
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the folder is missing or cannot be written.
    """
    path = Path(path)
    kind = WRITE_FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(f"{path}: suffix '{path.suffix}' cannot be written, use one of {', '.join(WRITE_FORMATS)}")
    if not overwrite and path.exists():
        raise FileExistsError(f'{path} exists; remove it or allow overwriting')
    # Short and hidden: a name that is just within the limit of the file system must not become too long, and an
    # interrupted run must not leave what looks like a photograph.
    temporary = path.with_name(f'.{uuid.uuid4().hex}.tmp')
    try:
        with open(temporary, 'xb') as file:
            _encode(photo, kind, path, file)
        os.replace(temporary, path)
    except (ValueError, SyntaxError) as error:  # SyntaxError: EXIF data that are none
        raise ImageError(f'{path}: cannot be written as {kind}: {error}') from error
    except OSError as error:
        raise OSError(f'{path}: cannot be written: {error.strerror or error}; choose another output') from error
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def _encode(photo: Photo, kind: str, path: Path, file: io.BufferedWriter) -> None:
    pixels, alpha = photo.rgb, photo.alpha
    if kind != 'PNG':
        metadata.warn_of_text(photo.text, {'Comment'} if kind == 'JPEG' else set(), kind, path)
    if kind == 'TIFF':
        _encode_tiff(photo, file)
        return
    if kind == 'PNG' and photo.bit_depth == 16:
        file.write(_png_16_bit(photo))
        return
    if photo.bit_depth == 16:
        logger.warning('%s: %s holds 8 of the 16 bits; use png or tiff to keep them', path, kind)
        pixels, alpha = _to_8_bit(pixels), None if alpha is None else _to_8_bit(alpha)
    limit = {'JPEG': JPEG_SIDE, 'WEBP': 16_383}.get(kind, MAX_SIDE)
    if max(pixels.shape[:2]) > limit:
        raise ImageError(f'sides of at most {limit} pixels fit, the image has {pixels.shape[1]} x {pixels.shape[0]}')
    if kind == 'JPEG' and alpha is not None:
        logger.warning('%s: JPEG has no transparency, transparent parts become white; use png to keep them', path)
        pixels, alpha = _over_white(pixels, alpha), None
    image = Image.fromarray(pixels if alpha is None else np.dstack([pixels, alpha]))
    # a WebP has no other place for the resolution than EXIF; with EXIF data the two must agree
    exif = metadata.encode_exif(photo.exif, photo.dpi if photo.exif or kind == 'WEBP' else None)
    options = {'icc_profile': photo.icc_profile}
    if kind == 'JPEG':
        options |= dict(quality=95, subsampling=0, **metadata.jpeg_segments(exif, photo.xmp, photo.text, path))
    elif kind == 'WEBP':
        options |= dict(quality=95, exif=exif, xmp=photo.xmp or b'')
    else:
        options |= dict(compress_level=4, exif=exif, pnginfo=metadata.png_texts(photo.text, photo.xmp))
    if kind != 'WEBP' and photo.dpi is not None:
        options['dpi'] = photo.dpi
    image.save(file, kind, **options)


def _png_16_bit(photo: Photo) -> bytes:
    """Encode 16-bit pixels through OpenCV (Pillow has no such mode) and insert what goes with them as PNG chunks."""
    bgr = photo.rgb[..., ::-1] if photo.alpha is None else np.dstack([photo.rgb[..., ::-1], photo.alpha])
    done, encoded = cv2.imencode('.png', np.ascontiguousarray(bgr))
    if not done:
        raise ImageError('OpenCV could not encode it')
    encoded, chunks = encoded.tobytes(), b''
    payloads = []
    if photo.icc_profile is not None:
        payloads.append((b'iCCP', b'sRGB\0\0' + zlib.compress(photo.icc_profile)))  # name, end of name, method 0
    if photo.dpi is not None:
        payloads.append((b'pHYs', struct.pack('>IIB', *(round(value / 0.0254) for value in photo.dpi), 1)))  # 1: metre
    if photo.exif is not None:
        payloads.append((b'eXIf', metadata.encode_exif(photo.exif, photo.dpi).removeprefix(b'Exif\0\0')))
    payloads += [chunk[:2] for chunk in metadata.png_texts(photo.text, photo.xmp).chunks]
    for name, payload in payloads:
        chunks += struct.pack('>I', len(payload)) + name + payload + struct.pack('>I', zlib.crc32(name + payload))
    header = 8 + 25  # signature and IHDR, which stand first; the chunks must come before the pixels
    return encoded[:header] + chunks + encoded[header:]


def _encode_tiff(photo: Photo, file: io.BufferedWriter) -> None:
    """Write an uncompressed TIFF of 8 or 16 bits: one directory through Pillow, then the pixels as one strip."""
    pixels = photo.rgb
    if photo.alpha is not None:
        pixels = np.dstack([pixels, photo.alpha])
    height, width, channels = pixels.shape
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    exif = metadata.exif_with_dpi(photo.exif, photo.dpi)
    for tag in exif:
        directory[tag] = exif.get_ifd(tag) if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) else exif[tag]
    if photo.xmp is not None:
        directory[TiffImagePlugin.XMP] = photo.xmp
    directory[TiffImagePlugin.IMAGEWIDTH] = width
    directory[TiffImagePlugin.IMAGELENGTH] = height
    directory[TiffImagePlugin.BITSPERSAMPLE] = (photo.bit_depth,) * channels
    directory[TiffImagePlugin.COMPRESSION] = 1  # none
    directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 2  # RGB
    directory[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    directory[TiffImagePlugin.PLANAR_CONFIGURATION] = 1  # interleaved
    if channels == 4:
        directory[TiffImagePlugin.EXTRASAMPLES] = 2  # alpha that is not multiplied into the colours
    directory[TiffImagePlugin.ROWSPERSTRIP] = height
    directory[TiffImagePlugin.STRIPBYTECOUNTS] = pixels.nbytes
    directory[TiffImagePlugin.STRIPOFFSETS] = 0  # relative to the end of the directory; Pillow adds where that is
    if photo.icc_profile is not None:
        directory[TiffImagePlugin.ICCPROFILE] = photo.icc_profile
    directory.save(file)
    file.write(np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder('<')).data)


def list_images(inputs: Iterable[str | os.PathLike], recursive: bool = False) -> list[Path]:
    """Return the files that paths, folders and glob patterns name, in a stable order and each once.

    A file is taken whatever its suffix. A folder gives its files with one of `IMAGE_SUFFIXES`, without hidden ones;
    with `recursive`, those of its subfolders too. A pattern (`*`, `?`, `[...]`, `**`) gives all files that match it.

    Raises:
        FileNotFoundError: an input names nothing; the message says what was looked for.
    """
    found: dict[str, Path] = {}
    for item in inputs:
        name = os.fspath(item)
        if os.path.isdir(name):
            paths = sorted(_walk(name, recursive))
            wanted = f'a folder with images in it{"" if recursive else " itself, not in its subfolders"}'
        elif os.path.exists(name):  # before patterns: a name may hold brackets
            paths, wanted = [name], ''
        elif glob.has_magic(name):
            paths = sorted(path for path in glob.glob(name, recursive=True) if os.path.isfile(path))
            wanted = 'files that match this pattern'
        else:
            paths, wanted = [], 'a file or a folder'
        if not paths:
            raise FileNotFoundError(
                f'{name or repr(name)}: nothing found, expected {wanted} (suffixes: {" ".join(sorted(IMAGE_SUFFIXES))})'
            )
        for path in paths:
            found.setdefault(os.path.abspath(path), Path(path))
    return list(found.values())


def _walk(folder: str, recursive: bool) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith('.')]
        for name in names:
            if not name.startswith('.') and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                yield os.path.join(parent, name)
