"""What Pillow decodes as it is, all of it at 8 bits: GIF, BMP, WebP, AVIF; and AVIF of 10 and 12 bits by libavif."""

import io
import struct

import imagecodecs
import numpy as np
from PIL import Image, ImageFile

from dualattn.io.photos import color_profile, metadata
from dualattn.io.photos.color_profile import ProfileError
from dualattn.io.photos.photo import ImageError
from dualattn.io.photos.reading import boxes, cut
from dualattn.io.photos.reading.source import Decoded, Source, scale_bits

_MODES = ('1', 'L', 'P', 'RGB', 'RGBX')
# parts of a file that the pixels, or how they are stored, stand in; 'of no name' is cut before its name
_WEBP_PIXELS = {'VP8', 'VP8L', 'VP8X', 'ALPH', 'ANIM', 'ANMF', 'ICCP'}
MEDIA_PIXELS = {'ftyp', 'meta', 'mdat', 'idat', 'moov', 'of no name'}


def decode(source: Source, kind: str) -> Decoded:
    """Decode the first frame of a GIF, BMP, WebP or AVIF.

    Raises:
        ImageError: a kind that is not supported.
    """
    data = source.read()
    if kind == 'WEBP':
        data = _mend_webp(data, source)
    elif kind == 'AVIF':
        data = cut.mend(source, data, cut.find_cut_box(data), MEDIA_PIXELS)
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        source.check_size(*image.size)
        if getattr(image, 'is_animated', False):
            source.warn('%d frames or pages, the first one is used', getattr(image, 'n_frames', 1))
        profile, bits, exact = image.info.get('icc_profile'), 8, None
        if kind == 'BMP':
            profile = _profile_of_bmp(data)
        elif kind == 'AVIF':
            bits, profile = _describe_avif(data, profile)
            exact = imagecodecs.avif_decode(data, index=0, numthreads=1) if bits > 8 else None
        loaded = _load(image, data, source)
        orientation, exif = metadata.read_exif(image, source.path)
        if kind == 'AVIF':
            exif = _exif_of_avif(image, source) or exif
        pixels, space, alpha = _pixels(loaded) if exact is None else _exact(exact, bits, image)
        return Decoded(
            pixels,
            space,
            alpha,
            profile,
            orientation,
            exif,
            metadata.read_dpi(image, exif, orientation),
            metadata.read_text(image),
            metadata.read_xmp(image),
        )


def _mend_webp(data: bytes, source: Source) -> bytes:
    found = cut.find_cut_chunk(data)
    needed = _WEBP_PIXELS
    if found and not any(name in data[: found.start] for name in (b'VP8 ', b'VP8L', b'ANMF')):
        needed = {*_WEBP_PIXELS, found.name}
    mended = cut.mend(source, data, found, needed)
    return mended[:4] + struct.pack('<I', len(mended) - 8) + mended[8:] if len(mended) < len(data) else mended


def _load(image: Image.Image, data: bytes, source: Source) -> Image.Image:
    """Return the image with its pixels; those of a cut one that can be decoded, if the source allows it."""
    try:
        image.load()
    except OSError as error:
        if 'truncated' not in str(error):
            raise
    else:
        return image
    cut.refuse(source, 'a part of the image is missing')
    parser = ImageFile.Parser()
    parser.feed(data)
    parser.feed(b'')  # the first one has opened the image, this one decodes
    if parser.image is None:
        raise ImageError('the file is truncated, and nothing of the image is left')
    return parser.image


def _pixels(image: Image.Image) -> tuple[np.ndarray, str, np.ndarray | None]:
    is_gray, alpha = image.mode in ('1', 'L', 'LA', 'La'), None
    if image.has_transparency_data:
        image = image.convert('LA' if is_gray else 'RGBA')
        alpha = np.asarray(image.getchannel('A'))
    elif image.mode not in _MODES:
        raise ImageError(f"pixels of kind '{image.mode}' are not supported; save it as 8-bit or 16-bit RGB or gray")
    image = image.convert('L' if is_gray else 'RGB')
    return np.asarray(image), 'GRAY' if is_gray else 'RGB', alpha


def _exact(samples: np.ndarray, bits: int, image: Image.Image) -> tuple[np.ndarray, str, np.ndarray | None]:
    """Return pixels of more than 8 bits, which Pillow would cut, in the shape that it gives them."""
    samples = samples[..., None] if samples.ndim == 2 else samples
    if samples.shape[1::-1] != image.size or samples.dtype != np.uint16 or samples.shape[-1] > 4:
        raise ImageError(f'decoders disagree on the image: {image.size} and {samples.shape} of {samples.dtype}')
    samples = scale_bits(samples, bits)
    alpha = samples[..., -1].copy() if samples.shape[-1] in (2, 4) else None
    colors = samples[..., :-1] if alpha is not None else samples
    if colors.shape[-1] == 1:
        return colors[..., 0].copy(), 'GRAY', alpha
    return np.ascontiguousarray(colors), 'RGB', alpha


def _profile_of_bmp(data: bytes) -> bytes | None:
    """Return the profile that a BMP with a header of version 5 embeds, or None."""
    if len(data) < 138 or struct.unpack_from('<I', data, 14)[0] < 124 or data[70:74] != b'DEBM':
        return None
    start, size = struct.unpack_from('<II', data, 14 + 112)
    return data[14 + start : 14 + start + size] or None


def _exif_of_avif(image: Image.Image, source: Source) -> bytes | None:
    """Return the entries that the file has: where it turns the image itself, Pillow's are a copy without accents."""
    decoder = getattr(image, '_decoder', None)
    block = next((item for item in decoder.get_info()[4:5] if isinstance(item, bytes)), None) if decoder else None
    return metadata.keep_exif(lambda: metadata.load_exif(block), source.path)[1] if block else None


def _describe_avif(data: bytes, profile: bytes | None) -> tuple[int, bytes | None]:
    """Return bits per channel and the profile of an AVIF.

    Raises:
        ImageError: its colours are none that sRGB can show.
    """
    found = list(boxes.walk(data))
    config = next((body for name, body in found if name == b'av1C' and len(body) >= 3), b'\0\0\0')
    bits = 8 if not config[2] & 0x40 else 12 if config[2] & 0x20 else 10
    profile = profile or boxes.icc_profile(found)
    stated = boxes.nclx(found)
    if stated is not None:
        try:
            stated_profile = color_profile.code_point_profile(*stated)
        except ProfileError as error:
            if profile is None:
                raise ImageError(str(error)) from error
        else:
            profile = profile or stated_profile
    return bits, profile
