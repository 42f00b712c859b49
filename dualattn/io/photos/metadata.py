"""What a photograph file says beside its pixels: which entries survive colorization, and how each format holds them.

Kept are entries that stay true when the pixels are rewritten upright in sRGB: descriptions, rating, camera, dates,
place, resolution, comments and XMP. Strip offsets, sizes, thumbnails, maker notes (they hold offsets into the original
file) and IPTC records are left out.
"""

import logging
import math
import os
import re
import struct
import zlib

from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from dualattn.io.photos.photo import MAX_DPI

logger = logging.getLogger(__name__)

# What the decoders of images and of EXIF data raise on broken bytes (they have no common base class).
DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, EOFError),
    *(RuntimeError, struct.error, zlib.error),
)
_TAGS = ExifTags.Base
_KEPT_EXIF = (
    *(_TAGS.DocumentName, _TAGS.ImageDescription, _TAGS.Make, _TAGS.Model, _TAGS.PageName, _TAGS.Software),
    *(_TAGS.XResolution, _TAGS.YResolution, _TAGS.ResolutionUnit),
    *(_TAGS.DateTime, _TAGS.Artist, _TAGS.HostComputer, _TAGS.Copyright, _TAGS.Rating, _TAGS.RatingPercent),
    *(_TAGS.XPTitle, _TAGS.XPComment, _TAGS.XPAuthor, _TAGS.XPKeywords, _TAGS.XPSubject),
)
_DROPPED_EXIF = (
    *(_TAGS.ExifImageWidth, _TAGS.ExifImageHeight, _TAGS.ExifInteroperabilityOffset, _TAGS.MakerNote),
    _TAGS.ColorSpace,
)
_JPEG = ('JPEG', 'MPO')  # MPO: the JPEG of a phone or camera, with previews behind it
_IPTC_TAG = 33723  # of TIFF
_JPEG_SEGMENT = 65_533  # bytes that a JPEG holds in one segment
_XMP_HEADER = 29  # bytes of the name before an XMP packet in a JPEG


def read_exif(image: Image.Image, path: str | os.PathLike) -> tuple[int, bytes | None]:
    """Return the EXIF orientation and the EXIF entries that hold for a rewritten image, or None.

    Broken EXIF data are no reason to refuse a photograph: they are left out with a warning.
    """
    orientation, kept = 1, Image.Exif()
    try:
        source = image.getexif()
        orientation = source.get(_TAGS.Orientation, 1)
        for tag in _KEPT_EXIF:
            if tag in source:
                kept[tag] = source[tag]
        for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            entries = {tag: value for tag, value in source.get_ifd(group).items() if tag not in _DROPPED_EXIF}
            if entries:
                kept[group] = entries
        return orientation, kept.tobytes() if len(kept) else None
    except DECODER_ERRORS as error:
        logger.warning('%s: broken EXIF data are left out: %s', path, error)
        return orientation, None


def read_dpi(image: Image.Image, exif: bytes | None, orientation: int) -> tuple[float, float] | None:
    """Return the resolution of the upright image, across and down, in pixels per inch, where the file states one."""
    tags = load_exif(exif)
    unit = {2: 1.0, 3: 2.54}.get(tags.get(_TAGS.ResolutionUnit, 2))
    found = None
    if unit and _TAGS.XResolution in tags and _TAGS.YResolution in tags:
        found = [tags[_TAGS.XResolution], tags[_TAGS.YResolution]]
    elif image.format in ('PNG', 'BMP') or (image.format in _JPEG and image.info.get('jfif_unit') in (1, 2)):
        # of a JPEG without a density Pillow says 72, which nobody has stated
        found, unit = image.info.get('dpi'), 1.0
    try:
        dpi = tuple(round(float(value) * unit, 2) for value in found or ())
    except (TypeError, ValueError, ArithmeticError):
        return None
    if len(dpi) != 2 or not all(math.isfinite(value) and 1 <= value <= MAX_DPI for value in dpi):
        return None
    return dpi[::-1] if orientation in (5, 6, 7, 8) else dpi


def read_text(image: Image.Image) -> dict[str, str]:
    """Return the text chunks of a PNG, or the comment of a JPEG as 'Comment'; the pixels have to be loaded before."""
    if image.format == 'PNG':
        # ImageMagick hides EXIF data and profiles in texts, and XMP is one too
        hidden = ('Raw profile type', 'XML:com.adobe.xmp')
        return {str(name): str(text) for name, text in image.text.items() if not name.startswith(hidden)}
    comment = image.info.get('comment') if image.format in _JPEG else None
    if not comment:
        return {}
    try:
        return {'Comment': comment.decode('utf-8')}
    except UnicodeDecodeError:
        return {'Comment': comment.decode('latin-1')}


def read_xmp(image: Image.Image) -> bytes | None:
    """Return the XMP packet with its orientation, if it has one, set to upright."""
    xmp = image.info.get('xmp')
    if not isinstance(xmp, bytes) or not xmp:
        return None
    return re.sub(rb'(tiff:Orientation(?:=["\']|>))[0-9]', rb'\g<1>1', xmp)


def warn_of_iptc(image: Image.Image, path: str | os.PathLike) -> None:
    """Say it where a file has IPTC records, which are not written again."""
    resources = image.info.get('photoshop')
    if (isinstance(resources, dict) and 0x0404 in resources) or _IPTC_TAG in getattr(image, 'tag_v2', ()):
        logger.warning('%s: its IPTC records are left out', path)


def load_exif(exif: bytes | None) -> Image.Exif:
    """Return the entries of an EXIF block; none give an empty one."""
    entries = Image.Exif()
    if exif:
        entries.load(exif)
    return entries


def exif_with_dpi(exif: bytes | None, dpi: tuple[float, float] | None) -> Image.Exif:
    """Return the entries of an EXIF block with the resolution set to `dpi`, if that is given."""
    entries = load_exif(exif)
    if dpi is not None:
        entries[_TAGS.XResolution], entries[_TAGS.YResolution] = map(TiffImagePlugin.IFDRational, dpi)
        entries[_TAGS.ResolutionUnit] = 2  # inches
    return entries


def encode_exif(exif: bytes | None, dpi: tuple[float, float] | None) -> bytes:
    """Return an EXIF block that states the resolution, empty where there is nothing to state."""
    entries = exif_with_dpi(exif, dpi)
    return entries.tobytes() if len(entries) else b''


def png_texts(text: dict[str, str], xmp: bytes | None) -> PngImagePlugin.PngInfo:
    """Return texts and an XMP packet as chunks of a PNG."""
    chunks = PngImagePlugin.PngInfo()
    for name, value in text.items():
        chunks.add_text(name, value)  # a text beyond Latin-1 becomes an international one
    if xmp is not None:
        chunks.add_itxt('XML:com.adobe.xmp', xmp.decode('utf-8', 'replace'))
    return chunks


def jpeg_segments(exif: bytes, xmp: bytes | None, text: dict[str, str], path: str | os.PathLike) -> dict[str, bytes]:
    """Return what Pillow's JPEG writer takes, without what does not fit into a segment; that is said."""
    comment = text.get('Comment', '').encode()
    found = {}
    for name, key, data, limit in (
        ('EXIF data', 'exif', exif, _JPEG_SEGMENT),
        ('XMP data', 'xmp', xmp, _JPEG_SEGMENT - _XMP_HEADER),
        ('a comment', 'comment', comment, _JPEG_SEGMENT),
    ):
        if data and len(data) > limit:
            logger.warning('%s: %s of %d bytes do not fit into a JPEG and are left out', path, name, len(data))
        elif data:
            found[key] = data
    return found


def warn_of_text(text: dict[str, str], held: set[str], kind: str, path: str | os.PathLike) -> None:
    """Say which texts a format does not hold."""
    if lost := sorted(text.keys() - held):
        logger.warning('%s: %s holds no text chunks, left out: %s; use png to keep them', path, kind, ', '.join(lost))
