"""The only file that knows CIELAB: conversions and the ranges that networks see.

Everywhere in this package `rgb` is sRGB in [0, 1], `l` is lightness in [0, 100], `ab` is in Lab units (about -110 to
110 for sRGB colours) under D65, as kornia and scikit-image define them. Conversions are computed in float32 or better,
also under autocast: eight bits of mantissa shift colours visibly.
"""


import kornia
import torch
from torch import Tensor

__all__ = ['gray_rgb_from_l', 'lab_to_rgb', 'normalize_l', 'rgb_to_lab']


def rgb_to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Split a colour image into lightness and colour.

    Args:
        rgb: (B, 3, H, W) float, sRGB in [0, 1].

    Returns:
        l (B, 1, H, W) in [0, 100] and ab (B, 2, H, W) in Lab units; float32, or float64 for float64.
    """
    with torch.autocast(rgb.device.type, enabled=False):
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
    with torch.autocast(l.device.type, enabled=False):
        return kornia.color.lab_to_rgb(torch.cat([l.to(dtype), ab.to(dtype)], dim=1), clip=True)


def gray_rgb_from_l(l: Tensor) -> Tensor:
    """Show lightness alone: the gray image whose Lab colour is zero.

    Args:
        l: (B, 1, H, W) float in [0, 100].

    Returns:
        (B, 3, H, W) sRGB in [0, 1], three equal channels.
    """
    return lab_to_rgb(l, l.new_zeros(l.shape[0], 2, *l.shape[2:]))


def normalize_l(l: Tensor) -> Tensor:
    """Scale lightness from [0, 100] to [-1, 1], the range in which encoders take it."""
    return l / 50 - 1
