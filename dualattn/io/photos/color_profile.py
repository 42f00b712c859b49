"""Colour spaces to sRGB, at 8 and at 16 bits, by littleCMS; profiles of spaces that files state in other ways."""

import os
import struct
from functools import lru_cache

import imagecodecs
import numpy as np
from PIL import ImageCms

from dualattn.io.photos import messages

BAND_PIXELS = 1 << 22  # pixels converted at a time, so that the copies of a large scan stay small
MAX_BYTES = 16 << 20  # of a profile; the largest of printers have 3 MB
SRGB_PRIMARIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)  # x and y of red, green and blue
D65, D50 = (0.3127, 0.3290), (0.34567, 0.35850)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
# littleCMS's name of a kind of pixels, and the signature that a profile has for it (ICC.1:2022, 7.2.6)
_SPACES = {'GRAY': ('gray', 'GRAY'), 'RGB': ('rgb', 'RGB'), 'CMYK': ('cmyk', 'CMYK'), 'LAB': ('lab', 'Lab')}
# ITU-T H.273, tables 2 and 3: primaries with their white point, and gammas; PQ (16) and HLG (18) are no such curves
_PRIMARIES = {
    1: (SRGB_PRIMARIES, D65),
    4: ((0.67, 0.33, 0.21, 0.71, 0.14, 0.08), (0.310, 0.316)),
    5: ((0.64, 0.33, 0.29, 0.60, 0.15, 0.06), D65),
    6: ((0.630, 0.340, 0.310, 0.595, 0.155, 0.070), D65),
    7: ((0.630, 0.340, 0.310, 0.595, 0.155, 0.070), D65),
    9: ((0.708, 0.292, 0.170, 0.797, 0.131, 0.046), D65),
    11: ((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), D65),
}
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
# Television's curves (1, 6, 14, 15) are meant to be shown as sRGB's is (13): every player and browser does so.
_SRGB_TRANSFERS = (1, 6, 13, 14, 15)
UNSPECIFIED = 2


class ProfileError(ValueError):
    """A profile that is broken, or that does not fit the image or the conversion asked for."""


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return an sRGB profile for RGB files, byte for byte the same on every call."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    # littleCMS writes the time of creation into the header; a fixed one keeps outputs reproducible.
    return profile[:24] + struct.pack('>6H', 2000, 1, 1, 0, 0, 0) + profile[36:]


@lru_cache(maxsize=1)
def lab_profile() -> bytes:
    """Return the profile of Lab under D50."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile('LAB')).tobytes()  # of D50, as TIFF's Lab


def color_space(profile: bytes) -> str:
    """Return the space of the pixels that a profile describes: 'RGB', 'GRAY', 'CMYK', ..."""
    return profile[16:20].decode('latin-1').strip()


def matrix_profile(
    primaries: tuple[float, ...] = SRGB_PRIMARIES, white: tuple[float, float] = D65, gamma: float | None = None
) -> bytes:
    """Return the profile of an RGB space.

    Args:
        primaries: x and y of red, green and blue.
        white: x and y of white.
        gamma: exponent that turns a coded value into light; None takes sRGB's curve.

    Raises:
        ProfileError: there is no such space.
    """
    curve = {'gamma': gamma} if gamma is not None else {'transferfunction': _srgb_curve()}
    try:
        # littleCMS stores gammas as multiples of 1/256 and 1/65536, so a nearly linear one stays what it is
        return imagecodecs.cms_profile('rgb', whitepoint=list(white), primaries=list(primaries), **curve)
    except (ValueError, RuntimeError) as error:
        raise ProfileError(f'primaries {primaries}, white {white} and gamma {gamma} are no colour space') from error


@lru_cache(maxsize=1)
def _srgb_curve() -> np.ndarray:
    """Return light in [0, 65535] by coded value, 4096 steps of IEC 61966-2-1."""
    coded = np.linspace(0, 1, 4096)
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return np.rint(light * 65535).astype(np.uint16)


def code_point_profile(primaries: int, transfer: int) -> bytes | None:
    """Return the profile of code points of ITU-T H.273, as PNG (cICP), AVIF and HEIF state them; None for sRGB.

    Raises:
        ProfileError: a space that no profile can bring to sRGB, as those of high dynamic range are.
    """
    gamma = gamma_of(transfer)
    space = primaries_of(primaries)
    return None if space == _PRIMARIES[1] and gamma is None else matrix_profile(*space, gamma)


def primaries_of(code: int) -> tuple[tuple[float, ...], tuple[float, float]]:
    """Return the primaries and the white of a code point of ITU-T H.273.

    Raises:
        ProfileError: there is none that sRGB is reached from.
    """
    if code == UNSPECIFIED:
        code = 1
    if code not in _PRIMARIES:
        raise ProfileError(f'colours with the primaries {code} of H.273, which are not supported; save it as sRGB')
    return _PRIMARIES[code]


def gamma_of(code: int) -> float | None:
    """Return the exponent of a transfer function of ITU-T H.273, None for sRGB's curve.

    Raises:
        ProfileError: one of high dynamic range, or none that is known.
    """
    if code in (16, 18):
        name = {16: 'PQ', 18: 'HLG'}[code]
        raise ProfileError(f'high dynamic range ({name}), which sRGB cannot show; save it with standard range')
    if code not in _GAMMAS and code not in (*_SRGB_TRANSFERS, UNSPECIFIED):
        raise ProfileError(f'colours with the transfer {code} of H.273, which is not supported; save it as sRGB')
    return _GAMMAS.get(code)


@lru_cache(maxsize=16)
def is_srgb(profile: bytes) -> bool:
    """Tell whether an RGB profile maps a grid of 9 x 9 x 9 colours to sRGB within one level of 255.

    Raises:
        ProfileError: the profile is broken or not one for RGB.
    """
    levels = np.linspace(0, 65535, 9).round().astype(np.uint16)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    return int(np.abs(convert(grid, 'RGB', profile).astype(int) - grid).max()) <= 257 * 1.25


def convert(pixels: np.ndarray, space: str, profile: bytes) -> np.ndarray:
    """Convert pixels to sRGB-coded RGB: relative colorimetric with black point compensation, as viewers do.

    Args:
        pixels: (H, W) for GRAY, (H, W, 3) for RGB, (H, W, 4) for CMYK, uint8 or uint16; (H, W, 3) float32 for LAB.
        space: the kind of the pixels.
        profile: an ICC profile of that kind.

    Returns:
        (H, W, 3) uint8, or uint16 for uint16 and float32; colours outside the sRGB gamut are clipped.

    Raises:
        ProfileError: the profile is broken or describes another space.
    """
    name, signature = _SPACES[space]
    if color_space(profile) != signature:
        raise ProfileError(f'the colour profile is for {color_space(profile) or "nothing"}, the image is {space}')
    if len(profile) > MAX_BYTES:
        raise ProfileError(f'the colour profile has {len(profile)} bytes, more than {MAX_BYTES}')
    kind = np.uint8 if pixels.dtype == np.uint8 else np.uint16
    out = np.empty((*pixels.shape[:2], 3), kind)
    rows = max(1, BAND_PIXELS // pixels.shape[1])
    try:
        flags = 0 if kind == np.uint8 or _is_exact_when_optimized(name, profile) else imagecodecs.CMS.FLAGS.NOOPTIMIZE
        for top in range(0, len(pixels), rows):
            band = np.ascontiguousarray(pixels[top : top + rows])
            out[top : top + rows] = _transform(band, name, profile, kind, flags).reshape(-1, pixels.shape[1], 3)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ProfileError(f'the colour profile cannot be used: {error}') from error
    return out


def _transform(pixels: np.ndarray, name: str, profile: bytes, kind: type, flags: int) -> np.ndarray:
    return imagecodecs.cms_transform(
        pixels,
        profile,
        srgb_profile(),
        colorspace=name,
        outcolorspace='rgb',
        outdtype=kind,
        intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        flags=flags | imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION,
    )


@lru_cache(maxsize=16)
def _is_exact_when_optimized(name: str, profile: bytes) -> bool:
    """Tell whether the quick way of littleCMS, ten times as fast, keeps 16 bits of this profile.

    It replaces a chain of steps by short tables, which is exact for a pure gamma, and costs others the tones of their
    darks: up to a twentieth of the range.
    """
    channels = {'gray': 1, 'rgb': 3, 'cmyk': 4, 'lab': 3}[name]
    if name in ('gray', 'lab'):
        return False  # a table of all grays is quick either way; Lab has no curves
    probe = (np.random.default_rng(0).random((64, 64, channels)) ** 2 * 65535).astype(np.uint16)
    quick = _transform(probe, name, profile, np.uint16, 0).astype(int)
    exact = _transform(probe, name, profile, np.uint16, imagecodecs.CMS.FLAGS.NOOPTIMIZE)
    return int(np.abs(quick - exact).max()) <= 16


def adapt_lab(lab: np.ndarray, white: tuple[float, float] | None) -> np.ndarray:
    """Bring Lab under another white to D50, that of profiles and the default of TIFF, by Bradford's adaptation.

    Args:
        lab: (H, W, 3) float32, L in [0, 100].
        white: x and y of the white that Lab is under; None for D50.

    Returns:
        (H, W, 3) float32 under D50.
    """
    if white is None or max(abs(white[0] - D50[0]), abs(white[1] - D50[1])) < 0.002 or not 0.1 < white[1] < 0.9:
        return lab
    whites = [np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in (white, D50)]
    cones = [_BRADFORD @ each for each in whites]
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(cones[1] / cones[0]) @ _BRADFORD
    matrix = (adaptation * whites[0] / whites[1][:, None]).T.astype(np.float32)  # between shares of each white
    out = np.empty_like(lab)
    rows = max(1, BAND_PIXELS // lab.shape[1])
    for top in range(0, len(lab), rows):
        band = lab[top : top + rows]
        y = (band[..., 0] + 16) / 116
        root = np.stack([y + band[..., 1] / 500, y, y - band[..., 2] / 200], axis=-1)
        share = np.where(root > 6 / 29, root**3, (root - 4 / 29) * (108 / 841)) @ matrix
        root = np.where(share > (6 / 29) ** 3, np.cbrt(share), share * (841 / 108) + 4 / 29)
        l, a, b = 116 * root[..., 1] - 16, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])
        out[top : top + rows] = np.stack([l, a, b], axis=-1)
    return out


@lru_cache(maxsize=16)
def _gray_table(profile: bytes, levels: int) -> np.ndarray:
    """Return the sRGB code, uint8 or uint16, of each of so many gray levels, through a profile for gray or for RGB."""
    ramp = np.rint(np.linspace(0, 65535, levels)).astype(np.uint16)[None]
    if color_space(profile) == 'RGB':  # the neutral axis
        mapped = convert(np.repeat(ramp[..., None], 3, axis=2), 'RGB', profile)
    else:
        mapped = convert(ramp, 'GRAY', profile)
    return np.rint(mapped[0, :, 1] / (257 if levels == 256 else 1)).astype(np.uint8 if levels == 256 else np.uint16)


def gray_to_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """Convert gray pixels with a gray profile (or the neutral axis of an RGB profile) to sRGB-coded gray.

    Args:
        pixels: (H, W) uint8 or uint16.

    Returns:
        (H, W) of the same type.

    Raises:
        ProfileError: the profile is broken or for another kind of pixels.
    """
    return _gray_table(profile, np.iinfo(pixels.dtype).max + 1)[pixels]


def cmyk_to_rgb(pixels: np.ndarray) -> np.ndarray:
    """Turn CMYK without a profile into RGB, as Pillow does: each ink takes away its light, black that of all.

    Args:
        pixels: (H, W, 4) uint8 or uint16, 0 is no ink.

    Returns:
        (H, W, 3) of the same type.
    """
    full = int(np.iinfo(pixels.dtype).max)
    out = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    rows = max(1, BAND_PIXELS // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        band = full - pixels[top : top + rows].astype(np.uint64)
        out[top : top + rows] = (band[..., :3] * band[..., 3:] + full // 2) // full
    return out


def to_srgb(
    pixels: np.ndarray, space: str, profile: bytes | None, path: str | os.PathLike
) -> tuple[np.ndarray, bytes | None]:
    """Bring decoded pixels to sRGB; a profile that cannot be used is ignored, and that is said.

    Args:
        pixels: as for `convert`.
        space: the kind of the pixels.
        profile: their profile; None means sRGB, and for CMYK the plain conversion.
        path: what messages call the file.

    Returns:
        (H, W) gray or (H, W, 3) RGB, uint8 or uint16, and the sRGB profile to embed: None where nothing was stated.
    """
    if space == 'LAB':
        return convert(pixels, 'LAB', lab_profile()), srgb_profile()
    if profile:
        try:
            if space == 'GRAY':
                return gray_to_srgb(pixels, profile), srgb_profile()
            if space == 'RGB' and is_srgb(profile):
                return pixels, profile
            return convert(pixels, space, profile), srgb_profile()
        except ProfileError as error:
            messages.warn(path, 'taken as sRGB, because %s', error)
    return cmyk_to_rgb(pixels) if space == 'CMYK' else pixels, None
