"""One photograph on the way to its colours: the network has run, hints come and go, nothing is written yet."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from colorization.alternatives import draw_variants, measure_doubt
from colorization.decoders.palette import has_palette, require_palette
from colorization.hints import Hints
from colorization.luminance import extract_l, join_luminance
from colorization.propagation import REACHES, HintField, PaletteScores, make_field, watch_maps
from dualattn.io.photos import Photo

if TYPE_CHECKING:
    from colorization.pipeline import Colorizer

__all__ = ['Draft']

PREVIEW_SIDE = 1024  # pixels of the longer side
APART = 12.0  # Lab units between two alternatives


class Draft:
    """Hold a photograph's luminance, automatic colours and maps, so that each new hint costs milliseconds.

    >>> draft = Colorizer.from_pretrained().draft(photo)
    >>> draft.hints = Hints((photo.pixels.shape[1], photo.pixels.shape[0]), [Hint.point(120, 80, '#b03030')])
    >>> draft.preview()  # (H, W, 3) uint8, 1,024 pixels on its longer side
    >>> draft.finish()  # a Photo at full resolution

    Args:
        colorizer: predicts, once.
        photo: the photograph.
        hints: colours to begin with.
        reach: how far a hint tells: 'adaptive', 'object' or 'scene', see `HintField.spread`.

    Attributes:
        photo: the photograph as it was given.
        colorizer: may be replaced by one of the same network with another chroma, vividness or reference.

    Raises:
        HintError: the hints are for a picture of another shape.
        ValueError: there is no such reach.
        FloatingPointError: the network answers with NaN or infinite values.
    """

    def __init__(self, colorizer: 'Colorizer', photo: Photo, hints: Hints | None = None, reach: str = 'adaptive'):
        self.photo = photo
        self.colorizer = colorizer
        self._hints: Hints | None = None
        self.reach = reach
        self.hints = hints
        self._l = extract_l(photo.pixels)
        self._maps: list[Tensor] = []
        self._predicted: Tensor | None = None
        self._scores: Tensor | None = None
        self._vividness = math.nan
        self._predict()
        self._field: HintField | None = None
        self._source: tuple | None = None
        self._previews: dict[int, Tensor] = {}

    def _predict(self) -> None:
        colorizer = self.colorizer
        if self._vividness == colorizer.vividness:
            return
        if self._scores is None:
            with watch_maps(colorizer.network) as maps:
                if has_palette(colorizer.network):
                    self._scores = colorizer.predict_scores(self._l[None, None])
                else:
                    self._predicted = colorizer.predict_ab(self._l[None, None])[0]
            self._maps = maps if len(maps) == 5 else []  # another network than MPT and DDColor: luminance and place do
        if self._scores is not None:
            self._predicted = colorizer.mix_scores(self._scores)[0]
        self._vividness = colorizer.vividness

    @property
    def hints(self) -> Hints | None:
        """The user's colours; None and empty hints leave the automatic result."""
        return self._hints

    @hints.setter
    def hints(self, hints: Hints | None) -> None:
        if hints is not None:
            hints.check_size(*self.photo.pixels.shape[:2])
        self._hints = hints

    @property
    def reach(self) -> str:
        """How far a hint tells: 'adaptive', 'object' or 'scene'."""
        return self._reach

    @reach.setter
    def reach(self, reach: str) -> None:
        if reach not in REACHES:
            raise ValueError(f'reach {reach!r}: expected one of {", ".join(REACHES)}')
        self._reach = reach

    def compute_ab(self) -> Tensor:
        """Return the colours (2, h, w) in Lab units with hints, on the colorizer's device."""
        self._predict()
        automatic = self.colorizer.edit_ab(cast(Tensor, self._predicted))
        reference = self.colorizer.reference
        if not self._hints and reference is None:
            return automatic
        # what the automatic colours come from; where it is as before, the columns of the hints are kept
        source = (self._vividness, self.colorizer.chroma, reference)
        if self._field is None or source != self._source:
            self._source = source
            self._field = self._make_field(automatic, self._scores)
        return self._spread(self._field)

    def _make_field(self, automatic: Tensor, scores: Tensor | None) -> HintField:
        """Make what steers colours (2, h, w), which are mixed from scores (1, K, h', w') where there is a palette."""
        colorizer, palette = self.colorizer, None
        if scores is not None:
            palette = PaletteScores(
                scores[0],
                require_palette(colorizer.network).colors,
                lambda z: colorizer.edit_ab(colorizer.mix_scores(z[None])[0]),
            )
        field = make_field(self._l, automatic, self._maps, palette)
        if colorizer.reference is not None:
            field.automatic = field.follow(colorizer.reference.places, colorizer.reference.ab)
        return field

    def _spread(self, field: HintField) -> Tensor:
        return field.spread(self._hints.to_marks(), self._reach) if self._hints else field.automatic

    @torch.inference_mode()
    def draw_variants(self, count: int, seed: int = 0) -> list[Photo]:
        """Return the photograph in other plausible colours, hints kept; see `alternatives.draw_variants`.

        Raises:
            TypeError: the network has no palette, so that it knows one version alone.
            ValueError: count is below 1.
        """
        colorizer = self.colorizer
        colors = require_palette(colorizer.network).colors
        steered = self._hints or colorizer.reference is not None
        photos = []
        for scores in draw_variants(cast(Tensor, self._scores), colors, count, seed).split(1):
            ab = colorizer.edit_ab(colorizer.mix_scores(scores)[0])
            photos.append(self._paint(self._spread(self._make_field(ab, scores)) if steered else ab))
        return photos

    def measure_doubt(self) -> np.ndarray:
        """Return where the network is unsure, (H, W) float32 in [0, 1]; see `alternatives.measure_doubt`.

        Raises:
            TypeError: the network has no palette, so that it tells no doubt.
        """
        require_palette(self.colorizer.network)
        doubt = measure_doubt(cast(Tensor, self._scores))[:, None]
        return F.interpolate(doubt, self._l.shape, mode='bilinear', align_corners=False)[0, 0].cpu().numpy()

    @torch.inference_mode()
    def alternatives(self, x: float, y: float, count: int = 5) -> list[tuple[float, float]]:
        """Return other colours that are likely at a place, the likeliest first; none where the network has no palette.

        Args:
            x: from the left in [0, 1].
            y: from the top in [0, 1].
            count: at most so many.

        Returns:
            Pairs (a, b) in Lab units, no two of them alike.
        """
        if self._scores is None:
            return []
        height, width = self._scores.shape[2:]
        at = self._scores[0, :, min(max(int(y * height), 0), height - 1), min(max(int(x * width), 0), width - 1)]
        chosen: list[tuple[float, float]] = []
        for ab in require_palette(self.colorizer.network).colors[at.argsort(descending=True)].tolist():
            if all(math.dist(ab, other) > APART for other in chosen):
                chosen.append((ab[0], ab[1]))
            if len(chosen) == count:
                break
        return chosen

    def preview(self, side: int = PREVIEW_SIDE) -> np.ndarray:
        """Return the picture made small: sRGB (h, w, 3) uint8 with `side` pixels on its longer side, or its own size.

        Raises:
            ValueError: `side` is below 1.
        """
        return join_luminance(self._shrink(side), self.compute_ab(), np.dtype(np.uint8))

    def preview_gray(self, side: int = PREVIEW_SIDE) -> np.ndarray:
        """Return the photograph itself as small as a preview, gray (h, w) uint8 sRGB."""
        l = self._shrink(side)
        return join_luminance(l, l.new_zeros(2, 8, 8), np.dtype(np.uint8))[..., 0]

    def _shrink(self, side: int) -> Tensor:
        if side < 1:
            raise ValueError(f'a preview needs at least 1 pixel on its longer side, got {side}')
        if side not in self._previews:
            scale = min(1.0, side / max(self._l.shape))
            shape = [max(1, round(scale * length)) for length in self._l.shape]
            small = F.interpolate(self._l[None, None], shape, mode='bilinear', antialias=True, align_corners=False)
            self._previews = {side: small[0, 0]}
        return self._previews[side]

    def finish(self) -> Photo:
        """Return the photograph in colour, with the size, bit depth, alpha, metadata and profile of the input."""
        return self._paint(self.compute_ab())

    def _paint(self, ab: Tensor) -> Photo:
        return replace(self.photo, pixels=self.colorizer.merge(self._l, ab, self.photo.pixels.dtype))
