"""Luminance of photographs: read from pixels, and joined again with colours that were predicted small.

Both run on the compiled functions of `dualattn.ops.photo` where those are, and band by band on torch otherwise.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from colorization.color import CHROMA_STEPS, describe_lab, lab_to_rgb_keeping_l, luminance_tables, rgb_to_lab
from dualattn.ops.photo import TAPS, join_lightness, lightness, takes_photos

__all__ = ['extract_l', 'join_luminance']

BAND_PIXELS = 1 << 18  # full-resolution pixels that torch has as floats at a time; more is slower, and takes memory


def extract_l(pixels: np.ndarray) -> Tensor:
    """Return the luminance (H, W) in [0, 100], float32, of gray (H, W) or RGB (H, W, 3) pixels, uint8 or uint16."""
    levels = np.iinfo(pixels.dtype).max
    if pixels.ndim == 3 and all(np.array_equal(pixels[..., 0], pixels[..., channel]) for channel in (1, 2)):
        pixels = pixels[..., 0]  # gray stored as RGB, as most black-and-white JPEGs are: the quick way serves
    if pixels.ndim == 2:
        table, _ = rgb_to_lab(torch.linspace(0, 1, levels + 1).expand(1, 3, 1, -1))
        return torch.from_numpy(table[0, 0, 0].numpy()[pixels])
    if takes_photos(torch.device('cpu')):
        # torch cannot express that an array is read-only, and warns
        pixels = np.require(pixels, requirements=['C', 'W'])
        return lightness(torch.from_numpy(pixels), *luminance_tables(int(levels)))
    l = torch.empty(pixels.shape[:2])
    rows = max(1, BAND_PIXELS // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        band = pixels[top : top + rows].astype(np.float32) / levels
        l[top : top + rows], _ = (part[0, 0] for part in rgb_to_lab(torch.from_numpy(band).permute(2, 0, 1)[None]))
    return l


@torch.inference_mode()
def join_luminance(l: Tensor, ab: Tensor, dtype: np.dtype) -> np.ndarray:
    """Enlarge colours smoothly (bicubic) to the size of a luminance and join both; see `lab_to_rgb_keeping_l`.

    Args:
        l: (H, W) in [0, 100], on any device.
        ab: (2, h, w) in Lab units, on the device that computes.
        dtype: of the result, uint8 or uint16.

    Returns:
        sRGB (H, W, 3).
    """
    height, width = l.shape
    # Bicubic enlargement is separable and linear: columns for the whole image, then rows by a matrix (H, h), which is
    # the enlargement of an identity. Bands so join without seams.
    wide = F.interpolate(ab[None].float(), (ab.shape[1], width), mode='bicubic', align_corners=False)[0]
    identity = torch.eye(ab.shape[1], device=ab.device)[None, None]
    rows = F.interpolate(identity, (height, ab.shape[1]), mode='bicubic', align_corners=False)[0, 0]
    if takes_photos(ab.device) and ab.shape[1] >= TAPS and dtype in (np.uint8, np.uint16):
        first, weights = _compress_rows(rows)
        joined = join_lightness(
            l.to('cpu', torch.float32), wide, first, weights, describe_lab(), CHROMA_STEPS, _torch_dtype(dtype)
        )
        return joined.numpy()
    return _join_bands(l, rows, wide, dtype)


def _compress_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first column (H) of the `TAPS` in which each row of a banded matrix (H, h) lies, and its numbers."""
    first = (rows != 0).float().argmax(dim=1).clamp(max=rows.shape[1] - TAPS)
    return first, rows.gather(1, first[:, None] + torch.arange(TAPS))


def _torch_dtype(dtype: np.dtype) -> torch.dtype:
    return torch.uint8 if dtype == np.uint8 else torch.uint16


def _join_bands(l: Tensor, rows: Tensor, wide: Tensor, dtype: np.dtype) -> np.ndarray:
    """Join l (H, W) and the rows (H, h) of wide colours (2, h, W), a band of rows at a time."""
    (height, width), device, levels = l.shape, wide.device, np.iinfo(dtype).max
    out = np.empty((height, width, 3), dtype)
    step = max(1, BAND_PIXELS // width)
    for top in range(0, height, step):
        band = slice(top, top + step)
        rgb = lab_to_rgb_keeping_l(l[band].to(device)[None, None], (rows[band] @ wide)[None])
        out[band] = (rgb[0].permute(1, 2, 0) * levels).round().cpu().numpy()
    return out
