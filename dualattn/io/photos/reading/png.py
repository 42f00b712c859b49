"""PNG: chunks are checked here, so that a decoder sees nothing but the pixels of the first image, intact.

What stands beside the pixels can then cost no photograph: text that is cut, a profile of any size, further frames of
an animation. Chunks and their order are those of the PNG specification, third edition.
"""

import io
import struct
import zlib
from dataclasses import dataclass, field

import imagecodecs
import numpy as np
from PIL import Image

from dualattn.io.photos import color_profile, iptc, metadata, xmp
from dualattn.io.photos.color_profile import ProfileError
from dualattn.io.photos.photo import ImageError
from dualattn.io.photos.reading.source import Decoded, Source, color_key_alpha, scale_bits

SIGNATURE = b'\x89PNG\r\n\x1a\n'
_CRITICAL = (b'IHDR', b'PLTE', b'IDAT', b'IEND')
_ANIMATION = (b'acTL', b'fcTL', b'fdAT')
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_MAX_TEXT = 1 << 20  # bytes of a chunk beside the pixels that is handed on; a profile is not held to it
_STEP = 1 << 12  # bytes of damaged data that are decompressed at a time
_ZEROS = 1 << 20  # bytes of missing pixels that are made at a time
_SRGB_GAMMA = 0.45455  # what writers of sRGB state beside it; within 1 % of it, libpng takes sRGB's curve
_KEPT = (b'tEXt', b'zTXt', b'iTXt', b'eXIf', b'pHYs')


@dataclass
class _Chunks:
    """The intact chunks of a file.

    Attributes:
        header: IHDR.
        data: what stands in IDAT.
        first: of the others, the first of each name; texts are in `kept`.
        kept: chunks that Pillow reads metadata from, in their order.
        dropped: names of chunks that are cut, broken or too large, all beside the pixels.
        damage: what is wrong with the pixels' own chunks, None for nothing.
        is_repaired: whether `data` has been checked, and what is missing added.
    """

    header: bytes = b''
    data: list[bytes] = field(default_factory=list)
    first: dict[bytes, bytes] = field(default_factory=dict)
    kept: list[tuple[bytes, bytes]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    damage: str | None = None
    is_repaired: bool = False


def decode(source: Source) -> Decoded:
    """Decode the first image of a PNG or APNG.

    Raises:
        ImageError: the pixels are not whole, or the colours are none that sRGB can show.
    """
    chunks = _split(source.read())
    if len(chunks.header) != 13:
        raise ImageError('a PNG without a header; it is damaged')
    width, height, bits, kind, compression, filtering, interlace = struct.unpack('>IIBBBBB', chunks.header)
    if bits not in _BITS.get(kind, ()) or compression or filtering or interlace > 1:
        raise ImageError(f'a PNG of colour type {kind} with {bits} bits, which does not exist; it is damaged')
    source.check_size(width, height)
    if chunks.damage is not None or chunks.dropped:
        _repair(chunks, source)
    if chunks.dropped:
        source.warn(
            'chunks beside the pixels that are damaged or too large are left out: %s', ', '.join(chunks.dropped)
        )
    _warn_of_frames(chunks, source)
    try:
        samples, palette_alpha = _samples(chunks, bits, kind)
    except (OSError, SyntaxError, ValueError, RuntimeError, zlib.error) as error:
        if isinstance(error, ImageError) or chunks.is_repaired:
            raise
        chunks.damage = 'the end of its compressed pixels is missing'
        _repair(chunks, source)
        samples, palette_alpha = _samples(chunks, bits, kind)
    full = 65535 if bits == 16 else 255
    alpha = palette_alpha
    if kind in (4, 6):
        samples, alpha = samples[..., :-1], samples[..., -1]
        samples = samples[..., 0] if kind == 4 else samples
    elif kind in (0, 2) and len(chunks.first.get(b'tRNS', b'')) == 2 * _CHANNELS[kind]:
        key = struct.unpack(f'>{_CHANNELS[kind]}H', chunks.first[b'tRNS'])
        if bits < 16:
            key = tuple(int(scale_bits(np.array(value & ((1 << bits) - 1), np.uint16), bits)) for value in key)
        alpha = color_key_alpha(samples, key, full)
    with _opened(chunks) as image:
        orientation, exif = metadata.read_exif(image, source.path)
        return Decoded(
            np.ascontiguousarray(samples),
            'GRAY' if samples.ndim == 2 else 'RGB',
            None if alpha is None else np.ascontiguousarray(alpha),
            _profile(chunks, source),
            orientation,
            exif,
            metadata.read_dpi(image, exif, orientation),
            metadata.read_text(image),
            metadata.read_xmp(image) or xmp.upright(iptc.unhide(image.info.get('Raw profile type xmp'))),
            iptc.of_png(getattr(image, 'text', {})),
        )


def _split(data: bytes) -> _Chunks:
    """Read the chunks of a file up to IEND or its end."""
    chunks, at = _Chunks(), len(SIGNATURE)
    while True:
        head = data[at : at + 8]
        if len(head) < 8:
            chunks.damage = chunks.damage or 'the end of the file is missing'
            return chunks
        (size,), name = struct.unpack('>I', head[:4]), head[4:]
        body, check = data[at + 8 : at + 8 + size], data[at + 8 + size : at + 12 + size]
        at += 12 + size
        printable = name.decode('latin-1') if name.isalpha() else repr(name)
        if len(check) < 4 or size > 0x7FFFFFFF:
            if name in _CRITICAL or not name.isalpha():
                chunks.data += [body] if name == b'IDAT' else []
                chunks.damage = f'the file is truncated in its chunk {printable}'
            else:
                chunks.dropped.append(printable)
                chunks.damage = chunks.damage or 'the end of the file is missing'
            return chunks
        if name in _ANIMATION:
            chunks.first.setdefault(name, body)
            continue
        intact = struct.unpack('>I', check)[0] == zlib.crc32(name + body)
        if name == b'IHDR':
            chunks.header = chunks.header or body
            if not intact:
                raise ImageError('a PNG whose header is damaged')
        elif name == b'IDAT':
            chunks.data.append(body)
            if not intact:
                chunks.damage = 'the checksum of its pixels is wrong'
        elif name == b'IEND':
            return chunks
        elif intact and name.isalpha() and name[:1].isupper() and name != b'PLTE':
            what = "an iPhone's PNG" if name == b'CgBI' else 'a PNG'
            raise ImageError(
                f'{what} with the chunk {printable}, which says that its pixels are stored in another way; '
                'save it as a plain PNG'
            )
        elif not intact:
            chunks.dropped.append(printable)
            if name == b'PLTE':
                chunks.damage = 'the checksum of its palette is wrong'
                chunks.first.setdefault(name, body)
        elif name in _KEPT:
            if size > _MAX_TEXT or not _unpacks(name, body):
                chunks.dropped.append(printable)
            else:
                chunks.kept.append((name, body))
        elif chunks.data:
            continue  # what says how the pixels are meant stands before them; elsewhere no decoder heeds it
        else:
            chunks.first.setdefault(name, body)


def _unpacks(name: bytes, body: bytes) -> bool:
    """Tell whether a compressed text is whole and unpacks to no more than a text may have."""
    if name == b'zTXt':
        packed = body.partition(b'\0')[2][1:]
    elif name == b'iTXt' and body.partition(b'\0')[2][:1] == b'\1':
        packed = body.partition(b'\0')[2][2:].partition(b'\0')[2].partition(b'\0')[2]
    else:
        return True
    try:
        decompressor = zlib.decompressobj()
        decompressor.decompress(packed, _MAX_TEXT)
    except zlib.error:
        return False
    return decompressor.eof


def _repair(chunks: _Chunks, source: Source) -> None:
    """Check the compressed pixels of a damaged file; pad what is missing if the source allows it.

    Raises:
        ImageError: pixels are missing.
    """
    expected = _raw_bytes(chunks.header)
    reason = chunks.damage
    is_intact = reason is None or 'checksum' not in reason
    # without zlib's own checksum, which a decompressor holds back the last part for
    data, decompressor = b''.join(chunks.data), zlib.decompressobj(-zlib.MAX_WBITS)
    parts = []
    found = 0
    try:
        for at in range(2, len(data), _STEP):  # in steps, since what a broken step gives is lost with it
            part = decompressor.decompress(data[at : at + _STEP], expected + 1 - found)
            parts.append(part)
            found += len(part)
            if found > expected or decompressor.eof:
                break
    except zlib.error as error:
        reason, is_intact = f'its compressed pixels are damaged ({error})', False
    raw = b''.join(parts)
    check = decompressor.unused_data[:4]
    if decompressor.eof and found == expected and len(check) == 4 and check != struct.pack('>I', zlib.adler32(raw)):
        reason, is_intact = 'the checksum of its compressed pixels is wrong', False
    lost = max(0, expected - found)
    if lost or not is_intact:
        if not source.allow_truncated:
            raise ImageError(f'{reason}; --allow-truncated takes what is there')
        missing = f'; {lost / expected:.1%} of the pixels stay black' if lost else ''
        source.warn('damaged: %s%s', reason, missing)
    elif chunks.damage is not None and not chunks.dropped:
        source.warn('%s, its pixels are whole', chunks.damage)
    chunks.is_repaired = True
    compressor = zlib.compressobj(1)
    chunks.data = [compressor.compress(raw[:expected])]
    for at in range(0, lost, _ZEROS):  # piece by piece, since a damaged header may state any size
        chunks.data.append(compressor.compress(bytes(min(_ZEROS, lost - at))))
    chunks.data.append(compressor.flush())


def _raw_bytes(header: bytes) -> int:
    """Return how many bytes the pixels have before compression, with one for the filter of each row."""
    width, height, bits, kind, _, _, interlace = struct.unpack('>IIBBBBB', header)
    pixel = bits * _CHANNELS[kind]
    passes = _passes(width, height) if interlace else [(width, height)]
    return sum(rows * (1 + (columns * pixel + 7) // 8) for columns, rows in passes if columns and rows)


def _passes(width: int, height: int) -> list[tuple[int, int]]:
    """Return the sizes of the pictures that an interlaced one consists of; they may be empty."""
    return [
        (max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))) for left, top, across, down in _ADAM7
    ]


def _deinterlaced(chunks: _Chunks) -> np.ndarray:
    """Return samples of 16 bits, pass by pass, each a picture of its own; libpng warns of a whole one on its output."""
    width, height, bits, kind = struct.unpack_from('>IIBB', chunks.header)
    expected, at = _raw_bytes(chunks.header), 0
    decompressor = zlib.decompressobj()
    raw = decompressor.decompress(b''.join(chunks.data), expected + 1)
    if len(raw) != expected or not decompressor.eof:
        raise ValueError('its compressed pixels are cut')
    channels = _CHANNELS[kind]
    samples = np.empty((height, width, channels), np.uint16)
    for (left, top, across, down), (columns, rows) in zip(_ADAM7, _passes(width, height), strict=True):
        if columns == 0 or rows == 0:
            continue
        size = rows * (1 + 2 * channels * columns)
        header = struct.pack('>IIBBBBB', columns, rows, bits, kind, 0, 0, 0)
        part = _plain(_Chunks(header, [zlib.compress(raw[at : at + size], 0)]))
        samples[top::down, left::across] = imagecodecs.png_decode(part).reshape(rows, columns, channels)
        at += size
    return samples[..., 0] if channels == 1 else samples


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))


def _plain(chunks: _Chunks, *others: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of the pixels alone and some other chunks."""
    palette = chunks.first.get(b'PLTE')
    parts = [(b'IHDR', chunks.header), *([(b'PLTE', palette)] if palette else []), *others]
    parts += [(b'IDAT', body) for body in chunks.data]
    return SIGNATURE + b''.join(_chunk(*part) for part in [*parts, (b'IEND', b'')])


def _samples(chunks: _Chunks, bits: int, kind: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return samples (H, W) or (H, W, C), full range, colours looked up, and the alpha of a palette."""
    if bits == 16:
        samples = _deinterlaced(chunks) if chunks.header[12] else imagecodecs.png_decode(_plain(chunks))
        if samples.dtype != np.uint16 or (samples.shape[2:] or (1,)) != (_CHANNELS[kind],):
            raise ImageError(f'decoders disagree on the image: {samples.shape} of {samples.dtype}')
        return samples, None
    transparency = chunks.first.get(b'tRNS') if kind == 3 else None
    with Image.open(
        io.BytesIO(_plain(chunks, *([(b'tRNS', transparency)] if transparency else []))), formats=['PNG']
    ) as image:
        if kind == 3:
            if transparency:
                pixels = np.asarray(image.convert('RGBA'))
                return pixels[..., :3], pixels[..., 3]
            return np.asarray(image.convert('RGB')), None
        return np.asarray(image.convert('L') if kind == 0 and image.mode == '1' else image), None


def _opened(chunks: _Chunks) -> Image.Image:
    """Open a picture of one pixel that carries the metadata."""
    header = struct.pack('>IIBBBBB', 1, 1, 8, 0, 0, 0, 0)
    parts = [(b'IHDR', header), *chunks.kept, (b'IDAT', zlib.compress(b'\0\0')), (b'IEND', b'')]
    image = Image.open(io.BytesIO(SIGNATURE + b''.join(_chunk(*part) for part in parts)), formats=['PNG'])
    image.load()
    return image


def _warn_of_frames(chunks: _Chunks, source: Source) -> None:
    control = chunks.first.get(b'acTL', b'')
    frames = struct.unpack('>I', control[:4])[0] if len(control) >= 4 else 1
    if frames > 1:
        source.warn('%d frames or pages, the first one is used', frames)


def _profile(chunks: _Chunks, source: Source) -> bytes | None:
    """Return the profile of the colours: by cICP, iCCP, sRGB, or gAMA and cHRM, in that order of precedence."""
    first = chunks.first
    code = first.get(b'cICP', b'')
    if len(code) == 4:
        if code[2] != 0 or code[3] != 1:
            raise ImageError(
                'a PNG that states YCbCr or a narrow range (cICP), which no decoder honours; save it as sRGB'
            )
        return color_profile.code_point_profile(code[0], code[1])
    if b'iCCP' in first:
        name, _, body = first[b'iCCP'].partition(b'\0')
        try:
            decompressor = zlib.decompressobj()
            profile = decompressor.decompress(body[1:], color_profile.MAX_BYTES)
        except zlib.error as error:
            source.warn('taken as sRGB, because its colour profile is damaged: %s', error)
            return None
        if not decompressor.eof:
            source.warn(
                'taken as sRGB, because its colour profile is cut or has over %d bytes', color_profile.MAX_BYTES
            )
            return None
        return profile
    if b'sRGB' in first:
        return None
    return _stated_profile(first, source)


def _stated_profile(first: dict[bytes, bytes], source: Source) -> bytes | None:
    gamma = primaries = None
    if len(first.get(b'gAMA', b'')) == 4:
        (value,) = struct.unpack('>I', first[b'gAMA'])
        gamma = value / 100_000
        gamma = None if abs(gamma / _SRGB_GAMMA - 1) < 0.01 else gamma
    if len(first.get(b'cHRM', b'')) == 32:
        numbers = [value / 100_000 for value in struct.unpack('>8I', first[b'cHRM'])]
        white, primaries = (numbers[0], numbers[1]), tuple(numbers[2:])
        expected = (*color_profile.D65, *color_profile.SRGB_PRIMARIES)
        if all(abs(value - other) < 0.002 for value, other in zip(numbers, expected, strict=True)):
            primaries = None
    try:
        if gamma is not None and not 0.05 <= gamma <= 20:
            raise ProfileError(f'it states a gamma of {gamma:g}')
        exponent = None if gamma is None else 1 / gamma
        if primaries is not None:
            return color_profile.matrix_profile(primaries, white, exponent)
        return None if gamma is None else color_profile.matrix_profile(gamma=exponent)
    except ProfileError as error:
        source.warn('taken as sRGB, because %s', error)
        return None
