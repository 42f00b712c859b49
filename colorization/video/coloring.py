"""Colours for the frames of a shot: predicted for key frames, carried along the flow to those between them.

Of a frame between two key frames, each pixel takes the colours that both have where it came from, those of the nearer
one with more weight, each as far as its flow can be trusted. Where neither shows it, the frame has a prediction of its
own. A key frame itself keeps a share of what was carried to it, so that colours do not jump there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from colorization.draft import Draft
from colorization.hints import Hints
from colorization.luminance import extract_l
from colorization.pipeline import Colorizer
from colorization.video.flow import Flow, FlowFinder, compose, find_work_size, shrink_luma, warp
from colorization.video.formats import Format
from colorization.video.reading import LumaFrame
from dualattn.io.photos import Photo

__all__ = ['Guide', 'ShotColorizer', 'to_gray']

KEY_INTERVAL = 12  # frames from one key frame to the next, at most
LEAST_COVER = 0.8  # share of a frame that a key frame's colours must reach; below it the frame becomes one itself
KEPT = 0.6  # share of carried colours in a key frame's
HOLE = 0.004  # share of a frame that neither key frame reaches, from which on the frame is predicted for it


@dataclass(frozen=True)
class Guide:
    """What the user knows of a shot.

    Attributes:
        colorizer: follows a reference picture, if there is one for the shot.
        frame: number of the frame in the film that the hints are for; -1 without hints.
        hints: colours for places of that frame.
    """

    colorizer: Colorizer
    frame: int = -1
    hints: Hints | None = None


@dataclass
class _Between:
    """A frame that waits for the next key frame."""

    frame: LumaFrame
    back: Flow  # to the frame before
    forth: Flow  # from the frame before to this one
    from_key: Flow  # to the key frame before


def to_gray(luma: np.ndarray, shape: Format) -> np.ndarray:
    """Return luma (H, W) as a gray photograph of the full range, uint8 or uint16."""
    levels = 255 if shape.bits == 8 else 65_535
    table = (np.arange(1 << shape.bits) - shape.black) / shape.luma_levels
    return (np.clip(table, 0, 1) * levels).round().astype(np.uint8 if shape.bits == 8 else np.uint16)[luma]


class ShotColorizer:
    """Find the colours of all frames of a shot, or of a piece of one.

    Args:
        shape: the film's pictures.
        quarter_turns: by how many quarters of a turn, counter-clockwise, they are rotated for display; the network sees
            them upright.
        steady: carry colours along the flow; otherwise every frame is predicted for itself.

    Attributes:
        predictions: how often a network has run.
    """

    def __init__(self, shape: Format, quarter_turns: int = 0, steady: bool = True):
        self.shape = shape
        self.quarter_turns = quarter_turns
        self.steady = steady
        self.predictions = 0
        self._size = find_work_size(shape.height, shape.width)
        self._finder = FlowFinder()

    def color(
        self, frames: Iterable[LumaFrame], guide: Guide, first: int, count: int
    ) -> Iterator[tuple[LumaFrame, Tensor]]:
        """Yield the frames of a piece with their colours ab (2, h, w) in Lab units, in order.

        Args:
            frames: those of the piece and, if the shot goes on, one more, which the next piece begins with.
            guide: what the user knows.
            first: number of the first frame in the film.
            count: how many frames the piece has.
        """
        if not self.steady:
            for number, frame in enumerate(frames):
                if number < count:
                    yield frame, self._predict(frame, guide, first + number)
            return
        key: np.ndarray | None = None
        before: np.ndarray | None = None
        waiting: list[_Between] = []
        for number, frame in enumerate(frames):
            gray = shrink_luma(frame.luma, self.shape, self._size)
            if key is None or before is None:
                key, before = self._predict_large(frame, guide, first + number), gray
                yield frame, _to_tensor(key)
                continue
            back, forth = self._finder.find(before, gray)
            from_key = compose(back, waiting[-1].from_key) if waiting else back
            waiting.append(_Between(frame, back, forth, from_key))
            before = gray
            is_next = number == count  # the first frame of the next piece, which knows nothing of this one
            if not (
                is_next
                or len(waiting) == KEY_INTERVAL
                or first + number == guide.frame
                or float(from_key.trust.mean()) < LEAST_COVER
            ):
                continue
            later = self._predict_large(frame, guide, first + number)
            if not (is_next or first + number == guide.frame):
                kept = KEPT * from_key.trust[..., None]
                later = kept * warp(key, from_key.flow) + (1 - kept) * later
            yield from self._fill(waiting, key, later, guide, first + number)
            if is_next:
                return
            yield frame, _to_tensor(later)
            key, waiting = later, []
        if key is not None and waiting:
            yield from self._fill_last(waiting, key, guide, first + count)

    def _fill(
        self, waiting: list[_Between], key: np.ndarray, later: np.ndarray, guide: Guide, number: int
    ) -> Iterator[tuple[LumaFrame, Tensor]]:
        """Yield the frames between two key frames; the last one that waits is the second of these."""
        to_later: list[Flow] = []  # from each frame that waits, but the last, to the later key frame
        for item in reversed(waiting[1:]):
            to_later.append(compose(item.forth, to_later[-1]) if to_later else item.forth)
        to_later.reverse()
        last = len(waiting)
        for place, (item, flow) in enumerate(zip(waiting[:-1], to_later, strict=True), 1):
            pair = item.from_key, flow
            yield item.frame, self._mix(item.frame, (key, later), pair, place / last, guide, number - last + place)

    def _fill_last(
        self, waiting: list[_Between], key: np.ndarray, guide: Guide, end: int
    ) -> Iterator[tuple[LumaFrame, Tensor]]:
        """Yield the frames after the last key frame of a shot."""
        for place, item in enumerate(waiting):
            number = end - len(waiting) + place
            yield item.frame, self._mix(item.frame, (key,), (item.from_key,), 0.0, guide, number)

    def _mix(
        self,
        frame: LumaFrame,
        keys: tuple[np.ndarray, ...],
        flows: tuple[Flow, ...],
        share: float,
        guide: Guide,
        number: int,
    ) -> Tensor:
        """Return the colours that key frames (h, w, 2) give to one frame, the second with `share`."""
        carried = [warp(key, flow.flow) for key, flow in zip(keys, flows, strict=True)]
        weights = [weight * flow.trust for weight, flow in zip((1 - share, share), flows, strict=False)]
        total = np.maximum(sum(weights), 1e-6)[..., None]
        mixed = sum(weight[..., None] * ab for weight, ab in zip(weights, carried, strict=True)) / total
        hole = np.prod([1 - flow.trust for flow in flows], axis=0)
        if hole.mean() > HOLE:
            fresh = self._predict_large(frame, guide, number)
            mixed = (1 - hole)[..., None] * mixed + hole[..., None] * fresh
        else:  # too little for a run of the network: what is carried there, trusted or not
            plain = carried[0] if len(carried) == 1 else (1 - share) * carried[0] + share * carried[1]
            mixed = np.where(total > 1e-3, mixed, plain)
        return _to_tensor(mixed)

    def _predict_large(self, frame: LumaFrame, guide: Guide, number: int) -> np.ndarray:
        """Return a prediction (h, w, 2) at the working size."""
        ab = self._predict(frame, guide, number).numpy().transpose(1, 2, 0)
        return cv2.resize(ab, self._size[::-1], interpolation=cv2.INTER_CUBIC)

    def _predict(self, frame: LumaFrame, guide: Guide, number: int) -> Tensor:
        """Return the colours (2, h, w) in Lab units that the network, hints and reference give to one frame."""
        self.predictions += 1
        gray = np.rot90(to_gray(frame.luma, self.shape), self.quarter_turns)
        hints = guide.hints if number == guide.frame else None
        colorizer = guide.colorizer
        if hints is None and colorizer.reference is None:
            ab = colorizer.edit_ab(colorizer.predict_ab(extract_l(np.ascontiguousarray(gray))[None, None])[0])
        else:
            ab = Draft(colorizer, Photo(np.ascontiguousarray(gray)), hints, colorizer.reach).compute_ab()
        return torch.rot90(ab.float().cpu(), -self.quarter_turns, (1, 2)).contiguous()


def _to_tensor(ab: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(ab.transpose(2, 0, 1)))
