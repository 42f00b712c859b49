"""The two ONNX files of `dualattn export photo` in onnxruntime."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

__all__ = ['LightColorizer', 'ModelError']

BAND_PIXELS = 1 << 18  # that are joined at a time; more takes memory and is no faster
# the files by their names, with what they say of themselves
_FILES = {'colors.onnx': 'colors of photographs', 'join.onnx': 'join of photographs'}


class ModelError(ValueError):
    """Files that are missing, broken, or of another make; the message says which and what to do."""


class LightColorizer:
    """Colorize pixels as dualattn's `Colorizer` does, to one level of 8 bits.

    Args:
        folder: where the two files are; None takes those that ship with the package.
        threads: of onnxruntime; 0 lets it choose.

    Raises:
        ModelError: a file is missing or cannot be used.
    """

    def __init__(self, folder: str | os.PathLike | None = None, threads: int = 0):
        place = Path(__file__).parent / 'model' if folder is None else Path(folder)
        self._colors, self._join = (_open(place / name, kind, threads) for name, kind in _FILES.items())

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Map sRGB pixels, gray (H, W) or (H, W, 3) uint8, to (H, W, 3) uint8 of the same luminance in colour.

        Raises:
            ValueError: the array has another shape or type.
        """
        if (
            pixels.dtype != np.uint8
            or pixels.ndim not in (2, 3)
            or pixels.shape[2:] not in ((), (3,))
            or not pixels.size
        ):
            raise ValueError(f'expected (H, W) or (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}')
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        (ab,) = self._colors.run(['ab'], {'pixels': pixels})
        if not np.isfinite(ab).all():
            raise ModelError('the network answers with NaN or infinite colours')
        out = np.empty(pixels.shape, np.uint8)
        rows = max(1, BAND_PIXELS // pixels.shape[1])
        for top in range(0, len(pixels), rows):
            band = slice(top, top + rows)
            (out[band],) = self._join.run(['rgb'], {'pixels': pixels[band], 'ab': ab[band]})
        return out


def _open(path: Path, kind: str, threads: int) -> Any:
    if not path.is_file():
        raise ModelError(f'{path}: no such file; it is made by: dualattn export photo packaged -o {path.parent}')
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised; onnxruntime would print them as well
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime has a class of its own for each status
        if type(error).__module__.startswith('onnxruntime'):
            raise ModelError(f'{path}: is no ONNX file that onnxruntime reads: {error}') from error
        raise
    text = session.get_modelmeta().custom_metadata_map.get('dualattn', '')
    try:
        found = json.loads(text)['kind']
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f'{path}: was not written by `dualattn export photo`') from error
    if found != kind:
        raise ModelError(f'{path}: holds a {found!r}, expected {kind!r}')
    return session
