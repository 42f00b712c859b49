"""PNM and PAM: bilevel, gray and colour, as text or binary, up to 16 bits."""

import re
from collections.abc import Iterator

import numpy as np

from dualattn.io.photos.photo import ImageError
from dualattn.io.photos.reading.source import Decoded, Source

_HEADER_BYTES = 1 << 16
_TOKEN = re.compile(rb'(?:\s|#[^\n\r]*[\n\r])*([^\s#]+)')
_PAM = {'BLACKANDWHITE': 1, 'GRAYSCALE': 1, 'RGB': 3, 'BLACKANDWHITE_ALPHA': 2, 'GRAYSCALE_ALPHA': 2, 'RGB_ALPHA': 4}


def decode(source: Source) -> Decoded:
    """Decode the first image of a PNM (P1 to P6) or PAM (P7).

    Raises:
        ImageError: a header that makes no sense, or samples are missing.
    """
    data = source.read()
    if data.startswith(b'P7'):
        width, height, channels, largest, start = _parse_pam(data)
        source.check_size(width, height)
        samples = _binary(data, start, width * height * channels, largest, source)
    else:
        kind = int(data[1:2])
        channels = 3 if kind in (3, 6) else 1
        width, height, largest, start = _parse_pnm(data, kind)
        source.check_size(width, height)
        bits = _bits(data, start, width, height, kind, source) if kind in (1, 4) else None
        if bits is not None:
            samples = bits
        else:
            read = _binary if kind > 3 else _text
            samples = read(data, start, width * height * channels, largest, source)
    full = 255 if largest <= 255 else 65535
    table = (np.arange(largest + 1, dtype=np.uint64) * full + largest // 2) // largest
    pixels = table.astype(np.uint8 if full == 255 else np.uint16)[np.minimum(samples, largest)]
    pixels = pixels.reshape(height, width, channels)
    colors, alpha = (pixels[..., :-1], pixels[..., -1].copy()) if channels in (2, 4) else (pixels, None)
    colors = colors[..., 0] if colors.shape[-1] == 1 else colors
    return Decoded(np.ascontiguousarray(colors), 'GRAY' if colors.ndim == 2 else 'RGB', alpha)


def _parse_pnm(data: bytes, kind: int) -> tuple[int, int, int, int]:
    """Return width, height, largest value and where the samples start."""
    tokens = _tokens(data)
    (width, _), (height, at) = next(tokens), next(tokens)
    largest, at = (1, at) if kind in (1, 4) else next(tokens)
    if not 1 <= largest <= 65535:
        raise ImageError(f'a PNM whose largest value is {largest}; it must be from 1 to 65535')
    return width, height, largest, at + 1  # one white space stands behind the header


def _tokens(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the numbers of the header and where each ends."""
    at = 2
    while True:
        found = _TOKEN.match(data, at, _HEADER_BYTES)
        if found is None or not found[1].isdigit() or len(found[1]) > 10:
            raise ImageError('a PNM without an intact header; it is damaged')
        at = found.end()
        yield int(found[1]), at


def _parse_pam(data: bytes) -> tuple[int, int, int, int, int]:
    end = data.find(b'ENDHDR\n', 0, _HEADER_BYTES)
    lines = [line.split(None, 1) for line in data[3 : max(3, end)].decode('latin-1').splitlines()]
    entries = {line[0]: line[1].strip() for line in lines if len(line) == 2 and not line[0].startswith('#')}
    try:
        width, height, depth, largest = (int(entries[name]) for name in ('WIDTH', 'HEIGHT', 'DEPTH', 'MAXVAL'))
    except (KeyError, ValueError) as error:
        raise ImageError('a PAM without an intact header; it is damaged') from error
    kind = entries.get('TUPLTYPE', '')
    if end < 0 or depth not in (1, 2, 3, 4) or _PAM.get(kind, depth) != depth or not 1 <= largest <= 65535:
        raise ImageError(f'a PAM of kind {kind!r} with {depth} channels up to {largest}, which is not supported')
    return width, height, depth, largest, end + 7


def _binary(data: bytes, start: int, count: int, largest: int, source: Source) -> np.ndarray:
    kind = np.dtype('>u2' if largest > 255 else 'u1')
    raw = data[start : start + count * kind.itemsize]
    found = np.frombuffer(raw, kind, len(raw) // kind.itemsize)
    return _complete(found, count, source)


def _text(data: bytes, start: int, count: int, largest: int, source: Source) -> np.ndarray:
    words = re.sub(rb'#[^\n\r]*', b'', data[start - 1 :]).split(maxsplit=count)[:count]
    if any(not word.isdigit() or len(word) > 5 for word in words):
        raise ImageError('a PNM with something else than numbers in it; it is damaged')
    return _complete(np.array(words, 'S5').astype(np.uint32), count, source)


def _bits(data: bytes, start: int, width: int, height: int, kind: int, source: Source) -> np.ndarray:
    """Return 1 for white: in these formats a set bit is black."""
    if kind == 1:
        digits = re.sub(rb'#[^\n\r]*|\s+', b'', data[start - 1 :])[: width * height]
        if digits.strip(b'01'):
            raise ImageError('a PBM with something else than 0 and 1 in it; it is damaged')
        return 1 - _complete(np.frombuffer(digits, np.uint8) - ord('0'), width * height, source)
    row = (width + 7) // 8
    raw = _complete(np.frombuffer(data[start : start + row * height], np.uint8), row * height, source)
    return (1 - np.unpackbits(raw.reshape(height, row), axis=1)[:, :width]).reshape(-1)


def _complete(found: np.ndarray, count: int, source: Source) -> np.ndarray:
    if len(found) >= count:
        return found[:count]
    if not source.allow_truncated:
        raise ImageError(
            f'the file is truncated: {count - len(found)} of {count} samples are missing; '
            '--allow-truncated takes what is there'
        )
    source.warn('damaged: %d of %d samples are missing and stay black', count - len(found), count)
    return np.concatenate([found, np.zeros(count - len(found), found.dtype)])
