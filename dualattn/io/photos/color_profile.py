"""ICC colour profiles to sRGB: littleCMS through Pillow at 8 bits, profile curves and matrices at 16 bits."""

import logging
import os
import struct
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

logger = logging.getLogger(__name__)

BAND_PIXELS = 1 << 20  # pixels converted at a time, so that the float copies of a large scan stay small


class ProfileError(ValueError):
    """A profile that is broken, or that does not fit the image or the conversion asked for."""


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return an sRGB profile for RGB files, byte for byte the same on every call."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    # littleCMS writes the time of creation into the header; a fixed one keeps outputs reproducible.
    return profile[:24] + struct.pack('>6H', 2000, 1, 1, 0, 0, 0) + profile[36:]


def color_space(profile: bytes) -> str:
    """Return the space of the pixels that a profile describes: 'RGB', 'GRAY', 'CMYK', ..."""
    return profile[16:20].decode('latin-1').strip()


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.ImageCmsProfile(BytesIO(srgb_profile()))
        return ImageCms.buildTransform(
            source,
            target,
            mode,
            'RGB',
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ProfileError(f'the colour profile cannot be used: {error}') from error


@lru_cache(maxsize=16)
def is_srgb(profile: bytes) -> bool:
    """Tell whether an RGB profile maps a grid of 9 x 9 x 9 colours to sRGB within one level of 255.

    Raises:
        ProfileError: the profile is broken or not one for RGB.
    """
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    mapped = ImageCms.applyTransform(Image.fromarray(grid), _transform(profile, 'RGB'))
    return int(np.abs(np.asarray(mapped).astype(int) - grid).max()) <= 1


def image_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an 8-bit image of mode RGB or CMYK with its own profile to an sRGB image of mode RGB.

    Raises:
        ProfileError: the profile is broken or describes another space than that of the image.
    """
    if color_space(profile) != image.mode:
        raise ProfileError(f'the colour profile is for {color_space(profile) or "nothing"}, the image is {image.mode}')
    return ImageCms.applyTransform(image, _transform(profile, image.mode))


def gray_to_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """Convert gray pixels with a gray profile (or the neutral axis of an RGB profile) to sRGB-coded gray.

    Pillow offers littleCMS no gray target, so the tone curve is applied directly, as a table over all levels.

    Args:
        pixels: (H, W) uint8 or uint16.

    Returns:
        (H, W) of the same type.

    Raises:
        ProfileError: the profile is broken or has no tone curve.
    """
    levels = np.iinfo(pixels.dtype).max
    tags = _read_tags(profile)
    linear = _tone_curve(tags, 'kTRC' if color_space(profile) == 'GRAY' else 'gTRC', np.linspace(0.0, 1.0, levels + 1))
    table = np.rint(_encode_srgb(linear) * levels).astype(pixels.dtype)
    return table[pixels]


def rgb16_to_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """Convert 16-bit RGB pixels with a matrix profile to sRGB; Pillow's littleCMS has 8 bits only for RGB.

    Args:
        pixels: (H, W, 3) uint16.

    Returns:
        (H, W, 3) uint16; colours outside the sRGB gamut are clipped.

    Raises:
        ProfileError: the profile is broken, not one for RGB, or made of tables instead of curves and a matrix.
    """
    if color_space(profile) != 'RGB':
        raise ProfileError(f'the colour profile is for {color_space(profile) or "nothing"}, the image is RGB')
    tags, target = _read_tags(profile), _read_tags(srgb_profile())
    axis = np.linspace(0.0, 1.0, 65536)
    curves = [_tone_curve(tags, name, axis).astype(np.float32) for name in ('rTRC', 'gTRC', 'bTRC')]
    # Both matrices lead to the connection space (XYZ, D50), so no white point needs to be adapted.
    matrix = np.linalg.solve(_colorants(target), _colorants(tags)).astype(np.float32)
    out = np.empty_like(pixels)
    rows = max(1, BAND_PIXELS // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        band = pixels[top : top + rows]
        linear = np.stack([curve[band[..., channel]] for channel, curve in enumerate(curves)], axis=-1)
        out[top : top + rows] = np.rint(_encode_srgb(linear @ matrix.T) * 65535)
    return out


def gray_in_srgb(pixels: np.ndarray, profile: bytes | None, path: str | os.PathLike) -> tuple[np.ndarray, bytes | None]:
    """Return gray pixels in sRGB and the profile to embed; a profile for gray cannot go with an RGB output."""
    if not profile:
        return pixels, None
    try:
        return gray_to_srgb(pixels, profile), srgb_profile()
    except ProfileError as error:
        logger.warning('%s: taken as sRGB, because %s', path, error)
        return pixels, None


def rgb16_in_srgb(
    pixels: np.ndarray, profile: bytes | None, path: str | os.PathLike
) -> tuple[np.ndarray | None, bytes | None]:
    """Return 16-bit RGB pixels in sRGB and the profile to embed; no pixels where that can be done at 8 bits only."""
    if not profile:
        return pixels, None
    try:
        if is_srgb(profile):
            return pixels, profile
    except ProfileError as error:
        logger.warning('%s: taken as sRGB, because %s', path, error)
        return pixels, None
    try:
        return rgb16_to_srgb(pixels, profile), srgb_profile()
    except ProfileError as error:
        logger.warning('%s: read at 8 bits, because %s', path, error)
        return None, profile


def _encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Apply the transfer function of sRGB (IEC 61966-2-1) to linear light, clipped to [0, 1]."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _read_tags(profile: bytes) -> dict[str, bytes]:
    """Return the tags of a profile by signature (ICC.1:2022, 7.3: a count, then entries of 12 bytes)."""
    try:
        (count,) = struct.unpack_from('>I', profile, 128)
        entries = [struct.unpack_from('>4sII', profile, 132 + 12 * index) for index in range(min(count, 1000))]
    except struct.error as error:
        raise ProfileError(f'the colour profile is truncated: {error}') from error
    return {name.decode('latin-1'): profile[start : start + size] for name, start, size in entries}


def _tone_curve(tags: dict[str, bytes], name: str, x: np.ndarray) -> np.ndarray:
    """Evaluate a 'curv' (ICC.1:2022, 10.6) or 'para' (10.18) tag at x in [0, 1]; the result is linear light."""
    data = tags.get(name, b'')
    try:
        if data[:4] == b'curv':
            (count,) = struct.unpack_from('>I', data, 8)
            if count == 0:
                return x
            if count == 1:
                return x ** (struct.unpack_from('>H', data, 12)[0] / 256)
            table = np.frombuffer(data, '>u2', count, 12) / 65535
            return np.interp(x, np.linspace(0.0, 1.0, count), table)
        if data[:4] == b'para':
            (kind,) = struct.unpack_from('>H', data, 8)
            size = (1, 3, 4, 5, 7)[kind]
            values = np.frombuffer(data, '>i4', size, 12) / 65536
            g, a, b, c, d, e, f = np.concatenate([values, np.zeros(7 - size)])
            if kind == 0:
                return x**g
            if a == 0:
                raise ValueError('factor a is 0')
            if kind < 3:  # c is an offset of both parts, and the flat part ends where the base turns negative
                d, e, f, c = -b / a, c, c, 0.0
            return np.where(x >= d, np.maximum(a * x + b, 0.0) ** g + e, c * x + f)
    except (struct.error, ValueError, IndexError) as error:
        raise ProfileError(f'the tone curve {name} of the colour profile is broken: {error}') from error
    raise ProfileError(f'the colour profile has no tone curve {name}')


def _colorants(tags: dict[str, bytes]) -> np.ndarray:
    """Return the (3, 3) matrix from linear RGB to XYZ (D50) of a matrix profile, one column per primary."""
    try:
        columns = [np.frombuffer(tags[name], '>i4', 3, 8) / 65536 for name in ('rXYZ', 'gXYZ', 'bXYZ')]
    except (KeyError, ValueError) as error:
        raise ProfileError(f'the colour profile is not of the matrix type: {error!r}') from error
    return np.stack(columns, axis=1)
