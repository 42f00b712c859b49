"""The only file that knows CIELAB: conversions and the ranges that networks see.

Everywhere in this package `rgb` is sRGB in [0, 1], `l` is lightness in [0, 100], `ab` is in Lab units (about -110 to
110 for sRGB colours) under D65, as kornia and scikit-image define them. Conversions are computed in float32 or better,
also under autocast: eight bits of mantissa shift colours visibly.
"""

import functools
from contextlib import AbstractContextManager, nullcontext

import kornia
import torch
from torch import Tensor

from dualattn.ops.photo import PhotoCurve, PhotoSpace

__all__ = [
    'CHROMA_STEPS',
    'describe_lab',
    'gray_rgb_from_l',
    'lab_to_rgb',
    'lab_to_rgb_keeping_l',
    'lab_to_rgb_of_luma',
    'look_up_luminance',
    'luminance_tables',
    'normalize_l',
    'rgb_to_lab',
]

CHROMA_STEPS = 10  # halvings; a thousandth of a colour is less than a level of 8 bits
_TOLERANCE = 5e-5  # of sRGB: the rounded constants of the conversion put white itself 2e-5 above 1

# what kornia and scikit-image define: Lab from the eye's response, sRGB from linear light
_WHITE = (0.95047, 1.0, 1.08883)  # D65
_CUBE_FROM = 6 / 29  # below it the cube that turns a response into light goes on as a line
_LINE_SLOPE = 1 / 7.787
_LIGHTNESS = PhotoCurve(threshold=0.008856, slope=116 * 7.787, intercept=0.0, scale=116.0, exponent=1 / 3, offset=-16.0)
_ENCODING = PhotoCurve(threshold=0.0031308, slope=12.92, intercept=0.0, scale=1.055, exponent=1 / 2.4, offset=-0.055)
_LUMA_STEPS = 26  # halvings of the interval below
_LUMA_BOUNDS = -60.0, 160.0  # of l, which colours outside sRGB may leave


def _without_autocast(device: torch.device) -> AbstractContextManager:
    # torch knows no autocast for the device on which networks are built without memory
    return nullcontext() if device.type == 'meta' else torch.autocast(device.type, enabled=False)


def rgb_to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Split a colour image into lightness and colour.

    Args:
        rgb: (B, 3, H, W) float, sRGB in [0, 1].

    Returns:
        l (B, 1, H, W) in [0, 100] and ab (B, 2, H, W) in Lab units; float32, or float64 for float64.
    """
    with _without_autocast(rgb.device):
        lab = kornia.color.rgb_to_lab(rgb if rgb.dtype == torch.float64 else rgb.float())
    return lab[:, :1], lab[:, 1:]


def lab_to_rgb(l: Tensor, ab: Tensor) -> Tensor:
    """Join lightness and colour to an image; colours outside sRGB are clipped.

    Args:
        l: (B, 1, H, W) float in [0, 100].
        ab: (B, 2, H, W) float in Lab units.

    Returns:
        (B, 3, H, W) sRGB in [0, 1]; float32, or float64 for float64.
    """
    dtype = torch.promote_types(torch.promote_types(l.dtype, ab.dtype), torch.float32)
    with _without_autocast(l.device):
        return kornia.color.lab_to_rgb(torch.cat([l.to(dtype), ab.to(dtype)], dim=1), clip=True)


@torch.no_grad()
def lab_to_rgb_keeping_l(l: Tensor, ab: Tensor) -> Tensor:
    """Join lightness and colour to an image; colours outside sRGB are made paler until they fit.

    Where `lab_to_rgb` clips each channel, which also moves lightness and hue, ab is scaled by the largest factor in
    [0, 1] whose colour sRGB can show at that lightness. It is for photographs that are looked at: training and metrics
    clip, as the papers do.

    Args:
        l: (B, 1, H, W) float in [0, 100].
        ab: (B, 2, H, W) float in Lab units.

    Returns:
        (B, 3, H, W) sRGB in [0, 1], float32, or float64 for float64; without a gradient.
    """
    dtype = torch.promote_types(torch.promote_types(l.dtype, ab.dtype), torch.float32)
    with _without_autocast(l.device):
        lab = torch.cat([l.to(dtype), ab.to(dtype)], dim=1)
        rgb = kornia.color.lab_to_rgb(lab, clip=False)
        outside = ((rgb.amin(dim=1) < -_TOLERANCE) | (rgb.amax(dim=1) > 1 + _TOLERANCE)).flatten().nonzero()[:, 0]
        if len(outside):
            wrong = lab.transpose(0, 1).reshape(3, -1).index_select(1, outside)
            factor = torch.zeros_like(wrong[0])
            for step in range(1, CHROMA_STEPS + 1):
                linear = _linear_rgb(wrong[0], wrong[1:] * (factor + 0.5**step))
                fits = (linear.amin(dim=0) >= 0) & (linear.amax(dim=0) <= 1)
                factor += fits * 0.5**step
            right = kornia.color.lab_to_rgb(torch.cat([wrong[:1], wrong[1:] * factor])[:, None])[:, 0]
            flat = rgb.transpose(0, 1).reshape(3, -1).index_copy(1, outside, right)
            rgb = flat.view(3, l.shape[0], *l.shape[2:]).transpose(0, 1)
    return rgb.clamp(0, 1)


@torch.no_grad()
def lab_to_rgb_of_luma(luma: Tensor, ab: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Join colour to the luma of a film, which stays as it is.

    Luma is a weighted sum of encoded values, Y' = w_r R' + w_g G' + w_b B' (ITU-R BT.601, BT.709), and not the
    lightness of Lab, so that two colours of one luma may differ in l. Of all colours of this luma the one with these a
    and b is returned: l is found, by halving, in w . rgb(l, a, b) = Y'.

    Args:
        luma: (B, 1, H, W) float in [0, 1].
        ab: (B, 2, H, W) float in Lab units.
        weights: w_r, w_g and w_b, whose sum is 1.

    Returns:
        (B, 3, H, W) RGB as sRGB encodes it, of exactly this luma, outside [0, 1] for what sRGB cannot show; float32, or
        float64 for float64; without a gradient.
    """
    dtype = torch.promote_types(torch.promote_types(luma.dtype, ab.dtype), torch.float32)
    with _without_autocast(luma.device):
        shape = luma.shape[0], *luma.shape[2:]
        y = luma.to(dtype).clamp(0, 1).flatten()
        colors = ab.to(dtype).transpose(0, 1).reshape(2, -1)
        share = y.new_tensor(weights)[:, None]
        lowest, highest = _LUMA_BOUNDS
        l, step = torch.full_like(y, (lowest + highest) / 2), (highest - lowest) / 2
        for _ in range(_LUMA_STEPS):  # luma grows with l
            step /= 2
            l += step * torch.sign(y - (share * _encode(_linear_rgb(l, colors))).sum(dim=0))
        rgb = _encode(_linear_rgb(l, colors))
        rgb = rgb + (y - (share * rgb).sum(dim=0))  # what the last step has left, far below a level
    return rgb.view(3, *shape).transpose(0, 1)


def _encode(linear: Tensor) -> Tensor:
    """Return sRGB of linear RGB, which may lie outside [0, 1]; kornia's curve as a sum, which costs a third."""
    line = linear.clamp(max=_ENCODING.threshold) * _ENCODING.slope
    power = linear.clamp(min=_ENCODING.threshold).pow(_ENCODING.exponent) * _ENCODING.scale + _ENCODING.offset
    return line + power - _ENCODING.threshold * _ENCODING.slope


def _linear_rgb(l: Tensor, ab: Tensor) -> Tensor:
    """Return linear RGB (3, N), in [0, 1] for colours of sRGB, of l (N) and ab (2, N).

    It is the first half of kornia's conversion, without its transfer function, which takes most of the time.
    """
    y = (l + 16) / 116
    cone = torch.stack([y + ab[0] / 500, y, y - ab[1] / 200])
    # a cube that goes on as its tangent below 6/29; without a condition, which costs ten times as much
    xyz = cone.clamp(min=_CUBE_FROM).pow(3) + (cone.clamp(max=_CUBE_FROM) - _CUBE_FROM) * _LINE_SLOPE
    return kornia.color.xyz_to_rgb((xyz * xyz.new_tensor(_WHITE)[:, None])[:, None])[:, 0]


@functools.cache
def describe_lab() -> PhotoSpace:
    """Return Lab and sRGB as `dualattn.ops.photo` takes a colour space; `lab_to_rgb_keeping_l` in numbers."""
    white = torch.diag(torch.tensor(_WHITE, dtype=torch.float64))
    matrix = kornia.color.xyz_to_rgb(white.view(3, 1, 3))[:, 0]  # column i: what the i-th response makes of red, ...
    return PhotoSpace(
        cone_scale=1 / 116,
        cone_offset=16 / 116,
        cone_a=1 / 500,
        cone_b=-1 / 200,
        tangent_from=_CUBE_FROM,
        tangent_slope=_LINE_SLOPE,
        matrix=tuple(matrix.flatten().tolist()),
        lowest=-_TOLERANCE / _ENCODING.slope,
        highest=((1 + _TOLERANCE - _ENCODING.offset) / _ENCODING.scale) ** (1 / _ENCODING.exponent),
        encode=_ENCODING,
    )


@functools.cache
def luminance_tables(levels: int) -> tuple[Tensor, PhotoCurve]:
    """Return what the numbers 0 to `levels` of each channel add to a luminance, (3, levels + 1), and its curve to l."""
    linear = kornia.color.rgb_to_linear_rgb(torch.linspace(0, 1, levels + 1, dtype=torch.float64).expand(1, 3, 1, -1))
    unit = torch.eye(3, dtype=torch.float64).view(3, 3, 1).permute(1, 2, 0)[None]  # (1, 3, 1, 3): red, green, blue
    weights = kornia.color.rgb_to_xyz(unit)[0, 1, 0]
    return (linear[0, :, 0] * weights[:, None]).float(), _LIGHTNESS


def look_up_luminance(pixels: Tensor) -> Tensor:
    """Return the luminance l (...) in [0, 100], float32, of sRGB pixels (..., 3) uint8, by `luminance_tables`.

    It is the lightness of `rgb_to_lab` in operations that an ONNX file can hold, without colours, which take most time.
    """
    tables, curve = luminance_tables(255)
    levels = pixels.int()
    light = sum(table[levels[..., channel]] for channel, table in enumerate(tables))
    bright = curve.scale * light.clamp(min=curve.threshold) ** curve.exponent + curve.offset
    return torch.where(light > curve.threshold, bright, curve.slope * light + curve.intercept)


def gray_rgb_from_l(l: Tensor) -> Tensor:
    """Show lightness alone: the gray image whose Lab colour is zero.

    Args:
        l: (B, 1, H, W) float in [0, 100].

    Returns:
        (B, 3, H, W) sRGB in [0, 1], three equal channels.
    """
    rgb = lab_to_rgb(l, l.new_zeros(l.shape[0], 2, *l.shape[2:]))
    # the matrices of the conversion have so many digits that the three differ by 2e-5
    return rgb[:, 1:2].repeat(1, 3, 1, 1)


def normalize_l(l: Tensor) -> Tensor:
    """Scale lightness from [0, 100] to [-1, 1], the range in which encoders take it."""
    return l / 50 - 1
