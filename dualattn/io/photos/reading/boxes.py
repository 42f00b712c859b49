"""Boxes of ISO base media files (ISO 14496-12) and JPEG 2000 (ISO 15444-1, annex I): AVIF, HEIF, JP2, JPEG XL."""

import struct
from collections.abc import Iterator

_MAX_BOXES = 10_000
_CONTAINERS = {b'jp2h', b'iprp', b'ipco', b'res '}
_FULL = {b'meta'}  # containers that open with a version and flags


def walk(data: bytes, start: int = 0, end: int | None = None, depth: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, content) of the boxes in a file and in those boxes that hold the description of an image."""
    end = len(data) if end is None else end
    at, count = start, 0
    while at + 8 <= end and count < _MAX_BOXES:
        size, name = struct.unpack_from('>I4s', data, at)
        head = 8
        if size == 1 and at + 16 <= end:
            (size,), head = struct.unpack_from('>Q', data, at + 8), 16
        elif size == 0:
            size = end - at
        if size < head:
            return
        inside, stop = at + head, min(end, at + size)
        if (name in _CONTAINERS or name in _FULL) and depth < 5:
            yield from walk(data, inside + (4 if name in _FULL else 0), stop, depth + 1)
        else:
            yield name, data[inside:stop]
        at, count = at + size, count + 1


def nclx(boxes: list[tuple[bytes, bytes]]) -> tuple[int, int] | None:
    """Return primaries and transfer of ITU-T H.273 that a colour box states, or None."""
    for name, body in boxes:
        if name == b'colr' and body[:4] == b'nclx' and len(body) >= 8:
            return struct.unpack_from('>HH', body, 4)
    return None


def icc_profile(boxes: list[tuple[bytes, bytes]]) -> bytes | None:
    """Return the ICC profile that a colour box of AVIF or HEIF holds, or None."""
    for name, body in boxes:
        if name == b'colr' and body[:4] in (b'prof', b'rICC'):
            return body[4:]
    return None
