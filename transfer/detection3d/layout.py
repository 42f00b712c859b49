"""How the numbers of a raw point cloud are laid out, told by the numbers: such files say nothing of themselves."""

import numpy as np

from dualattn.engine import DataError

__all__ = ['check_layout', 'find_columns', 'find_number_format']

MIN_POINTS = 64  # fewer tell nothing
_MAX_COLUMNS = 8
_MAX_NUMBERS = 16_800  # a multiple of every length below
# no coordinate in metres, intensity, ring or time is so large or so small, but chance bits are, most of the time
_LARGE, _SMALL = 1e12, 1e-12
_TEXT = bytes(range(32, 127)) + b'\t\r\n'
_FOREIGN = {
    b'\x93NUMPY': "a file of NumPy: convert it, in Python by numpy.load(path).astype('float32').tofile(other)",
    b'LASF': 'a LAS or LAZ file: convert it by its own tool, to .ply or .pcd for example',
    b'ASTM-E57': 'an E57 file: convert it by its own tool, to .ply or .pcd for example',
    b'PK\x03\x04': 'a zip archive: unpack it',
    b'\x1f\x8b': 'packed by gzip: unpack it',
    b'\x89HDF': 'an HDF5 file: convert it by its own tool',
}
_FORMATS = {'float64': '<f8', 'big-endian float32': '>f4', 'big-endian float64': '>f8'}


def check_layout(data: bytes, columns: int, path: str) -> None:
    """Check that the bytes of a raw point cloud are rows of so many float32 numbers, as far as the numbers tell.

    Args:
        data: the file's content.
        columns: numbers of a point, `load_dim` of the reader.
        path: where they come from, for the message.

    Raises:
        DataError: the numbers have another format, or another number of them makes a point; names it.
    """
    foreign = next((text for start, text in _FOREIGN.items() if data.startswith(start)), None)
    if foreign is not None:
        raise DataError(f'{path} is no list of float32 numbers, but {foreign}')
    if len(data) > 16 and not data[:4096].translate(None, _TEXT):
        raise DataError(
            f'{path} is a text file, not a list of float32 numbers: convert it, in Python by numpy.loadtxt(path, '
            "dtype='float32').tofile(path)"
        )
    found = find_number_format(data)
    if found is not None:
        raise DataError(
            f'{path} is no list of float32 numbers{f", but of {found}" if found else ""}: convert it '
            + (
                f"in Python by numpy.fromfile(path, '{_FORMATS[found]}').astype('float32').tofile(path)"
                if found
                else 'by the tool that wrote it'
            )
        )
    if len(data) % 4:
        raise DataError(f'{path} is truncated: its size is no multiple of 4 bytes')
    values = np.frombuffer(data, dtype='<f4')
    likely = find_columns(values, columns)
    if likely is not None and likely != columns:
        raise DataError(
            f'{path} seems to hold {likely} numbers a point, not {columns}: set load_dim={likely} where the pipelines '
            f'of the data sets read points{"" if likely > columns else ", and use_dim to columns that are there"}; '
            'check_layout=False there reads the file as it is'
        )
    if likely is None and columns > 3 and len(values) >= columns * MIN_POINTS:
        negative = float((values[: len(values) // columns * columns].reshape(-1, columns)[:, 3] < 0).mean())
        if negative > 0.05:
            raise DataError(
                f'{path}: the fourth of {columns} numbers of a point, its intensity, is negative in {negative:.0%} of '
                'them. If a point has another number of them, set load_dim where the pipelines of the data sets read '
                'points; check_layout=False there reads the file as it is'
            )


def find_number_format(data: bytes) -> str | None:
    """Name the format of numbers that are no float32: '' if it is unknown, None if they are float32 or too few."""
    if len(data) < 4 * 3 * MIN_POINTS or _share_of_chance(data, '<f4') < 0.05:
        return None
    return next((name for name, kind in _FORMATS.items() if _share_of_chance(data, kind) < 0.001), '')


def _share_of_chance(data: bytes, kind: str) -> float:
    """Tell which share of bytes, read as numbers of a kind, has a size that no measurement has."""
    size = np.dtype(kind).itemsize
    with np.errstate(invalid='ignore'):  # signalling NaN, among chance bits
        raw = np.frombuffer(data[: len(data) // size * size], dtype=kind)[:_MAX_NUMBERS]
        bits = raw.view(raw.dtype.str.replace('f', 'u'))
        values = raw.astype(np.float64)
    # sensors mark missing points by the one NaN that arithmetic gives, of either sign; chance gives others
    quiet = np.array(np.nan, dtype=raw.dtype).view(bits.dtype)
    values = values[(bits << 1) != (quiet << 1)]
    sizes = np.abs(values[np.isfinite(values)])
    if not len(sizes) > len(values) / 2:
        return 1.0 if len(values) else 0.0
    return float(((sizes > _LARGE) | (sizes > 0) & (sizes < _SMALL)).mean())


def find_columns(values: np.ndarray, expected: int) -> int | None:
    """Tell how many numbers make a point, in a flat list of them.

    In rows of the right length, columns differ: coordinates to the side spread around 0, heights are small, intensities
    and rings are positive, rings and colours whole. In rows of any other length, each column is a mixture. What columns
    explain of the variance of five such features, beyond what chance would, is compared between all lengths.

    Args:
        values: (N,) float32.
        expected: the length to keep unless another one is clearly better.

    Returns:
        The length, or None where the numbers do not tell.
    """
    values = values[:_MAX_NUMBERS].astype(np.float64)
    if len(values) < 3 * MIN_POINTS:
        return None
    finite = np.where(np.isfinite(values), values, 0.0)
    features = [
        np.sign(finite) * np.log1p(np.abs(finite)),
        np.log1p(np.abs(finite)),
        finite < 0,
        finite == np.round(finite),
        finite == 0,
    ]
    lengths = sorted({*range(3, _MAX_COLUMNS + 1), expected})
    explained = {length: _explain(features, length) for length in lengths}
    best = max(explained.values())
    if best < 0.05:
        return None
    # a multiple of the right length explains as much: the shortest is right
    likely = next(length for length in lengths if explained[length] >= 0.93 * best)
    if likely != expected and explained[expected] >= 0.8 * best and expected % likely:
        return expected
    return likely


def _explain(features: list[np.ndarray], length: int) -> float:
    shares = []
    for feature in features:
        rows = feature[: len(feature) // length * length].astype(np.float64).reshape(-1, length)
        total = rows.var()
        if total > 1e-12:
            # F statistics: by chance alone, columns explain length / N of the variance
            shares.append(rows.mean(0).var() / total - length / rows.size)
    return float(np.mean(shares)) if shares else 0.0
