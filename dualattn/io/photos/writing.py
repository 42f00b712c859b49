"""The one writer of photographs: PNG, TIFF, JPEG and WebP with all that they carry."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image, TiffImagePlugin

from dualattn.io.files import write_whole
from dualattn.io.photos import iptc, metadata, xmp
from dualattn.io.photos.messages import printable, warn
from dualattn.io.photos.photo import MAX_SIDE, ImageError, Photo, over_white, to_8_bit

JPEG_SIDE = 65_500  # pixels; what libjpeg takes
QUALITY = 95  # of JPEG and WebP
# By suffix, the format that `write_photo` writes.
WRITE_FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.webp': 'WEBP', '.tif': 'TIFF', '.tiff': 'TIFF'}
# By name, the TIFF compressions that are written: their number in the standard.
TIFF_COMPRESSIONS = {'none': 1, 'lzw': 5, 'deflate': 8}
_STRIP_BYTES = 1 << 20  # of a compressed TIFF
_IPTC_TYPE = 7  # bytes without a meaning to TIFF


def write_photo(
    photo: Photo,
    path: str | os.PathLike,
    overwrite: bool = False,
    *,
    quality: int = QUALITY,
    tiff_compression: str = 'none',
) -> None:
    """Write a photograph as RGB in the format that the suffix names, whole or not at all.

    PNG and TIFF keep 16 bits and alpha, WebP keeps alpha at 8 bits; JPEG (4:4:4) has neither, so transparent parts are
    laid over white there. EXIF, resolution, XMP and the sRGB profile go into each format, texts into PNG, the one named
    'Comment' into JPEG as well. IPTC records go into JPEG, TIFF and PNG byte for byte, and what they say into the XMP
    of each format, where that does not say something else already.

    Args:
        photo: what is written.
        path: the file; its suffix is one of `WRITE_FORMATS`.
        overwrite: replace a file that exists.
        quality: of JPEG and WebP, from 1 to 100.
        tiff_compression: one of `TIFF_COMPRESSIONS`; all are lossless.

    Raises:
        ImageError: the suffix is unknown or the image does not fit the format.
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the folder is missing or cannot be written.
        ValueError: another quality or compression.
    """
    path = Path(path)
    kind = WRITE_FORMATS.get(path.suffix.lower())
    if not 1 <= quality <= 100:
        raise ValueError(f'quality must be from 1 to 100, got {quality}')
    if tiff_compression not in TIFF_COMPRESSIONS:
        raise ValueError(f'tiff_compression must be one of {", ".join(TIFF_COMPRESSIONS)}, got {tiff_compression!r}')
    if kind is None:
        allowed = ', '.join(WRITE_FORMATS)
        raise ImageError(f"{printable(path)}: suffix '{path.suffix}' cannot be written, use one of {allowed}")
    with write_whole(path, overwrite) as aside:
        try:
            with open(aside, 'xb') as file:
                _encode(photo, kind, path, file, quality, TIFF_COMPRESSIONS[tiff_compression])
        except (ValueError, SyntaxError, RuntimeError) as error:  # SyntaxError: EXIF data that are none
            raise ImageError(f'{printable(path)}: cannot be written as {kind}: {error}') from error


def _encode(photo: Photo, kind: str, path: Path, file: io.BufferedWriter, quality: int, compression: int) -> None:
    pixels, alpha = photo.rgb, photo.alpha
    packet = photo.xmp
    if photo.iptc is not None:
        packet = xmp.add(packet, iptc.properties(photo.iptc))
        if kind == 'WEBP':
            warn(path, 'WEBP holds no IPTC records, what they say stands in its XMP; use jpg, tif or png to keep them')
    if kind != 'PNG':
        metadata.warn_of_text(photo.text, {'Comment'} if kind == 'JPEG' else set(), kind, path)
    if kind == 'TIFF':
        _encode_tiff(photo, packet, file, compression)
        return
    if kind == 'PNG' and photo.bit_depth == 16:
        file.write(_png_16_bit(photo, packet))
        return
    if photo.bit_depth == 16:
        warn(path, '%s holds 8 of the 16 bits; use png or tiff to keep them', kind)
        pixels, alpha = to_8_bit(pixels), None if alpha is None else to_8_bit(alpha)
    limit = {'JPEG': JPEG_SIDE, 'WEBP': 16_383}.get(kind, MAX_SIDE)
    if max(pixels.shape[:2]) > limit:
        raise ImageError(f'sides of at most {limit} pixels fit, the image has {pixels.shape[1]} x {pixels.shape[0]}')
    if kind == 'JPEG' and alpha is not None:
        warn(path, 'JPEG has no transparency, transparent parts become white; use png to keep them')
        pixels, alpha = over_white(pixels, alpha), None
    image = Image.fromarray(pixels if alpha is None else np.dstack([pixels, alpha]))
    # a WebP has no other place for the resolution than EXIF; with EXIF data the two must agree
    exif = metadata.encode_exif(photo.exif, photo.dpi if photo.exif or kind == 'WEBP' else None)
    options: dict[str, Any] = {'icc_profile': photo.icc_profile}
    if kind == 'JPEG':
        segments = metadata.jpeg_segments(exif, packet, photo.text, path)
        options |= dict(quality=quality, subsampling=0, **segments)
    elif kind == 'WEBP':
        options |= dict(quality=quality, exif=exif, xmp=packet or b'')
    else:
        options |= dict(compress_level=4, exif=exif, pnginfo=metadata.png_texts(photo.text, packet, photo.iptc))
    if kind != 'WEBP' and photo.dpi is not None:
        options['dpi'] = photo.dpi
    # through memory: to a disk that is full Pillow's encoders write a part, and take it for the whole
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    data = buffer.getvalue()
    if kind == 'JPEG' and photo.iptc is not None:
        data = _with_segments(data, iptc.jpeg_segments(photo.iptc))
    file.write(data)


def _with_segments(data: bytes, segments: bytes) -> bytes:
    """Return a JPEG with further segments behind its JFIF, EXIF and XMP."""
    at = 2
    while data[at] == 0xFF and data[at + 1] in (0xE0, 0xE1):
        at += 2 + struct.unpack_from('>H', data, at + 2)[0]
    return data[:at] + segments + data[at:]


def _png_16_bit(photo: Photo, packet: bytes | None) -> bytes:
    """Encode 16-bit pixels by libpng (Pillow has no such mode) and insert what goes with them as PNG chunks."""
    pixels = photo.rgb if photo.alpha is None else np.dstack([photo.rgb, photo.alpha])
    encoded, chunks = imagecodecs.png_encode(np.ascontiguousarray(pixels), level=4), b''
    payloads = []
    if photo.icc_profile is not None:
        payloads.append((b'iCCP', b'sRGB\0\0' + zlib.compress(photo.icc_profile)))  # name, end of name, method 0
    if photo.dpi is not None:
        payloads.append((b'pHYs', struct.pack('>IIB', *(round(value / 0.0254) for value in photo.dpi), 1)))  # 1: metre
    if photo.exif is not None:
        payloads.append((b'eXIf', metadata.encode_exif(photo.exif, photo.dpi).removeprefix(b'Exif\0\0')))
    payloads += [chunk[:2] for chunk in metadata.png_texts(photo.text, packet, photo.iptc).chunks]
    for name, payload in payloads:
        chunks += struct.pack('>I', len(payload)) + name + payload + struct.pack('>I', zlib.crc32(name + payload))
    header = 8 + 25  # signature and IHDR, which stand first; the chunks must come before the pixels
    return bytes(encoded[:header] + chunks + encoded[header:])


def _encode_tiff(photo: Photo, packet: bytes | None, file: io.BufferedWriter, compression: int) -> None:
    """Write a TIFF of 8 or 16 bits: one directory through Pillow, then the pixels as strips."""
    pixels = photo.rgb
    if photo.alpha is not None:
        pixels = np.dstack([pixels, photo.alpha])
    height, width, channels = pixels.shape
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    exif = metadata.exif_with_dpi(photo.exif, photo.dpi)
    for tag in exif:
        directory[tag] = exif[tag]
    if packet is not None:
        directory[TiffImagePlugin.XMP] = packet
    if photo.iptc is not None:
        directory.tagtype[metadata.IPTC_TAG] = _IPTC_TYPE
        directory[metadata.IPTC_TAG] = photo.iptc
    pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder('<'))
    strips: list[bytes | memoryview] = [pixels.data]
    rows = height
    if compression != TIFF_COMPRESSIONS['none']:
        rows = max(1, _STRIP_BYTES // (pixels.nbytes // height))
        strips = [_compressed(pixels[top : top + rows], compression) for top in range(0, height, rows)]
        directory[TiffImagePlugin.PREDICTOR] = 2  # differences to the left
    directory[TiffImagePlugin.IMAGEWIDTH] = width
    directory[TiffImagePlugin.IMAGELENGTH] = height
    directory[TiffImagePlugin.BITSPERSAMPLE] = (photo.bit_depth,) * channels
    directory[TiffImagePlugin.COMPRESSION] = compression
    directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 2  # RGB
    directory[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    directory[TiffImagePlugin.PLANAR_CONFIGURATION] = 1  # interleaved
    if channels == 4:
        directory[TiffImagePlugin.EXTRASAMPLES] = 2  # alpha that is not multiplied into the colours
    directory[TiffImagePlugin.ROWSPERSTRIP] = rows
    sizes = [memoryview(strip).nbytes for strip in strips]
    directory[TiffImagePlugin.STRIPBYTECOUNTS] = tuple(sizes)
    # relative to the end of the directory; Pillow adds where that is
    directory[TiffImagePlugin.STRIPOFFSETS] = tuple(sum(sizes[:index]) for index in range(len(sizes)))
    if photo.icc_profile is not None:
        directory[TiffImagePlugin.ICCPROFILE] = photo.icc_profile
    head = io.BytesIO()
    directory.save(head)
    file.write(metadata.with_types(head.getvalue()))
    for strip in strips:
        file.write(strip)


def _compressed(rows: np.ndarray, compression: int) -> bytes:
    """Return (H, W, C) rows as differences to their left neighbours, compressed."""
    start = np.zeros((len(rows), 1, rows.shape[2]), rows.dtype)
    differences = np.diff(rows, axis=1, prepend=start).astype(rows.dtype, copy=False)
    data = np.ascontiguousarray(differences).tobytes()
    return (
        zlib.compress(data, 6) if compression == TIFF_COMPRESSIONS['deflate'] else bytes(imagecodecs.lzw_encode(data))
    )
