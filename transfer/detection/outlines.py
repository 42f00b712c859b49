"""Outlines of COCO annotations: polygons and run-length codes, measured without trusting them."""

import math
from typing import Any

import numpy as np
from pycocotools import mask as codes

__all__ = ['OutlineError', 'count_runs', 'measure_outline']


class OutlineError(ValueError):
    """An outline that mmdet would skip or stumble over; the message completes `an outline that ...`."""


def measure_outline(outline: Any, height: int, width: int) -> tuple[float, float, float, float]:
    """Find the box of an outline, COCO's `segmentation` of an image of `height` x `width` pixels.

    Polygons of no, one or two points beside a good one are passed over, as mmdet does.

    Returns:
        x, y, width, height in pixels.

    Raises:
        OutlineError: it is none.
    """
    if isinstance(outline, list):
        return _measure_polygons(outline)
    if isinstance(outline, dict):
        return _measure_code(outline, height, width)
    raise OutlineError('is neither a list of polygons nor a run-length code')


def _measure_polygons(polygons: list) -> tuple[float, float, float, float]:
    if all(isinstance(value, (int, float)) for value in polygons):
        raise OutlineError('is one list of numbers, not a list of polygons: put it into another list')
    xs, ys = [], []
    for polygon in polygons:
        if not isinstance(polygon, list):
            raise OutlineError('is no list of polygons')
        try:
            finite = all(map(math.isfinite, polygon))
        except TypeError:
            raise OutlineError('has a polygon of something else than numbers: COCO wants x, y, x, y, ...') from None
        if not finite:
            raise OutlineError('has a coordinate that is NaN or infinite')
        if len(polygon) % 2:
            raise OutlineError('has a polygon with an odd number of coordinates')
        if len(polygon) >= 6:
            xs += polygon[0::2]
            ys += polygon[1::2]
    if not xs:
        raise OutlineError('has no, one or two points')
    x, y = min(xs), min(ys)
    return x, y, max(xs) - x, max(ys) - y


def _measure_code(code: dict, height: int, width: int) -> tuple[float, float, float, float]:
    size, counts = code.get('size'), code.get('counts')
    if not (isinstance(size, list) and len(size) == 2 and isinstance(counts, (list, str))):
        raise OutlineError("is a run-length code without its 'size' or 'counts'")
    if size != [height, width]:
        swapped = ' (height comes first)' if size == [width, height] else ''
        raise OutlineError(f'is a run-length code of another size than the image{swapped}')
    runs = count_runs(counts)
    if (runs < 0).any() or runs.sum() != height * width:
        raise OutlineError('is a run-length code that does not fill the image')
    if not runs[1::2].any():
        raise OutlineError('is a run-length code without a pixel')
    if isinstance(counts, list):
        code = codes.frPyObjects(code, height, width)
    return tuple(codes.toBbox(code).tolist())


def count_runs(counts: list | str) -> np.ndarray:
    """Decode COCO's run-length code into its runs, (N,) int64, background first.

    pycocotools decodes as well, but believes what it reads, and writes past its memory if that is wrong.

    Args:
        counts: the runs themselves, or their compressed form: of each the difference from the last but one, the first
            three excepted, in groups of five bits, lowest first; a sixth bit says that more follow.

    Raises:
        OutlineError: it is no code.
    """
    if isinstance(counts, list):
        if not all(isinstance(run, int) and not isinstance(run, bool) and abs(run) < 2**48 for run in counts):
            raise OutlineError('is a run-length code of something else than whole numbers')
        return np.array(counts, dtype=np.int64)
    digits = np.frombuffer(counts.encode('utf-8'), dtype=np.uint8).astype(np.int64) - 48
    if not len(digits) or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise OutlineError('is a broken run-length code')
    ends = np.flatnonzero((digits & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 9:
        raise OutlineError('is a broken run-length code')
    place = np.arange(len(digits)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((digits & 31) << (5 * place), starts)
    runs -= np.where(digits[ends] & 16, np.int64(1) << (5 * lengths), 0)
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs
