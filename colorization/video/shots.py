"""Where a film is cut: found on luma, with what moves between two frames taken out first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from colorization.video.flow import warp
from colorization.video.formats import Format
from colorization.video.reading import LumaFrame

__all__ = ['Piece', 'ShotFinder', 'find_pieces']

_THUMBNAIL = (54, 96)  # height and width in pixels
_LEAST_LIKENESS = 0.72  # unrelated photographs reach 0.67, pans of 12 % of the width a frame 0.78
_NOISE = 2.0  # 8-bit levels; frames without more contrast are alike
MAX_FRAMES = 1000  # of a piece; a longer shot is done in several, so that a kill costs minutes at most


@dataclass(frozen=True)
class Piece:
    """Frames that are coloured and written together: a shot, or a part of a long one.

    Attributes:
        shot: number of the shot, from 0.
        first: number of its first frame in the film.
        count: how many frames.
        pts: when the first is shown, in ticks.
        goes_on: the next piece belongs to the same shot.
    """

    shot: int
    first: int
    count: int
    pts: int
    goes_on: bool = False


class ShotFinder:
    """Tell, frame by frame, where another shot begins.

    The frame before is moved along the optical flow of thumbnails; where even so the two do not correlate, the film was
    cut. A change of brightness, as of a flash or a fade, leaves the correlation as it is.

    Args:
        shape: the film's pictures.
    """

    def __init__(self, shape: Format):
        self._shape = shape
        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._before: np.ndarray | None = None

    def begins(self, luma: np.ndarray) -> bool:
        """Whether a frame (H, W) begins a shot, given those that were asked about before it; the first one does."""
        small = cv2.resize(luma, _THUMBNAIL[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
        small = np.clip((small - self._shape.black) * (255 / self._shape.luma_levels), 0, 255).astype(np.uint8)
        before, self._before = self._before, small
        if before is None:
            return True
        if measure_likeness(before, small) >= _LEAST_LIKENESS:
            return False
        return measure_likeness(warp(before, self._dis.calc(small, before, None)), small) < _LEAST_LIKENESS


def measure_likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two gray pictures, with as much in common added as noise may be."""
    one, two = (picture.astype(np.float32) - picture.mean() for picture in (first, second))
    floor = first.size * _NOISE**2
    power = (float((one * one).sum()) + floor) * (float((two * two).sum()) + floor)
    return (float((one * two).sum()) + floor) / power**0.5


def find_pieces(frames: Iterable[LumaFrame], shape: Format, longest: int = MAX_FRAMES) -> Iterator[Piece]:
    """Cut a film into shots, and long shots into pieces.

    Args:
        frames: all frames, in order.
        shape: the film's pictures.
        longest: frames of a piece, at most.
    """
    finder = ShotFinder(shape)
    shot, first, begin = -1, 0, None
    number = 0
    for number, frame in enumerate(frames):
        cut = finder.begins(frame.luma)
        if begin is not None and (cut or number - first == longest):
            yield Piece(shot, first, number - first, begin, goes_on=not cut)
        if begin is None or cut or number - first == longest:
            shot, first, begin = shot + cut, number, frame.pts
    if begin is not None:
        yield Piece(shot, first, number + 1 - first, begin)
