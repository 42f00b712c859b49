"""How long a film's file says that it is, which tells one that was cut off where its frames do not."""

import os
from pathlib import Path
from typing import BinaryIO

__all__ = ['measure_missing']

_EBML, _SEGMENT = b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67'


def measure_missing(path: str | os.PathLike) -> int:
    """Return how many bytes a file lacks at its end; 0 where it lacks none, or says nothing of its length.

    Matroska and WebM state it in the size of their segment, AVI in that of its RIFF chunk, MP4 and MOV in those of
    their boxes. MPEG streams, FLV and Ogg state nothing; nor does a Matroska file that was written as a stream.
    """
    length = Path(path).stat().st_size
    with open(path, 'rb') as file:
        head = file.read(12)
        if head.startswith(_EBML):
            end = _find_segment_end(file)
        elif head.startswith(b'RIFF') and head[8:] == b'AVI ':
            size = int.from_bytes(head[4:8], 'little')
            end = 0 if size == 0xFFFFFFFF else size  # without its own 8 bytes, which some writers leave out
        elif head[4:8] in (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip'):
            end = _find_boxes_end(file, length)
        else:
            end = 0
    return max(0, end - length)


def _find_segment_end(file: BinaryIO) -> int:
    """Return where a Matroska segment ends; 0 where it is open."""
    file.seek(4)
    size = _read_size(file)
    if size is None:
        return 0
    file.seek(size, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    size = _read_size(file)
    return 0 if size is None else file.tell() + size


def _read_size(file: BinaryIO) -> int | None:
    """Read an EBML number of 1 to 8 bytes, whose first 1 says how many; None for all ones, which is unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + file.read(more), 'big')
    return None if value == (1 << 7 * (more + 1)) - 1 else value


def _find_boxes_end(file: BinaryIO, length: int) -> int:
    """Return where the last of the boxes ends that stand one after the other."""
    place = 0
    while place + 8 <= length:
        file.seek(place)
        size = int.from_bytes(file.read(4), 'big')
        file.read(4)  # its name
        if size == 1:
            size = int.from_bytes(file.read(8), 'big')
        if size < 8:  # 0 goes to the end; less is no box
            return length
        place += size
    return place
