"""JPEG 2000: JP2 files and bare codestreams of 1 to 16 bits by OpenJPEG; subsampled colours and palettes by Pillow."""

import io
import struct
from collections import Counter
from dataclasses import dataclass, field

import imagecodecs
import numpy as np
from PIL import Image

from dualattn.io.photos import metadata, xmp
from dualattn.io.photos.photo import ImageError
from dualattn.io.photos.reading import boxes, cut
from dualattn.io.photos.reading.source import Decoded, Source, divide_alpha, scale_bits

_SRGB, _GRAY, _SYCC, _CMYK, _TWO_LEVELS = 16, 17, 18, 12, 0
_COLORS = {_SRGB: ('RGB', 3), _GRAY: ('GRAY', 1), _SYCC: ('RGB', 3), _CMYK: ('CMYK', 4)}
_START, _TILE_PART, _END = b'\xff\x4f\xff\x51', b'\xff\x90', b'\xff\xd9'
_UUIDS = {
    bytes.fromhex('be7acfcb97a942e89c71999491e3afac'): 'xmp',
    bytes.fromhex('33c7a4d2b81d4723a0baf1a3e097ad38'): 'iptc',
    b'JpgTiffExif->JP2': 'exif',
}


@dataclass
class _Header:
    """What a file says before its codestream, and the codestream of its components.

    Attributes:
        width, height: in pixels.
        components: of each, the bits, whether they are signed, and its subsampling across and down.
        color: enumerated colour space, None where none is stated.
        profile: an ICC profile.
        channels: type of each channel that the file defines, by its number: 0 colour, 1 alpha, 2 multiplied alpha.
        order: by colour (red 1, green 2, blue 3), the number of its channel, where the file defines it.
        codestream: the compressed image itself.
        has_palette: whether components are indices.
        resolution: pixels per metre, across and down, as captured or else as displayed.
        others: XMP, IPTC and EXIF data by name.
    """

    width: int = 0
    height: int = 0
    components: list[tuple[int, bool, int, int]] = field(default_factory=list)
    color: int | None = None
    profile: bytes | None = None
    channels: dict[int, int] = field(default_factory=dict)
    order: dict[int, int] = field(default_factory=dict)
    has_palette: bool = False
    resolution: tuple[float, float] | None = None
    codestream: bytes = b''
    others: dict[str, bytes] = field(default_factory=dict)


def decode(source: Source) -> Decoded:
    """Decode a JPEG 2000.

    Raises:
        ImageError: a kind that would be read wrongly, or a damaged file.
    """
    data = source.read()
    is_bare = data.startswith(_START)
    if not is_bare and (found := cut.find_cut_box(data)) is not None and b'jp2c' in data[: found.start]:
        data = cut.mend(source, data, found, ())
    header = _parse(data)
    source.check_size(header.width, header.height)
    whole = _complete(header.codestream, source)
    if whole is not header.codestream:
        data, header.codestream = whole if is_bare else data.replace(header.codestream, whole, 1), whole
    bits = {component[0] for component in header.components}
    count = len(header.components)
    if any(component[1] for component in header.components):
        raise ImageError('signed samples have no stated black and white; save it unsigned')
    if len(bits) != 1 or max(bits) > 16 or count > 5:
        raise ImageError(f'a JPEG 2000 with {count} channels of {sorted(bits)} bits, which is not supported')
    if header.color == _TWO_LEVELS and (count > 1 or max(bits) > 1):
        header.color = None  # OpenJPEG's encoder writes it where it knows no space, as for gray with alpha
    if header.color is not None and header.color not in _COLORS:
        raise ImageError(f'a JPEG 2000 in the colour space {header.color}, which is not supported; save it as sRGB')
    is_subsampled = any(component[2:] != (1, 1) for component in header.components)
    if is_subsampled or header.has_palette:
        return _decode_by_pillow(data, header, max(bits), source)
    # without its boxes, which the decoder obeys in some builds and not in others
    samples = imagecodecs.jpeg2k_decode(header.codestream, numthreads=1)
    samples = samples[..., None] if samples.ndim == 2 else samples
    if samples.shape != (header.height, header.width, count):
        raise ImageError(f'decoders disagree on the image: {samples.shape} and {header.width} x {header.height}')
    stated = None if header.color is None else _COLORS.get(header.color)
    space, colors = stated or {1: ('GRAY', 1), 2: ('GRAY', 1)}.get(count, ('RGB', 3))
    if count < colors:
        raise ImageError(f'a JPEG 2000 with {count} channels, where its colours need {colors}')
    order = [header.order.get(color + 1, color) for color in range(colors)]
    if sorted(order) != list(range(colors)):
        raise ImageError(f'a JPEG 2000 whose colours are in the channels {order}; save it as RGB')
    pixels = scale_bits(samples[..., 0] if colors == 1 else samples[..., order], max(bits))
    if header.color == _SYCC:
        pixels = _rgb_of_ycc(pixels)
    alpha = _alpha(header, samples, colors, max(bits), source)
    if alpha is not None and 2 in header.channels.values():
        pixels = divide_alpha(pixels, alpha)
    return _with_metadata(header, np.ascontiguousarray(pixels), space, alpha, source)


def _parse(data: bytes) -> _Header:
    header, codestream = _Header(), data
    if not data.startswith(_START):
        codestream = b''
        for name, body in boxes.walk(data):
            if name == b'colr' and header.color is None and header.profile is None and len(body) >= 3:
                if body[0] == 1 and len(body) >= 7:
                    (header.color,) = struct.unpack_from('>I', body, 3)
                elif body[0] in (2, 3):
                    header.profile = body[3:]
            elif name == b'pclr':
                header.has_palette = True
            elif name == b'cdef' and len(body) >= 2:
                for index in range(min(struct.unpack_from('>H', body)[0], (len(body) - 2) // 6)):
                    channel, kind, color = struct.unpack_from('>3H', body, 2 + 6 * index)
                    header.channels[channel] = kind
                    if kind == 0 and 1 <= color <= 4:
                        header.order[color] = channel
            elif name in (b'resc', b'resd') and len(body) >= 10 and (name == b'resc' or header.resolution is None):
                header.resolution = _resolution(body)
            elif name == b'uuid' and body[:16] in _UUIDS:
                header.others.setdefault(_UUIDS[body[:16]], body[16:])
            elif name == b'jp2c':
                codestream = codestream or body
    if not codestream.startswith(_START) or len(codestream) < 42:
        raise ImageError('a JPEG 2000 without an intact header; it is damaged')
    header.codestream = codestream
    right, bottom, left, top = struct.unpack_from('>4I', codestream, 8)
    (count,) = struct.unpack_from('>H', codestream, 40)
    header.width, header.height = right - left, bottom - top
    for index in range(count):
        depth, across, down = struct.unpack_from('>3B', codestream, 42 + 3 * index)
        header.components.append(((depth & 0x7F) + 1, bool(depth & 0x80), across, down))
    return header


def _resolution(body: bytes) -> tuple[float, float] | None:
    """Return pixels per metre, across and down, of a box of resolution (I.5.3.7)."""
    down, down_by, across, across_by, down_power, across_power = struct.unpack_from('>4H2b', body)
    if not (down_by and across_by):
        return None
    return across / across_by * 10.0**across_power, down / down_by * 10.0**down_power


def _complete(codestream: bytes, source: Source) -> bytes:
    """Return a codestream with its end, which may lack; zeros in the last part of a cut one are empty packets (A.4)."""
    at = 2
    while codestream[at : at + 1] == b'\xff' and codestream[at : at + 2] not in (_TILE_PART, _END):
        at += 2 + int.from_bytes(codestream[at + 2 : at + 4], 'big')
    found: Counter[int] = Counter()
    stated: dict[int, int] = {}
    part = at
    while codestream[at : at + 2] == _TILE_PART and at + 12 <= len(codestream):
        part = at
        tile, size, _, count = struct.unpack_from('>HIBB', codestream, at + 4)
        found[tile] += 1
        stated[tile] = max(count, stated.get(tile, 1))
        if size < 12:  # 0: up to the end, wherever that is
            return codestream
        at += size
    if codestream[at : at + 2] == _END:
        return codestream
    if at > len(codestream):
        cut.refuse(source, f'{at - len(codestream)} bytes of a part of the image are missing')
        # a damaged header may state any size; more than the pixels themselves have no part needs
        at = min(at, len(codestream) + _raw_bytes(codestream))
        codestream = codestream[: part + 6] + struct.pack('>I', at - part) + codestream[part + 10 :]
        return codestream + bytes(at - len(codestream)) + _END
    if found and len(found) >= _count_tiles(codestream) and all(found[tile] >= stated[tile] for tile in stated):
        return codestream[:at] + _END
    cut.refuse(source, f'it ends behind {found.total()} parts of the image')
    return codestream[:at] + _END


def _raw_bytes(codestream: bytes) -> int:
    right, bottom, left, top = struct.unpack_from('>4I', codestream, 8)
    (count,) = struct.unpack_from('>H', codestream, 40)
    return 4 * count * (right - left) * (bottom - top) + 65_536


def _count_tiles(codestream: bytes) -> int:
    right, bottom, _, _, across, down, left, top = struct.unpack_from('>8I', codestream, 8)
    return -(-(right - left) // max(1, across)) * -(-(bottom - top) // max(1, down))


def _alpha(header: _Header, samples: np.ndarray, colors: int, bits: int, source: Source) -> np.ndarray | None:
    """Return alpha (H, W): the channel defined as such or, where none is defined, the one behind the colours."""
    count = samples.shape[-1]
    if count == colors:
        return None
    at = next((index for index in range(colors, count) if header.channels.get(index) in (1, 2)), None)
    if at is None and not header.channels and count == colors + 1:
        at = colors
    if at is None or count > colors + 1:
        source.warn('%d channels beside the colours are left out', count - colors - (at is not None))
    return None if at is None else scale_bits(np.ascontiguousarray(samples[..., at]), bits)


def _rgb_of_ycc(pixels: np.ndarray) -> np.ndarray:
    """Convert sYCC (ITU-R BT.601 over the full range) to RGB, both (H, W, 3) of one integer type."""
    full = np.iinfo(pixels.dtype).max
    y, blue, red = (pixels[..., channel].astype(np.float32) for channel in range(3))
    blue, red = blue - (full + 1) / 2, red - (full + 1) / 2
    rgb = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], axis=-1)
    return np.rint(rgb).clip(0, full).astype(pixels.dtype)


def _decode_by_pillow(data: bytes, header: _Header, bits: int, source: Source) -> Decoded:
    if bits != 8:
        raise ImageError(f'a JPEG 2000 of {bits} bits with a palette or subsampled colours; save it as RGB')
    with Image.open(io.BytesIO(data), formats=['JPEG2000']) as file:
        file.load()
        image: Image.Image = file
        alpha = None
        if image.has_transparency_data:
            image = image.convert('RGBA')
            alpha = np.asarray(image.getchannel('A'))
        image = image if image.mode in ('L', 'CMYK') else image.convert('RGB')
        space = {'L': 'GRAY', 'CMYK': 'CMYK'}.get(image.mode, 'RGB')
        return _with_metadata(header, np.asarray(image), space, alpha, source)


def _with_metadata(
    header: _Header, pixels: np.ndarray, space: str, alpha: np.ndarray | None, source: Source
) -> Decoded:
    block = header.others.get('exif')
    orientation, exif = metadata.keep_exif(lambda: metadata.load_exif(block), source.path) if block else (1, None)
    return Decoded(
        pixels,
        space,
        alpha,
        header.profile,
        orientation,
        exif,
        metadata.dpi_of_exif(exif, orientation) or metadata.dpi_of_metre(header.resolution, orientation),
        xmp=xmp.upright(header.others.get('xmp')),
        iptc=header.others.get('iptc'),
    )
