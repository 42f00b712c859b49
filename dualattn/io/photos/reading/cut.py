"""Files that are cut: in which part, how much is missing, and what decoders can be given in their place.

Containers state how long their parts are. Where a part beside the pixels is cut, it is left out; where the compressed
pixels are, zeros in place of the missing bytes let a decoder give what stands before them.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass

from dualattn.io.photos.photo import ImageError
from dualattn.io.photos.reading.source import Source

_MOST = 1 << 28  # bytes that are filled up; a damaged length can state any number


@dataclass(frozen=True)
class Cut:
    """Where a file ends too early.

    Attributes:
        name: of the part that is cut.
        start: where that part begins.
        missing: bytes up to its end.
    """

    name: str
    start: int
    missing: int


def find_cut_box(data: bytes) -> Cut | None:
    """Return where a file of boxes (ISO 14496-12, JPEG 2000, JPEG XL) is cut, None for a whole one."""
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from('>I4s', data, at)
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from('>Q', data, at + 8)
        if size < 8:  # 0 is a box up to the end, wherever that is; others are nonsense
            return None
        if at + size > len(data):
            return Cut(name.decode('latin-1').strip(), at, at + size - len(data))
        at += size
    return Cut('of no name', at, 8 - (len(data) - at)) if at < len(data) else None


def find_cut_chunk(data: bytes) -> Cut | None:
    """Return where a RIFF file is cut, None for a whole one."""
    (size,) = struct.unpack_from('<I', data, 4)
    end, at = 8 + size, 12
    if len(data) >= end:
        return None
    while at + 8 <= len(data):
        name, size = struct.unpack_from('<4sI', data, at)
        if at + 8 + size > len(data):
            return Cut(name.decode('latin-1').strip(), at, end - len(data))
        at += 8 + size + size % 2
    return Cut('of no name', min(at, len(data)), end - len(data))


def mend(source: Source, data: bytes, cut: Cut | None, pixels: Collection[str]) -> bytes:
    """Return a file that decoders take: without a cut part beside the pixels, or with zeros for the missing ones.

    Args:
        source: where it comes from; what is missing is said.
        data: the whole file.
        cut: where it is cut.
        pixels: names of the parts that the pixels, or how they are stored, stand in.

    Raises:
        ImageError: pixels are missing, and the source does not allow that.
    """
    if cut is None:
        return data
    if cut.name not in pixels:
        source.warn('the file is cut in its part %s, which is left out; its pixels are whole', ascii(cut.name))
        return data[: cut.start]
    refuse(source, f'{cut.missing} of {len(data) + cut.missing} bytes are missing')
    if cut.missing > _MOST:
        raise ImageError('no file is so large')
    return data + bytes(cut.missing)


def refuse(source: Source, reason: str) -> None:
    """Refuse a file of which pixels are missing, or say it where that is allowed."""
    if not source.allow_truncated:
        raise ImageError(f'the file is truncated: {reason}; --allow-truncated takes what is there')
    source.lack = reason
    source.warn('damaged: %s, parts of the image are wrong', reason)
