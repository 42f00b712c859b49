"""A reference picture: colours taken from a similar photograph, by what the network sees in both.

The places of the reference act as hints whose place in the picture means nothing: what looks alike to the network's
maps, at a similar luminance, takes similar colours; what the reference has nothing like keeps its automatic colour.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from colorization.color import rgb_to_lab
from colorization.luminance import extract_l
from colorization.propagation import make_field, watch_maps
from dualattn.io.photos import Photo

if TYPE_CHECKING:
    from colorization.pipeline import Colorizer

__all__ = ['Reference', 'ReferencePictureError']

GRID = 18  # places down and across; more make a difference of hundredths of a dB
GRAY_CHROMA = 2.0  # Lab units; a picture with less on average has no colours to give
_SMALL_SIDE = 512  # pixels


class ReferencePictureError(ValueError):
    """A reference picture that cannot be followed."""


class Reference:
    """What of a photograph in colour another one follows.

    Args:
        colorizer: whose network looks at both photographs.
        photo: the photograph in colour.

    Attributes:
        places: (n) places of the photograph as the network sees them.
        ab: (n, 2) their true colours in Lab units.

    Raises:
        ReferencePictureError: the photograph is gray, or the network has no maps to compare.
    """

    def __init__(self, colorizer: 'Colorizer', photo: Photo):
        levels = torch.iinfo(torch.uint8).max if photo.bit_depth == 8 else 65_535
        height, width = photo.pixels.shape[:2]
        step = max(1, max(height, width) // _SMALL_SIDE)
        rgb = torch.from_numpy(photo.rgb[::step, ::step].astype('float32') / levels).permute(2, 0, 1)[None]
        _, ab = rgb_to_lab(rgb)
        chroma = float(torch.linalg.vector_norm(ab, dim=1).mean())
        if chroma < GRAY_CHROMA:
            raise ReferencePictureError(
                f'the reference picture is gray (mean chroma {chroma:.1f}); expected a photograph in colour'
            )
        l = extract_l(photo.pixels)
        with watch_maps(colorizer.network) as maps:
            predicted = colorizer.predict_ab(l[None, None])[0]
        if len(maps) != 5:
            raise ReferencePictureError(
                'this network has no maps of an encoder and a pixel decoder to compare pictures by'
            )
        centres = (torch.arange(GRID) + 0.5) / GRID
        yx = torch.cartesian_prod(centres, centres)
        self.places = make_field(l, colorizer.edit_ab(predicted), maps).describe(yx)
        self.places.yx = None
        small = F.interpolate(ab, (GRID * 4, GRID * 4), mode='bilinear', antialias=True, align_corners=False)
        grid = (2 * yx.flip(1) - 1)[None, None]
        self.ab = F.grid_sample(small, grid, padding_mode='border', align_corners=False)[0, :, 0].T
