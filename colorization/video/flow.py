"""Where each pixel of a frame was in another one: optical flow of the exact gray frames, and where it can be trusted.

Flow maps a frame to its source: x of frame t shows what frame s shows at x + flow(x). It comes from OpenCV's DIS
(Kroeger et al. 2016) on luma that is scaled to a working size.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from colorization.video.formats import Format

__all__ = ['Flow', 'FlowFinder', 'compose', 'find_work_size', 'shrink_luma', 'warp']

WORK_SIDE = 320  # pixels of the square whose area the working size has
MAX_ASPECT = 4
# a flow and the way back may differ by this much: a share of their squared lengths, and pixels squared (Sundaram 2010)
AGREE_SHARE, AGREE_PIXELS = 0.01, 0.5
AGREE_LUMA = 24.0  # 8-bit levels by which the same thing may look different in the next frame
_EDGE = 3  # pixels by which what cannot be trusted is widened: the edge of an occlusion is not found exactly


@dataclass(frozen=True)
class Flow:
    """From one frame to a source.

    Attributes:
        flow: (h, w, 2) float32, x and y in pixels of the working size.
        trust: (h, w) float32 in [0, 1]; 0 where the source does not show this.
    """

    flow: np.ndarray
    trust: np.ndarray


def find_work_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width at which flow is computed and colours are carried."""
    root = math.sqrt(min(max(height / width, 1 / MAX_ASPECT), MAX_ASPECT))
    return max(32, round(WORK_SIDE * root)), max(32, round(WORK_SIDE / root))


def shrink_luma(luma: np.ndarray, shape: Format, size: tuple[int, int]) -> np.ndarray:
    """Return luma (H, W) as 8-bit gray (h, w) from black to white."""
    kind = cv2.INTER_AREA if luma.shape[0] > size[0] else cv2.INTER_LINEAR
    small = cv2.resize(luma, size[::-1], interpolation=kind).astype(np.float32)
    return np.clip((small - shape.black) * (255 / shape.luma_levels), 0, 255).round().astype(np.uint8)


def warp(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return (h, w, ...) as a frame sees it whose flow to it is (h, w, 2); beyond the edge the edge goes on."""
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def compose(first: Flow, second: Flow) -> Flow:
    """Return the flow from t to s by way of m, from those of t to m (`first`) and of m to s (`second`)."""
    return Flow(first.flow + warp(second.flow, first.flow), first.trust * warp(second.trust, first.flow))


class FlowFinder:
    """Find the flow between neighbouring frames, both ways."""

    def __init__(self) -> None:
        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def find(self, before: np.ndarray, after: np.ndarray) -> tuple[Flow, Flow]:
        """Return the flow from `after` to `before`, and from `before` to `after`, of gray frames (h, w) uint8."""
        back = self._dis.calc(after, before, None)
        forth = self._dis.calc(before, after, None)
        return Flow(back, _find_trust(back, forth, after, before)), Flow(forth, _find_trust(forth, back, before, after))


def _find_trust(flow: np.ndarray, back: np.ndarray, own: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return where a flow can be trusted (h, w): the way back leads home, and both ends look alike."""
    returned = warp(back, flow)
    apart = ((flow + returned) ** 2).sum(axis=2)
    lengths = (flow**2).sum(axis=2) + (returned**2).sum(axis=2)
    seen = cv2.blur(warp(source, flow).astype(np.float32) - own, (3, 3))
    height, width = own.shape
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (x > -1) & (x < width) & (y > -1) & (y < height)
    good = (apart < AGREE_SHARE * lengths + AGREE_PIXELS) & (np.abs(seen) < AGREE_LUMA) & inside
    kernel = np.ones((_EDGE, _EDGE), np.uint8)
    # single pixels that disagree are noise; what is left is widened and softened
    wrong = cv2.dilate(cv2.morphologyEx((~good).astype(np.uint8), cv2.MORPH_OPEN, kernel), kernel)
    return 1 - cv2.blur(wrong.astype(np.float32), (_EDGE, _EDGE))
