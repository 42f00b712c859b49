"""The one writer of photographs: PNG, TIFF, JPEG and WebP with all that they carry."""

import io
import logging
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from dualattn.io.files import write_whole
from dualattn.io.photos import metadata
from dualattn.io.photos.photo import MAX_SIDE, ImageError, Photo, over_white, to_8_bit

logger = logging.getLogger(__name__)

JPEG_SIDE = 65_500  # pixels; what libjpeg takes
# By suffix, the format that `write_photo` writes.
WRITE_FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.webp': 'WEBP', '.tif': 'TIFF', '.tiff': 'TIFF'}


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
    with write_whole(path, overwrite) as aside:
        try:
            with open(aside, 'xb') as file:
                _encode(photo, kind, path, file)
        except (ValueError, SyntaxError) as error:  # SyntaxError: EXIF data that are none
            raise ImageError(f'{path}: cannot be written as {kind}: {error}') from error


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
        pixels, alpha = to_8_bit(pixels), None if alpha is None else to_8_bit(alpha)
    limit = {'JPEG': JPEG_SIDE, 'WEBP': 16_383}.get(kind, MAX_SIDE)
    if max(pixels.shape[:2]) > limit:
        raise ImageError(f'sides of at most {limit} pixels fit, the image has {pixels.shape[1]} x {pixels.shape[0]}')
    if kind == 'JPEG' and alpha is not None:
        logger.warning('%s: JPEG has no transparency, transparent parts become white; use png to keep them', path)
        pixels, alpha = over_white(pixels, alpha), None
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
