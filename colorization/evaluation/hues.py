"""Which hues pictures have: whether a colorizer paints in all colours or in sepia."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from colorization.color import rgb_to_lab

__all__ = ['Hues', 'compare_hues', 'measure_hues']

BINS = 36
MIN_CHROMA = 6  # Lab units; below it nobody sees a hue
BROWN = (50, 105)  # degrees of Lab's hue, from brown to yellow
MIN_SHARE = 0.01  # a picture with fewer coloured pixels is as brown as can be: it has no other hue to show


@dataclass(frozen=True)
class Hues:
    """The hues of one picture, or their mean over several.

    Attributes:
        histogram: share of the coloured pixels by hue, in `BINS` equal steps from 0 to 360 degrees.
        brown: share of the coloured pixels between brown and yellow.
        chroma: mean over all pixels, in Lab units.
        mostly_brown: share of the pictures of which more than 0.8 of the coloured pixels are brown or yellow.
    """

    histogram: tuple[float, ...]
    brown: float
    chroma: float
    mostly_brown: float


def measure_hues(rgb: np.ndarray) -> Hues:
    """Measure one picture: rgb (H, W, 3) uint8 or uint16, sRGB."""
    scaled = torch.from_numpy(rgb.astype(np.float32) / np.iinfo(rgb.dtype).max)
    a, b = rgb_to_lab(scaled.permute(2, 0, 1)[None])[1][0].numpy()  # (H, W, 3) -> (1, 3, H, W)
    chroma = np.hypot(a, b)
    hue = np.degrees(np.arctan2(b, a))[chroma > MIN_CHROMA] % 360
    counts = np.histogram(hue, BINS, (0, 360))[0]
    brown = 1.0
    if len(hue) > MIN_SHARE * chroma.size:
        brown = float(((hue > BROWN[0]) & (hue < BROWN[1])).mean())
    return Hues(tuple((counts / max(1, len(hue))).tolist()), brown, float(chroma.mean()), float(brown > 0.8))


def average_hues(pictures: Iterable[Hues]) -> Hues:
    """Return the mean of several pictures, each with the same weight.

    Raises:
        ValueError: there is none.
    """
    pictures = list(pictures)
    if not pictures:
        raise ValueError('expected at least one picture whose hues are to be averaged, got none')
    histogram = np.mean([picture.histogram for picture in pictures], axis=0)
    brown, chroma, mostly = np.mean([(p.brown, p.chroma, p.mostly_brown) for p in pictures], axis=0).tolist()
    return Hues(tuple(histogram.tolist()), brown, chroma, mostly)


def compare_hues(pictures: Hues, photographs: Hues) -> float:
    """Return the total variation between two histograms: 0 where they agree, 1 where they share no hue."""
    return math.fsum(abs(p - q) for p, q in zip(pictures.histogram, photographs.histogram, strict=True)) / 2
