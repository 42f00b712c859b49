"""Lightness of photographs and its join with colours, as compiled functions for the CPU.

They are the part of colorization whose cost grows with the photograph. Nothing here says which colour space it is: the
caller hands its numbers over as a `PhotoSpace`. Where `takes_photos` says no, the caller computes the same with torch.
"""

import os
from typing import NamedTuple

import torch
from torch import Tensor

from dualattn.ops import library

__all__ = ['TAPS', 'PhotoCurve', 'PhotoSpace', 'join_lightness', 'lightness', 'takes_photos']

TAPS = 4  # rows of colours that a row of a photograph is made of; kTaps in csrc/cpu/kernels.h


class PhotoCurve(NamedTuple):
    """Scale * x^exponent + offset where x > threshold, slope * x + intercept elsewhere."""

    threshold: float
    slope: float
    intercept: float
    scale: float
    exponent: float
    offset: float


class PhotoSpace(NamedTuple):
    """A colour space of a lightness l and two opponent colours a and b, as Lab is one.

    Cones are (y + cone_a a, y, y + cone_b b) with y = cone_scale l + cone_offset. Linear rgb is `matrix`, by rows,
    times the cubes of the cones; a cube goes on as a line of `tangent_slope` below `tangent_from`. `encode` makes rgb
    of it. Colours count as shown by rgb while their linear values lie in [lowest, highest], about [0, 1].
    """

    cone_scale: float
    cone_offset: float
    cone_a: float
    cone_b: float
    tangent_from: float
    tangent_slope: float
    matrix: tuple[float, ...]
    lowest: float
    highest: float
    encode: PhotoCurve

    def numbers(self) -> Tensor:
        """Return the numbers in the order of `PhotoSpace` in csrc/cpu/kernels.h, float32."""
        return torch.tensor([*self[:6], *self.matrix, self.lowest, self.highest, *self.encode], dtype=torch.float32)


def takes_photos(device: torch.device) -> bool:
    """Tell whether the compiled functions are there for a device."""
    return (
        device.type == 'cpu' and library.has_photo_kernels() and os.environ.get('DUALATTN_BACKEND', '') != 'reference'
    )


def lightness(pixels: Tensor, tables: Tensor, curve: PhotoCurve) -> Tensor:
    """Return l (H, W), float32: the curve of the sum over the channels of tables[channel, pixel].

    Args:
        pixels: (H, W, 3) uint8 or uint16.
        tables: (3, 256) or (3, 65536) float32; their sums are at most about 1.
        curve: from those sums to l.

    Raises:
        RuntimeError: a tensor has another dtype or shape.
    """
    numbers = torch.tensor(curve, dtype=torch.float32)
    return torch.ops.dualattn.lightness(pixels.contiguous(), tables.contiguous(), numbers)


def join_lightness(
    l: Tensor, ab: Tensor, first: Tensor, weights: Tensor, space: PhotoSpace, halvings: int, dtype: torch.dtype
) -> Tensor:
    """Enlarge the rows of colours, join them to a lightness, and make colours paler that rgb cannot show.

    The colours of row y are the sum over t of weights[y, t] * ab[:, first[y] + t]. A colour outside rgb is scaled by
    the largest factor in [0, 1] that fits, which is searched by halving.

    Args:
        l: (H, W) float32.
        ab: (2, h, W) float32, h at least `TAPS`.
        first: (H) int64 in [0, h - TAPS].
        weights: (H, TAPS) float32.
        space: what l and ab are.
        halvings: of the interval in which the factor is searched.
        dtype: of the result, uint8 or uint16; rgb in [0, 1] fills its range.

    Returns:
        rgb (H, W, 3).

    Raises:
        RuntimeError: a tensor has another dtype or shape, or `first` leaves ab.
    """
    levels = torch.iinfo(dtype).max
    return torch.ops.dualattn.join_lightness(
        l.contiguous(), ab.contiguous(), first.contiguous(), weights.contiguous(), space.numbers(), halvings, levels
    )
