"""JPEG XL by libjxl, up to 16 bits; its header (ISO 18181-1, annex D) says what the pixels mean.

A JPEG that was packed without loss is unpacked and read as the JPEG that it is. The ICC profile of a file stands in its
entropy-coded part, which imagecodecs keeps to itself: libjxl.py asks the library below it.
"""

import io
from dataclasses import dataclass, field, replace

import imagecodecs
import numpy as np

from dualattn.io.photos import color_profile, metadata, xmp
from dualattn.io.photos.color_profile import ProfileError
from dualattn.io.photos.photo import ImageError, to_8_bit
from dualattn.io.photos.reading import boxes, cut, jpeg, libjxl
from dualattn.io.photos.reading.source import Decoded, Source, divide_alpha, scale_bits

_SIGNATURE = b'\xff\x0a'
_PIXELS = ('jxlc', 'jxlp')  # boxes
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height
_RGB, _GRAY = 0, 1
_ALPHA, _SPOT, _BLACK, _CFA = 0, 2, 4, 5
_CUSTOM = 2  # white points and primaries that are given by their numbers
_WHITES = {1: color_profile.D65, 10: (1 / 3, 1 / 3), 11: (0.314, 0.351)}
_MAX_METADATA = 16 << 20  # bytes
_P3 = 11


@dataclass
class _Channel:
    """A channel beside the colours."""

    kind: int = _ALPHA
    bits: int = 8
    is_multiplied: bool = False


@dataclass
class _Header:
    """What a codestream says before its pixels.

    Attributes:
        width, height: as stored, before the orientation that the decoder undoes.
        is_float: whether samples are floating-point numbers.
        bits: per sample.
        extra: channels beside the colours.
        is_xyb: whether colours are stored as the eye sees them; the decoder then turns them into the stated space.
        has_profile: whether an ICC profile describes the colours.
        space: of the colours.
        white, primaries: coordinates x and y.
        transfer: code point of ITU-T H.273, None with `gamma`.
        gamma: exponent of the coded values.
        is_animated: whether further frames follow.
    """

    width: int = 0
    height: int = 0
    is_float: bool = False
    bits: int = 8
    extra: list[_Channel] = field(default_factory=list)
    is_xyb: bool = True
    has_profile: bool = False
    space: int = _RGB
    white: tuple[float, float] = color_profile.D65
    primaries: tuple[float, ...] = color_profile.SRGB_PRIMARIES
    transfer: int | None = 13
    gamma: float | None = None
    is_animated: bool = False


class _Bits:
    """Reads the fields of a header, least significant bit first (B.2)."""

    def __init__(self, data: bytes):
        self._value, self._left = int.from_bytes(data, 'little'), 8 * len(data)

    def u(self, count: int) -> int:
        """Return an unsigned number of so many bits."""
        if count > self._left:
            raise ImageError('a JPEG XL whose header is cut')
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def u32(self, *choices: tuple[int, int]) -> int:
        """Return a number of one of four forms: what is added to so many bits."""
        offset, count = choices[self.u(2)]
        return offset + self.u(count)

    def enum(self) -> int:
        """Return a number of a list."""
        return self.u32((0, 0), (1, 0), (2, 4), (18, 6))

    def xy(self) -> tuple[float, float]:
        """Return coordinates of a colour."""
        forms = ((0, 19), (524_288, 19), (1_048_576, 20), (2_097_152, 21))
        numbers = [self.u32(*forms) for _ in range(2)]
        x, y = ((number >> 1) ^ -(number & 1) for number in numbers)  # the lowest bit is the sign
        return x / 1e6, y / 1e6


def decode(source: Source) -> Decoded:
    """Decode the first frame of a JPEG XL.

    Raises:
        ImageError: a kind that would be read wrongly, or a damaged file.
    """
    if not imagecodecs.JPEGXL.available:
        raise ImageError('a JPEG XL file, which this build of imagecodecs cannot decode; save it as PNG or TIFF')
    data = source.read()
    found = None if data.startswith(_SIGNATURE) else cut.find_cut_box(data)
    if (
        found is not None
        and found.name not in _PIXELS
        and any(name.encode() in data[: found.start] for name in _PIXELS)
    ):
        data = cut.mend(source, data, found, ())
    codestream, others = _unpack(data)
    header = _parse(codestream)
    source.check_size(header.width, header.height)
    if b'jbrd' in others:
        try:
            packed = imagecodecs.jpegxl_decode_jpeg(data, numthreads=1)
        except RuntimeError as error:
            source.warn('the JPEG inside cannot be unpacked (%s), its pixels are read', error)
        else:
            return jpeg.decode(replace(source, file=io.BytesIO(packed)))
    _check(header)
    if header.is_animated:
        source.warn('several frames or pages, the first one is used')
    samples, profile = _samples(data, header, source)
    pixels, alpha = _split(samples, header, source)
    return _with_metadata(pixels, alpha, profile, others, source)


def _samples(data: bytes, header: _Header, source: Source) -> tuple[np.ndarray, bytes | None]:
    """Return the samples of the first frame and the profile of their colours, None for sRGB."""
    if header.has_profile:
        if not libjxl.is_available():
            raise ImageError(
                'a JPEG XL whose colours an ICC profile describes, which this build of imagecodecs keeps to itself; '
                'save it as TIFF or PNG'
            )
        samples, profile = _samples_of_libjxl(data, header, source)
        if color_profile.color_space(profile) != ('GRAY' if header.space == _GRAY else 'RGB'):
            raise ImageError(
                f'a JPEG XL in {color_profile.color_space(profile)}, which is not supported; save it as RGB'
            )
        return samples, profile
    profile_of_header = _profile(header)
    try:
        return imagecodecs.jpegxl_decode(data, 0, numthreads=1), profile_of_header
    except RuntimeError as error:
        if 'NEED_MORE_INPUT' not in str(error):
            raise ImageError(f'a JPEG XL that cannot be decoded: its pixels are damaged ({error})') from error
        if source.allow_truncated and libjxl.is_available():
            return _samples_of_libjxl(data, header, source)[0], profile_of_header
        cut.refuse(source, 'a part of the image is missing')
        raise


def _samples_of_libjxl(data: bytes, header: _Header, source: Source) -> tuple[np.ndarray, bytes]:
    """Return samples at 16 bits, where 8 keep them at 8, and their profile; `header` then has their bits."""
    channels = (1 if header.space == _GRAY else 3) + any(channel.kind == _ALPHA for channel in header.extra)
    samples, profile, is_cut = libjxl.decode(data, header.height, header.width, channels)
    if is_cut:
        cut.refuse(source, 'a part of the image is missing')
    # what is stored as the eye sees it comes in linear light where a profile describes it, for which 8 bits are too few
    if header.bits <= 8 and not (header.is_xyb and header.has_profile):
        samples = to_8_bit(samples)
    header.bits = 8 * samples.itemsize
    return samples, profile


def _unpack(data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the start of the codestream, and the other boxes by name."""
    if data.startswith(_SIGNATURE):
        return data, {}
    parts: list[bytes] = []
    others: dict[bytes, bytes] = {}
    for name, body in boxes.walk(data):
        if name == b'jxlc':
            parts.append(body)
        elif name == b'jxlp':
            parts.append(body[4:])  # behind its number; they come in order
        elif name == b'brob' and len(body) > 4:
            others.setdefault(body[:4], _decompressed(body[4:]))
        else:
            others.setdefault(name, body)
    return b''.join(parts), others


def _decompressed(body: bytes) -> bytes:
    try:
        return bytes(imagecodecs.brotli_decode(body, out=_MAX_METADATA))
    except (RuntimeError, ValueError):
        return b''  # metadata that are broken, or far larger than any


def _parse(codestream: bytes) -> _Header:
    if not codestream.startswith(_SIGNATURE):
        raise ImageError('a JPEG XL without an intact header; it is damaged')
    read, header = _Bits(codestream[2:4096]), _Header()
    header.width, header.height = _read_size(read)
    if read.u(1):  # all is as usual
        return header
    has_more = read.u(1)
    if has_more:
        if read.u(3) >= 4:  # the orientation, less 1
            header.width, header.height = header.height, header.width
        if read.u(1):
            _read_size(read)  # the size that it is meant to be shown at
        if read.u(1):
            _read_preview(read)
        if read.u(1):
            header.is_animated = True
            read.u32((100, 0), (1000, 0), (1, 10), (1, 30))
            read.u32((1, 0), (1001, 0), (1, 8), (1, 10))
            read.u32((0, 0), (0, 3), (0, 16), (0, 32))
            read.u(1)
    header.is_float, header.bits = _read_depth(read)
    read.u(1)
    for _ in range(read.u32((0, 0), (1, 0), (2, 4), (1, 12))):
        header.extra.append(_read_channel(read))
    header.is_xyb = bool(read.u(1))
    _read_colors(read, header)
    return header


def _read_size(read: _Bits) -> tuple[int, int]:
    """Return width and height (D.2)."""
    is_small = read.u(1)

    def side() -> int:
        return 8 * (read.u(5) + 1) if is_small else read.u32((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = read.u(3)
    if not ratio:
        return side(), height
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height


def _read_preview(read: _Bits) -> None:
    is_small = read.u(1)
    forms = ((16, 0), (32, 0), (1, 5), (33, 9)) if is_small else ((1, 6), (65, 8), (321, 10), (1345, 12))
    read.u32(*forms)
    if not read.u(3):
        read.u32(*forms)


def _read_depth(read: _Bits) -> tuple[bool, int]:
    if read.u(1):
        bits = read.u32((32, 0), (16, 0), (24, 0), (1, 6))
        read.u(4)
        return True, bits
    return False, read.u32((8, 0), (10, 0), (12, 0), (1, 6))


def _read_channel(read: _Bits) -> _Channel:
    if read.u(1):
        return _Channel()
    kind = read.enum()
    _, bits = _read_depth(read)
    read.u32((0, 0), (3, 0), (4, 0), (1, 3))
    for _ in range(read.u32((0, 0), (0, 4), (16, 5), (48, 10))):  # its name
        read.u(8)
    is_multiplied = kind == _ALPHA and bool(read.u(1))
    if kind == _SPOT:
        read.u(64)
    elif kind == _CFA:
        read.u32((1, 0), (0, 2), (3, 4), (19, 8))
    return _Channel(kind, bits, is_multiplied)


def _read_colors(read: _Bits, header: _Header) -> None:
    if read.u(1):  # sRGB
        return
    header.has_profile = bool(read.u(1))
    header.space = read.enum()
    if header.has_profile:
        return
    if header.space not in (_RGB, _GRAY):
        raise ImageError(f'a JPEG XL in the colour space {header.space}, which is not supported; save it as sRGB')
    white = read.enum()
    header.white = read.xy() if white == _CUSTOM else _WHITES.get(white, color_profile.D65)
    if header.space == _RGB:
        kind = read.enum()
        if kind == _CUSTOM:
            header.primaries = tuple(number for _ in range(3) for number in read.xy())
        else:
            try:
                header.primaries, _ = color_profile.primaries_of(12 if kind == _P3 else kind)
            except ProfileError as error:
                raise ImageError(f'a JPEG XL in {error}') from error
    if read.u(1):
        header.gamma, header.transfer = read.u(24) / 1e7, None
    else:
        header.transfer = read.enum()


def _check(header: _Header) -> None:
    """Refuse what would be read wrongly."""
    if header.is_float or header.bits > 16:
        raise ImageError(
            f'a JPEG XL of {header.bits} {"floating-point " if header.is_float else ""}bits, which have no stated '
            'black and white; save it with up to 16 bits'
        )
    if any(channel.kind == _BLACK for channel in header.extra):
        raise ImageError('a JPEG XL in CMYK, which is not supported; save it as RGB')
    alpha = next((channel for channel in header.extra if channel.kind == _ALPHA), None)
    if alpha is not None and alpha.bits != header.bits:
        raise ImageError(f'a JPEG XL of {header.bits} bits with alpha of {alpha.bits}, which is not supported')


def _split(samples: np.ndarray, header: _Header, source: Source) -> tuple[np.ndarray, np.ndarray | None]:
    """Return pixels and alpha over their full range."""
    colors = 1 if header.space == _GRAY else 3
    alpha_of = next((channel for channel in header.extra if channel.kind == _ALPHA), None)
    left = len(header.extra) - (alpha_of is not None)
    if left:
        source.warn('%d channel%s beside the colours %s left out', left, *(('', 'is') if left == 1 else ('s', 'are')))
        if colors == 1 and alpha_of is None and samples.shape[2:] != (1,):  # imagecodecs then gives planes
            samples = samples[0]
    samples = samples[..., None] if samples.ndim == 2 else samples
    count = colors + (alpha_of is not None)
    if samples.shape != (header.height, header.width, count) or samples.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f'decoders disagree on the image: {samples.shape} of {samples.dtype} and {header.width} x {header.height}'
        )
    samples = scale_bits(samples, header.bits)
    pixels = np.ascontiguousarray(samples[..., 0] if colors == 1 else samples[..., :3])
    if alpha_of is None:
        return pixels, None
    alpha = np.ascontiguousarray(samples[..., -1])
    return divide_alpha(pixels, alpha) if alpha_of.is_multiplied else pixels, alpha


def _profile(header: _Header) -> bytes | None:
    """Return the profile of the colours, None for sRGB.

    Raises:
        ImageError: none that sRGB is reached from.
    """
    try:
        if header.transfer == 17:  # of cinemas
            return color_profile.matrix_profile(header.primaries, header.white, 2.6)
        gamma = None if header.gamma is None else 1 / max(header.gamma, 1e-3)
        if header.transfer is not None:
            gamma = color_profile.gamma_of(header.transfer)
        is_srgb = header.primaries == color_profile.SRGB_PRIMARIES and header.white == color_profile.D65
        return (
            None if is_srgb and gamma is None else color_profile.matrix_profile(header.primaries, header.white, gamma)
        )
    except ProfileError as error:
        raise ImageError(f'a JPEG XL in {error}') from error


def _with_metadata(
    pixels: np.ndarray,
    alpha: np.ndarray | None,
    profile: bytes | None,
    others: dict[bytes, bytes],
    source: Source,
) -> Decoded:
    block = others.get(b'Exif', b'')
    block = block[4 + int.from_bytes(block[:4], 'big') :]
    # what EXIF says of the orientation does not hold: the codestream has it (18181-2), and the decoder has obeyed
    _, exif = metadata.keep_exif(lambda: metadata.load_exif(block), source.path) if block else (1, None)
    return Decoded(
        pixels,
        'GRAY' if pixels.ndim == 2 else 'RGB',
        alpha,
        profile,
        1,
        exif,
        metadata.dpi_of_exif(exif, 1),
        xmp=xmp.upright(others.get(b'xml ')),
    )
