"""What a BigTIFF in big-endian order says beside its pixels, in the form of a TIFF: Pillow takes its header for one."""

import io
import struct
from typing import BinaryIO

_EXIF, _GPS, _INTEROPERABILITY = 34665, 34853, 40965
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_MAX_ENTRIES = 4096
_MAX_VALUE = 1 << 16  # bytes of a value; none that describes a photograph is longer
_LONG, _LONG8 = 4, (13, 16, 18)  # also pointers to directories


def exif_block(file: BinaryIO, offset: int) -> bytes:
    """Return the directory at an offset, with those of EXIF and GPS inside, as an EXIF block.

    Values that a TIFF has no type for, long ones and broken entries are left out.
    """
    return b'Exif\0\0MM\0*' + struct.pack('>I', 8) + _directory(file, offset, 8, depth=0)


def _directory(file: BinaryIO, offset: int, start: int, depth: int) -> bytes:
    """Return a directory of a TIFF, and what its entries point to, for the place `start`."""
    entries: list[tuple[int, int, int, bytes]] = []
    for code, kind, count, field in _read(file, offset):
        if code in (_EXIF, _GPS, _INTEROPERABILITY) and (kind in _LONG8 or kind == _LONG):
            if depth < 2:
                at = int.from_bytes(field[: 4 if kind in (_LONG, 13) else 8], 'big')
                entries.append((code, 0, 1, at.to_bytes(8, 'big')))
        elif kind in _TYPE_BYTES and _TYPE_BYTES[kind] * count <= _MAX_VALUE:
            size = _TYPE_BYTES[kind] * count
            value = field[:size]
            if size > 8:
                file.seek(int.from_bytes(field, 'big'))
                value = file.read(size)
            if len(value) == size:
                entries.append((code, kind, count, value))
    head, values = struct.pack('>H', len(entries)), b''
    behind = start + 2 + 12 * len(entries) + 4
    for code, kind, count, value in entries:
        at = behind + len(values)
        if kind == 0:  # a directory inside
            values += _directory(file, int.from_bytes(value, 'big'), at, depth + 1)
            head += struct.pack('>HHII', code, _LONG, 1, at)
        elif len(value) <= 4:
            head += struct.pack('>HHI', code, kind, count) + value.ljust(4, b'\0')
        else:
            values += value + bytes(len(value) % 2)
            head += struct.pack('>HHII', code, kind, count, at)
        values += bytes(len(values) % 2)
    return head + bytes(4) + values


def _read(file: BinaryIO, offset: int) -> list[tuple[int, int, int, bytes]]:
    """Return code, type, count and field of the entries of a directory, in the order of their codes."""
    file.seek(offset)
    (count,) = struct.unpack('>Q', file.read(8).ljust(8, b'\0'))
    data = io.BytesIO(file.read(20 * min(count, _MAX_ENTRIES)))
    found = []
    while len(entry := data.read(20)) == 20:
        code, kind, number = struct.unpack_from('>HHQ', entry)
        found.append((code, kind, number, entry[12:]))
    return sorted(found)
