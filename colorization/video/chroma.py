"""From the luma of a film and colours in Lab to Cb and Cr, in the film's own matrix."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from colorization.color import lab_to_rgb_of_luma

__all__ = ['ChromaTable', 'find_table', 'fit_to_luma']

LUMA_NODES = 49
AB_NODES = 61
AB_LIMIT = 120.0  # Lab units; no colour of sRGB lies beyond 110
# of luma: below the first no colour at all, from the second on all of it, smoothly; networks guess in what is black
DARKEST, DARK = 0.02, 0.12


def fit_to_luma(luma: Tensor, chroma: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Make colours that RGB cannot show paler until it can, without a change of luma.

    In R'G'B' the colour moves straight towards the gray of its luma, Y' + s (rgb - Y'), which is s (Cb, Cr), with the
    largest s in [0, 1] for which all three lie in [0, 1].

    Args:
        luma: (1, 1, H, W) float in [0, 1].
        chroma: (1, 2, H, W) float, Cb and Cr in [-0.5, 0.5] for colours of RGB.
        weights: shares of red, green and blue in the luma.

    Returns:
        (1, 2, H, W).
    """
    red, green, blue = weights
    cb, cr = chroma[:, :1], chroma[:, 1:]
    away = torch.cat(
        [2 * (1 - red) * cr, -2 * (red * (1 - red) * cr + blue * (1 - blue) * cb) / green, 2 * (1 - blue) * cb], 1
    )
    highest, lowest = away.amax(dim=1, keepdim=True), away.amin(dim=1, keepdim=True)
    above = (1 - luma) / highest.clamp(min=1e-6)
    below = luma / (-lowest).clamp(min=1e-6)
    return chroma * torch.minimum(above, below).clamp(max=1)


class ChromaTable:
    """Cb and Cr that give a and b at a luma, from a table of `color.lab_to_rgb_of_luma`, read between its nodes.

    Solving for each pixel of each frame would take longer than the network; between the nodes the table is off by less
    than a tenth of an 8-bit level on average.

    Args:
        weights: shares of red, green and blue in the luma, w_r, w_g, w_b.
    """

    def __init__(self, weights: tuple[float, float, float]):
        self.weights = weights
        luma, a, b = torch.meshgrid(
            torch.linspace(0, 1, LUMA_NODES),
            torch.linspace(-AB_LIMIT, AB_LIMIT, AB_NODES),
            torch.linspace(-AB_LIMIT, AB_LIMIT, AB_NODES),
            indexing='ij',
        )
        luma = luma.reshape(1, 1, LUMA_NODES, -1)
        rgb = lab_to_rgb_of_luma(luma, torch.stack([a, b]).reshape(1, 2, LUMA_NODES, -1), weights)
        chroma = [(rgb[:, 2:] - luma) / (2 * (1 - weights[2])), (rgb[:, :1] - luma) / (2 * (1 - weights[0]))]
        self._table = torch.cat(chroma, dim=1).view(1, 2, LUMA_NODES, AB_NODES, AB_NODES)

    @torch.inference_mode()
    def find(self, luma: Tensor, ab: Tensor) -> Tensor:
        """Return Cb and Cr (1, 2, H, W) in [-0.5, 0.5].

        Args:
            luma: (1, 1, H, W) float; what lies outside [0, 1], as in a film of limited range, is black or white.
            ab: (1, 2, H, W) float in Lab units.
        """
        luma = luma.clamp(0, 1)
        dark = ((luma - DARKEST) / (DARK - DARKEST)).clamp(0, 1)
        ab = ab * (dark * dark * (3 - 2 * dark))
        place = torch.stack([ab[:, 1] / AB_LIMIT, ab[:, 0] / AB_LIMIT, 2 * luma[:, 0] - 1], dim=-1)[:, None]
        chroma = F.grid_sample(self._table, place, align_corners=True, padding_mode='border')[:, :, 0]
        return fit_to_luma(luma, chroma, self.weights)


@functools.cache
def find_table(weights: tuple[float, float, float]) -> ChromaTable:
    """Return the table of a matrix, which is made once."""
    return ChromaTable(weights)
