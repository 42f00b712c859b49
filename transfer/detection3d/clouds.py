"""Point clouds whose files name their columns: .pcd of the Point Cloud Library, and .ply."""

import io
import struct
from pathlib import Path

import numpy as np

from dualattn.engine import DataError

__all__ = ['decompress_lzf', 'is_named', 'read_columns', 'read_fields']

# what detectors read, in their order, and the names that sensors and tools give to it
_COLUMNS = (
    ('x', ('x',)),
    ('y', ('y',)),
    ('z', ('z',)),
    (
        'intensity',
        ('intensity', 'i', 'intensities', 'reflectivity', 'reflectance', 'remission', 'scalar_intensity'),
    ),
    ('ring', ('ring', 'channel', 'laser_id', 'line', 'scalar_ring')),
)
_PCD_TYPES = {'F': 'f', 'I': 'i', 'U': 'u'}
_MAX_POINTS = 50_000_000


def is_named(path: str | Path, data: bytes) -> bool:
    """Tell whether a file is a .pcd or .ply, by its first bytes; its name has no say."""
    return data.startswith((b'ply\n', b'ply\r')) or _begins_pcd(data)


def _begins_pcd(data: bytes) -> bool:
    start = data[:200].lstrip()
    return start.startswith((b'# .PCD', b'#.PCD', b'VERSION ', b'FIELDS '))


def read_columns(data: bytes, columns: int, path: str | Path) -> tuple[np.ndarray, int]:
    """Read the columns that a detector takes: x, y, z, then intensity, then ring.

    Sensors mark points without an echo by NaN; they are left out. A missing ring becomes 0: where networks read five
    numbers a point, as on nuScenes, the age of its sweep takes the place of the ring.

    Args:
        data: content of a .pcd or .ply file.
        columns: how many of them the detector reads, 3 to 5.
        path: where they come from, for the message.

    Returns:
        (N, columns) float32, and the number of points that were left out.

    Raises:
        DataError: the file is broken, or lacks a column.
    """
    if not 3 <= columns <= len(_COLUMNS):
        raise DataError(
            f'{path}: from a .pcd or .ply file 3 to {len(_COLUMNS)} numbers a point can be read, not {columns}'
        )
    fields = {name.lower(): values for name, values in read_fields(data, path).items()}
    rows: list[np.ndarray] = []
    for name, aliases in _COLUMNS[:columns]:
        found = next((fields[alias] for alias in aliases if alias in fields), None)
        if found is None and name == 'ring':
            found = np.zeros(len(rows[0]))
        if found is None:
            raise DataError(
                f'{path} has no {name}, which this detector reads; its columns are {", ".join(fields) or "none"}. A '
                'detector for it has to be trained without: use_dim=3 where the pipelines of the data sets read points'
            )
        rows.append(np.asarray(found, dtype=np.float64))
    points = np.stack(rows, axis=1)
    kept = np.isfinite(points).all(1)
    return points[kept].astype(np.float32), int((~kept).sum())


def read_fields(data: bytes, path: str | Path) -> dict[str, np.ndarray]:
    """Read every column of a .pcd or .ply file that has one number a point, each (N,).

    Raises:
        DataError: the file is broken, or of a kind that is not read.
    """
    read = _read_pcd if _begins_pcd(data) else _read_ply
    try:
        return read(data)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, struct.error) as error:
        raise DataError(f'{path} is broken or truncated ({error or type(error).__name__})') from error


# --- .ply


def _read_ply(data: bytes) -> dict[str, np.ndarray]:
    from trimesh.exchange.ply import load_ply

    end = data.find(b'end_header')
    data = data[:end].lower() + data[end:]  # trimesh looks for x, and some write X
    elements = load_ply(io.BytesIO(data), skip_materials=True)['metadata']['_ply_raw']
    vertex = elements.get('vertex')
    if vertex is None:
        raise ValueError('it has no vertices')
    if not vertex['length']:
        return {name: np.zeros(0) for name in vertex['properties']}
    columns = vertex['data']
    names = columns.dtype.names if isinstance(columns, np.ndarray) else list(columns)
    found = {name: np.asarray(columns[name]).reshape(vertex['length'], -1) for name in names}
    if any(values.dtype == object for values in found.values()):
        raise ValueError('its rows differ in length')
    return {name: values[:, 0] for name, values in found.items() if values.shape[1] == 1}


# --- .pcd


def _read_pcd(data: bytes) -> dict[str, np.ndarray]:
    header, body = _split_pcd(data)
    names = header['FIELDS']
    sizes, counts = (
        [int(value) for value in header.get(key, default)]
        for key, default in (
            ('SIZE', ['4'] * len(names)),
            ('COUNT', ['1'] * len(names)),
        )
    )
    types = header.get('TYPE', ['F'] * len(names))
    if not len(names) == len(sizes) == len(counts) == len(types):
        raise ValueError('FIELDS, SIZE, TYPE and COUNT differ in length')
    points = int(header['POINTS'][0]) if 'POINTS' in header else int(header['WIDTH'][0]) * int(header['HEIGHT'][0])
    if not 0 <= points <= _MAX_POINTS or min(counts, default=1) < 1:
        raise ValueError(f'{points} points, or a COUNT below 1')
    kinds = [f'<{_PCD_TYPES[kind]}{size}' for kind, size in zip(types, sizes, strict=True)]
    layout = np.dtype(
        [(f'{i}', kind, (count,)) for i, (kind, count) in enumerate(zip(kinds, counts, strict=True))]
    )  # names may occur twice, such as that of padding
    kind = header['DATA'][0].lower()
    if kind == 'ascii':
        values = np.array(body.split(), dtype=np.float64).reshape(-1, sum(counts))
        if len(values) != points:
            raise ValueError(f'{len(values)} points instead of {points}')
        starts = np.cumsum([0, *counts[:-1]])
        columns = [values[:, start] for start in starts]
    elif kind == 'binary':
        if len(body) < points * layout.itemsize:
            raise ValueError(f'{len(body)} bytes instead of {points * layout.itemsize}')
        table = np.frombuffer(body, dtype=layout, count=points)
        columns = [table[f'{i}'][:, 0] for i in range(len(names))]
    elif kind == 'binary_compressed':
        packed, size = struct.unpack('<II', body[:8])
        if size != points * layout.itemsize or len(body) < 8 + packed:
            raise ValueError(f'{size} bytes instead of {points * layout.itemsize}')
        plain = decompress_lzf(body[8 : 8 + packed], size)
        columns, start = [], 0
        for number, count in zip(kinds, counts, strict=True):  # one column after the other
            values = np.frombuffer(plain, dtype=number, count=points * count, offset=start)
            start += values.nbytes
            columns.append(values.reshape(points, count)[:, 0])
    else:
        raise ValueError(f'DATA {kind} is not known')
    return {name: values for name, values, count in zip(names, columns, counts, strict=True) if count == 1}


def _split_pcd(data: bytes) -> tuple[dict[str, list[str]], bytes]:
    header, start = {}, 0
    while 'DATA' not in header:
        end = data.find(b'\n', start, start + 4096)
        if end < 0:
            raise ValueError('its header has no DATA')
        words = data[start:end].decode('ascii', 'replace').split()
        start = end + 1
        if words and not words[0].startswith('#'):
            header[words[0].upper()] = words[1:]
    if not header.get('FIELDS') or not header['DATA']:
        raise ValueError('its header has no FIELDS')
    return header, data[start:]


def decompress_lzf(data: bytes, size: int) -> bytes:
    """Undo Marc Lehmann's LZF, which .pcd files are compressed by.

    Args:
        data: runs of 1 to 32 bytes, and references to 3 to 264 bytes that came up to 8 KiB before.
        size: bytes of the result.

    Raises:
        ValueError: the data refer to what is not there, or give another size.
    """
    out = bytearray()
    position = 0
    while position < len(data):
        control = data[position]
        position += 1
        if control < 32:
            out += data[position : position + control + 1]
            position += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += data[position]
            position += 1
        start = len(out) - ((control & 31) << 8) - data[position] - 1
        position += 1
        length += 2
        if start < 0 or len(out) + length > size:
            raise ValueError('its compression is broken')
        if start + length <= len(out):
            out += out[start : start + length]
        else:  # what it refers to is still being written
            pattern = out[start:]
            out += (pattern * (length // len(pattern) + 1))[:length]
    if len(out) != size:
        raise ValueError(f'{len(out)} bytes after decompression instead of {size}')
    return bytes(out)
