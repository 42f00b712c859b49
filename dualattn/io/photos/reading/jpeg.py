"""JPEG: 8 bits by Pillow, 12 bits and the lossless kind by libjpeg-turbo; a missing end is told from a cut."""

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import imagecodecs
import numpy as np
import simplejpeg
from PIL import Image

from dualattn.io.photos import iptc, metadata, xmp
from dualattn.io.photos.photo import ImageError
from dualattn.io.photos.reading.source import Decoded, Source, scale_bits

_END = b'\xff\xd9'
_FURTHER_XMP = b'http://ns.adobe.com/xmp/extension/\0'
# What is put before the end to see whether bits are missing there: they would be taken for those. No byte is 0xFF.
_FILLERS = (b'\x55\xaa' * 64, b'\x00\x7e' * 64, b'\x9b\x31' * 64)
# CharLS, which reads JPEG-LS, can be made to run for ever by a damaged header
_NAMES = {5: 'hierarchical', 6: 'hierarchical', 7: 'hierarchical', 11: 'lossless arithmetic', 55: 'near-lossless (LS)'}
_LOSSLESS, _JPEG_LS = 3, 55
# libjpeg's warnings (jerror.h) after which pixels are not those that were stored; others are of no account, or it is
# not certain: what is left over before the end may be padding
_DAMAGE = re.compile(
    r'bad Huffman code|bad arithmetic code|premature end of data segment|found marker \S+ instead of RST'
    r'|extraneous bytes before marker 0x(?!d9)'
)
_LEFT_OVER = re.compile(r'(\d+) extraneous bytes before marker 0xd9')


@dataclass
class _Frame:
    """What the markers before the first scan say.

    Attributes:
        kind: number of the frame's marker SOFn; 55 for JPEG-LS.
        bits: per sample.
        width, height: in pixels.
        components: identifiers of the components.
        applications: the APPn and COM segments, with their markers.
        precision: where the bits per sample stand.
        scan: where the first SOS marker stands.
        restarts: MCUs between two restart markers, 0 without them.
        has_other: whether another frame follows, which crashes libjpeg-turbo where the first one is lossless.
    """

    kind: int = -1
    bits: int = 8
    width: int = 0
    height: int = 0
    components: tuple[int, ...] = ()
    applications: list[bytes] = field(default_factory=list)
    precision: int = 0
    scan: int = 0
    restarts: int = 0
    has_other: bool = False


def decode(source: Source) -> Decoded:
    """Decode a JPEG, or the first image of an MPO.

    Raises:
        ImageError: the file is cut, or of a kind that no decoder here reads.
    """
    data = source.read()
    frame = _parse(data)
    if frame.width and frame.height:
        source.check_size(frame.width, frame.height)
    if frame.kind in _NAMES or frame.kind > 11:
        raise ImageError(f'a {_NAMES.get(frame.kind, "differential")} JPEG, which is not supported; save it as TIFF')
    if frame.has_other:
        raise ImageError('a JPEG with two frame headers; it is hierarchical or damaged')
    if frame.kind == _LOSSLESS or frame.bits > 8:
        return _decode_rare(data, frame, source)
    with Image.open(io.BytesIO(data), formats=['JPEG']) as image:
        source.check_size(*image.size)
        pixels = _load(image, data, frame, source)
        space = {'L': 'GRAY', 'RGB': 'RGB', 'CMYK': 'CMYK'}[image.mode]
        return _with_metadata(image, pixels, space, frame, source)


def _with_metadata(image: Image.Image, pixels: np.ndarray, space: str, frame: _Frame, source: Source) -> Decoded:
    orientation, exif = metadata.read_exif(image, source.path)
    further = sum(len(segment) for segment in frame.applications if segment[4:].startswith(_FURTHER_XMP))
    if further:
        source.warn('%d bytes of XMP data that go on behind its first packet are left out', further)
    return Decoded(
        pixels,
        space,
        None,
        image.info.get('icc_profile') or metadata.profile_of_exif(image),
        orientation,
        exif,
        metadata.read_dpi(image, exif, orientation),
        metadata.read_text(image),
        xmp.without_extension(metadata.read_xmp(image)),
        iptc.of_jpeg(frame.applications),
    )


def _parse(data: bytes) -> _Frame:
    """Read the markers up to the first scan (ISO 10918-1, B.2)."""
    frame, at = _Frame(), 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1  # decoders skip what does not belong there
            continue
        marker = data[at + 1]
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (0xD9, 0xDA):
            frame.scan = at
            return frame
        (size,) = struct.unpack_from('>H', data, at + 2)
        body = data[at + 4 : at + 2 + size]
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            frame.applications.append(data[at : at + 2 + size])
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            frame.has_other = frame.kind >= 0
            if frame.kind < 0 and len(body) >= 6:
                frame.kind = _JPEG_LS if marker == 0xF7 else marker - 0xC0
                frame.precision = at + 4
                frame.bits, frame.height, frame.width, count = struct.unpack_from('>BHHB', body)
                frame.components = tuple(body[6 : 6 + 3 * count : 3])
        elif marker == 0xDD and len(body) >= 2:
            (frame.restarts,) = struct.unpack_from('>H', body)
        at += 2 + max(2, size)
    return frame


def _load(image: Image.Image, data: bytes, frame: _Frame, source: Source) -> np.ndarray:
    """Return the pixels; where the end of the file is missing, if the scan is whole or the source allows it."""
    if source.min_side is not None:
        image.draft(None, (source.min_side, source.min_side))
    try:
        pixels = np.asarray(image)
    except OSError as error:
        if 'truncated' not in str(error):
            raise
    else:
        _refuse_damage(data, frame, source)
        return pixels
    return _load_without_end(data, frame, _decode_plain, source)


def _load_without_end(
    data: bytes, frame: _Frame, decode_all: Callable[[bytes], np.ndarray], source: Source
) -> np.ndarray:
    """Return the pixels of data that lack their end, if all of them are there or the source allows it."""
    whole = _up_to_segment(data, frame)
    pixels = decode_all(_ended(whole, b''))
    if len(whole) < len(data) or not _is_whole(data, frame, pixels, decode_all):
        if not source.allow_truncated:
            raise ImageError('the file is truncated: a part of the image is missing; --allow-truncated takes the rest')
        source.warn('damaged: a part of the image is missing and stays gray')
    return pixels


def _refuse_damage(data: bytes, frame: _Frame, source: Source) -> None:
    """Refuse compressed data that a decoder stumbles over, which others keep to themselves; say it where it is allowed.

    The image is decoded once more, where that can be at an eighth of its size, which is quick: the stumbling is in the
    entropy coding. That is the same at every precision, so for a decoder of 8 bits others are called 8 bits.
    """
    if frame.bits != 8:
        data = data[: frame.precision] + b'\x08' + data[frame.precision + 1 :]
    channels = len(frame.components)
    try:
        if frame.kind == _LOSSLESS:
            simplejpeg.decode_jpeg(data, {1: 'GRAY', 4: 'CMYK'}.get(channels, 'RGB'))
        else:
            simplejpeg.decode_jpeg(data, 'CMYK' if channels == 4 else 'GRAY', min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        said = str(error).removeprefix('Corrupt JPEG data: ')
    else:
        return
    if left := _LEFT_OVER.search(said):
        source.warn('%s bytes of its compressed image are left over; it may be damaged, look at the result', left[1])
    elif _DAMAGE.search(said):
        if not source.allow_truncated:
            raise ImageError(f'its compressed image is damaged ({said}); --allow-truncated takes what is there')
        source.warn('damaged: %s; parts of the image may be wrong', said)


def _up_to_segment(data: bytes, frame: _Frame) -> bytes:
    """Return the data without a marker segment at their end that is cut, which no decoder gets past."""
    at = frame.scan
    while 0 <= at < len(data) - 1:
        marker = data[at + 1]
        if marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD9:
            at += 1 if marker == 0xFF else 2
        else:
            size = struct.unpack_from('>H', data, at + 2)[0] if at + 4 <= len(data) else len(data)
            if at + 2 + size > len(data):
                return data[:at]
            at += 2 + size
        at = data.find(b'\xff', at)
    return data


def _has_end(data: bytes, frame: _Frame) -> bool:
    """Tell whether the marker at the end stands behind the compressed image, not in a segment of other data."""
    at = frame.scan
    while 0 <= at < len(data) - 1:
        marker = data[at + 1]
        if marker == 0xD9:
            return True
        if marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD8 or at + 4 > len(data):
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + struct.unpack_from('>H', data, at + 2)[0]
        at = data.find(b'\xff', at)
    return False


def _ended(data: bytes, filler: bytes) -> bytes:
    """Return data that lack their end with so much, and an end, put behind them."""
    return data.rstrip(b'\xff') + filler + _END


def _decode_plain(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=['JPEG']) as image:
        return np.asarray(image)


def _is_whole(data: bytes, frame: _Frame, pixels: np.ndarray, decode_all: Callable[[bytes], np.ndarray]) -> bool:
    """Tell whether all that is missing is the marker at the end: further bits would then change nothing."""
    if frame.kind in (2, 10) and not _has_all_scans(data, frame):
        return False
    # where the data have restart markers, the next one may be what is expected
    restarts = [b'', *(bytes([0xFF, marker]) for marker in range(0xD0, 0xD8))] if frame.restarts else [b'']
    fillers = [restart + filler for restart in restarts for filler in _FILLERS]
    return all(np.array_equal(decode_all(_ended(data, filler)), pixels) for filler in fillers)


def _has_all_scans(data: bytes, frame: _Frame) -> bool:
    """Tell whether the scans of a progressive JPEG that have begun give every bit of every coefficient (G.1.1.1)."""
    missing = {(component, index) for component in frame.components for index in range(64)}
    at = frame.scan
    while 0 <= at < len(data) - 4:
        marker = data[at + 1]
        if marker == 0xDA:
            (size,) = struct.unpack_from('>H', data, at + 2)
            body = data[at + 4 : at + 2 + size]
            if len(body) < 4 or len(body) < 4 + 2 * body[0]:
                return False
            first, last, bits = body[1 + 2 * body[0] :][:3]
            if bits & 0x0F == 0:
                missing -= {(item, index) for item in body[1 : 1 + 2 * body[0] : 2] for index in range(first, last + 1)}
            at += 2 + size
        elif marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD7:
            at += 1 if marker == 0xFF else 2
        else:
            (size,) = struct.unpack_from('>H', data, at + 2)
            at += 2 + size
        at = data.find(b'\xff', at)
    return not missing


def _decode_rare(data: bytes, frame: _Frame, source: Source) -> Decoded:
    """Decode 12 bits and lossless JPEG; their metadata are read from a picture of one pixel that has them."""

    def decode_all(data: bytes) -> np.ndarray:
        try:
            return imagecodecs.jpeg_decode(data, bitspersample=frame.bits)
        except (RuntimeError, ValueError) as error:
            raise ImageError(
                f'a JPEG of {frame.bits} bits that cannot be decoded ({error}); it may be damaged'
            ) from error

    if _has_end(data, frame):
        samples = decode_all(data)
        _refuse_damage(data, frame, source)
    else:
        samples = _load_without_end(data, frame, decode_all, source)
    samples = samples[..., 0] if samples.shape[2:] == (1,) else samples
    if samples.shape[:2] != (frame.height, frame.width) or samples.shape[2:] not in ((), (3,), (4,)):
        raise ImageError(f'decoders disagree on the image: {samples.shape} and {frame.width} x {frame.height}')
    pixels = scale_bits(samples, frame.bits)
    space = {(): 'GRAY', (3,): 'RGB', (4,): 'CMYK'}[pixels.shape[2:]]
    if space == 'CMYK':
        pixels = np.iinfo(pixels.dtype).max - pixels  # JPEG stores the light that an ink leaves, as Photoshop does
    with Image.open(io.BytesIO(_picture_with(frame.applications)), formats=['JPEG']) as image:
        return _with_metadata(image, pixels, space, frame, source)


def _picture_with(applications: list[bytes]) -> bytes:
    """Return a JPEG of one gray pixel with some segments of another."""
    buffer = io.BytesIO()
    Image.new('L', (1, 1)).save(buffer, 'JPEG')
    plain = buffer.getvalue()
    kept = [segment for segment in applications if not segment.startswith(b'\xff\xee')]
    return plain[:2] + b''.join(kept) + plain[20:]  # without its own JFIF segment
