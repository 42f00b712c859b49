"""What a photograph file says beside its pixels: which entries survive colorization, and how each format holds them.

Kept are entries that stay true when the pixels are rewritten upright in sRGB: descriptions, rating, camera, dates,
place, resolution, comments and XMP. Strip offsets, sizes, thumbnails and maker notes (they hold offsets into the
original file) are left out. IPTC records stand in iptc.py.
"""

import math
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin, TiffTags

from dualattn.io.photos import color_profile, iptc, xmp
from dualattn.io.photos.messages import warn
from dualattn.io.photos.photo import MAX_DPI

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
# entries without a type of their own (EXIF 3.0, 4.6.5 and 4.6.6), by the directory that they stand in
_UNDEFINED: dict[int, set[int]] = {
    ExifTags.IFD.Exif: {34856, 36864, 37121, 37510, 40960, 41484, 41728, 41729, 41730, 41995, 42082},
    ExifTags.IFD.GPSInfo: {27, 28},
}
_JPEG = ('JPEG', 'MPO')  # MPO: the JPEG of a phone or camera, with previews behind it
IPTC_TAG = 33723  # of TIFF
_JPEG_SEGMENT = 65_533  # bytes that a JPEG holds in one segment
_XMP_HEADER = 29  # bytes of the name before an XMP packet in a JPEG


def read_exif(image: Image.Image, path: str | os.PathLike) -> tuple[int, bytes | None]:
    """Return the EXIF orientation and the EXIF entries that hold for a rewritten image, or None; see `keep_exif`."""
    return keep_exif(image.getexif, path)


def keep_exif(load: Callable[[], Image.Exif], path: str | os.PathLike) -> tuple[int, bytes | None]:
    """Return the orientation and those entries that hold for a rewritten image, or None.

    Broken EXIF data are no reason to refuse a photograph: they are left out with a warning.

    Args:
        load: gives the entries of the file; what it raises is caught.
        path: what messages call the file.
    """
    orientation, kept = 1, Image.Exif()
    try:
        source = load()
        stated = source.get(_TAGS.Orientation, 1)
        orientation = stated if stated in range(1, 9) else 1
        for tag in _KEPT_EXIF:
            if tag in source:
                kept[tag] = _as_stored(source[tag])
        for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            entries = {tag: value for tag, value in source.get_ifd(group).items() if tag not in _DROPPED_EXIF}
            if entries:
                kept[group] = _as_stored(entries)
        return orientation, with_types(kept.tobytes()) if len(kept) else None
    except Exception as error:  # Pillow's reader raises what it likes on broken entries
        warn(path, 'broken EXIF data are left out: %s', error)
        return orientation, None


def dpi_of_exif(exif: bytes | None, orientation: int) -> tuple[float, float] | None:
    """Return the resolution that EXIF entries state for the upright image, in pixels per inch, or None."""
    tags = load_exif(exif)
    unit = {2: 1.0, 3: 2.54}.get(tags.get(_TAGS.ResolutionUnit, 2))
    if not unit or _TAGS.XResolution not in tags or _TAGS.YResolution not in tags:
        return None
    return _checked_dpi([tags[_TAGS.XResolution], tags[_TAGS.YResolution]], unit, orientation)


def read_dpi(image: Image.Image, exif: bytes | None, orientation: int) -> tuple[float, float] | None:
    """Return the resolution of the upright image, across and down, in pixels per inch, where the file states one."""
    tags = load_exif(exif)
    if _TAGS.XResolution in tags and _TAGS.YResolution in tags and tags.get(_TAGS.ResolutionUnit, 2) in (2, 3):
        return dpi_of_exif(exif, orientation)
    if image.format in ('PNG', 'BMP') or (image.format in _JPEG and image.info.get('jfif_unit') in (1, 2)):
        # of a JPEG without a density Pillow says 72, which nobody has stated
        return _checked_dpi(image.info.get('dpi'), 1.0, orientation)
    return None


def dpi_of_metre(found: tuple[float, float] | None, orientation: int) -> tuple[float, float] | None:
    """Return the resolution of the upright image from pixels per metre, None where no photograph has such a one."""
    return _checked_dpi(found, 0.0254, orientation)


def _checked_dpi(found: Sequence | None, unit: float, orientation: int) -> tuple[float, float] | None:
    try:
        dpi = tuple(round(float(value) * unit, 2) for value in found or ())
    except (TypeError, ValueError, ArithmeticError):
        return None
    if len(dpi) != 2 or not all(math.isfinite(value) and 1 <= value <= MAX_DPI for value in dpi):
        return None
    return dpi[::-1] if orientation in (5, 6, 7, 8) else dpi


def profile_of_exif(image: Image.Image) -> bytes | None:
    """Return the profile that a camera's file names without embedding it: Adobe RGB (DCF 2.0, 3.3.3), or None."""
    try:
        details = image.getexif().get_ifd(ExifTags.IFD.Exif)
        index = image.getexif().get_ifd(ExifTags.IFD.Interop).get(1)
        is_adobe = details.get(_TAGS.ColorSpace) == 2 or (details.get(_TAGS.ColorSpace) == 0xFFFF and index == 'R03')
    except Exception:  # broken entries have been warned of by `keep_exif`
        return None
    if not is_adobe or image.mode != 'RGB':
        return None
    return color_profile.matrix_profile((0.64, 0.33, 0.21, 0.71, 0.15, 0.06), gamma=2.19921875)


def read_text(image: Image.Image) -> dict[str, str]:
    """Return the text chunks of a PNG, or the comment of a JPEG as 'Comment'; the pixels have to be loaded before."""
    if image.format == 'PNG':
        # ImageMagick hides EXIF data and profiles in texts, and XMP is one too
        hidden = ('Raw profile type', 'XML:com.adobe.xmp')
        return {
            str(name): str(text) for name, text in getattr(image, 'text', {}).items() if not name.startswith(hidden)
        }
    comment = image.info.get('comment') if image.format in _JPEG else None
    if not comment:
        return {}
    try:
        return {'Comment': comment.decode('utf-8')}
    except UnicodeDecodeError:
        return {'Comment': comment.decode('latin-1')}


def read_xmp(image: Image.Image) -> bytes | None:
    """Return the XMP packet of an image that Pillow has opened; see `xmp.upright`."""
    return xmp.upright(image.info.get('xmp'))


def load_exif(exif: bytes | None) -> Image.Exif:
    """Return the entries of an EXIF block; none give an empty one."""
    entries = Image.Exif()
    if exif:
        entries.load(exif)
    return entries


def exif_with_dpi(exif: bytes | None, dpi: tuple[float, float] | None) -> Image.Exif:
    """Return the entries of an EXIF block, ready to be written, with the resolution set to `dpi`, if that is given."""
    entries = load_exif(exif)
    for tag in list(entries):
        entries[tag] = _as_stored(entries.get_ifd(tag) if tag in _UNDEFINED else entries[tag])
    if dpi is not None:
        entries[_TAGS.XResolution], entries[_TAGS.YResolution] = map(TiffImagePlugin.IFDRational, dpi)
        entries[_TAGS.ResolutionUnit] = 2  # inches
    return entries


def encode_exif(exif: bytes | None, dpi: tuple[float, float] | None) -> bytes:
    """Return an EXIF block that states the resolution, empty where there is nothing to state."""
    entries = exif_with_dpi(exif, dpi)
    return with_types(entries.tobytes()) if len(entries) else b''


class _Text(str):
    """A text that Pillow has read as Latin-1 and would write as ASCII: the bytes that it came from, UTF-8 mostly."""

    __slots__ = ()

    def encode(self, encoding: str = 'utf-8', errors: str = 'strict') -> bytes:
        """Return the bytes as they were read, whatever the writer asks for."""
        return str.encode(self, 'latin-1' if all(ord(letter) < 256 for letter in self) else 'utf-8')


def _as_stored(value: Any) -> Any:
    """Return the value of an entry, or of all entries of a directory, so that texts are written as they were read."""
    if isinstance(value, dict):
        return {tag: _as_stored(each) for tag, each in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_as_stored, value))
    return _Text(value) if isinstance(value, str) else value


def with_types(block: bytes) -> bytes:
    """Return an EXIF block, or the head of a TIFF, whose entries without a type say so: Pillow calls them numbers."""
    data = bytearray(block)
    start = 6 if block.startswith(b'Exif') else 0
    order = '<' if data[start : start + 2] == b'II' else '>'

    def walk(at: int, undefined: set[int], groups: dict[int, set[int]]) -> None:
        at += start
        (count,) = struct.unpack_from(f'{order}H', data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f'{order}HHII', data, entry)
            if kind == TiffTags.BYTE and tag in undefined:
                struct.pack_into(f'{order}H', data, entry + 2, TiffTags.UNDEFINED)
            elif tag in groups and kind == TiffTags.LONG:
                walk(value, groups[tag], {})  # what a broken file says inside of one is no pointer

    walk(struct.unpack_from(f'{order}I', data, start + 4)[0], set(), _UNDEFINED)
    return bytes(data)


def png_texts(text: dict[str, str], packet: bytes | None, records: bytes | None) -> PngImagePlugin.PngInfo:
    """Return texts, an XMP packet and IPTC records as chunks of a PNG."""
    chunks = PngImagePlugin.PngInfo()
    for name, value in text.items():
        chunks.add_text(name, value)  # a text beyond Latin-1 becomes an international one
    if packet is not None:
        chunks.add_itxt('XML:com.adobe.xmp', packet.decode('utf-8', 'replace'))
    if records is not None:
        chunks.add(b'zTXt', iptc.png_chunk(records))
    return chunks


def jpeg_segments(exif: bytes, packet: bytes | None, text: dict[str, str], path: str | os.PathLike) -> dict[str, bytes]:
    """Return what Pillow's JPEG writer takes, without what does not fit into a segment; that is said."""
    comment = text.get('Comment', '').encode()
    limit = _JPEG_SEGMENT - _XMP_HEADER
    if packet is not None and len(packet) > limit and (own := xmp.added(packet, limit)) is not None:
        warn(path, 'XMP data of %d bytes do not fit into a JPEG, but for what was added to them', len(packet))
        packet = own
    found = {}
    for name, key, data, most in (
        ('EXIF data', 'exif', exif, _JPEG_SEGMENT),
        ('XMP data', 'xmp', packet, limit),
        ('a comment', 'comment', comment, _JPEG_SEGMENT),
    ):
        if data and len(data) > most:
            warn(path, '%s of %d bytes do not fit into a JPEG and are left out', name, len(data))
        elif data:
            found[key] = data
    return found


def warn_of_text(text: dict[str, str], held: set[str], kind: str, path: str | os.PathLike) -> None:
    """Say which texts a format does not hold."""
    if lost := sorted(text.keys() - held):
        warn(path, '%s holds no text chunks, left out: %s; use png to keep them', kind, ', '.join(lost))
