"""Photographs as classifiers and detectors take them, all through `dualattn.io.photos`."""

from pathlib import Path

import numpy as np

from dualattn.engine import DataError
from dualattn.io.photos import ImageError, read_rgb

__all__ = ['read_photograph']


def read_photograph(path: str | Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8, upright sRGB, transparent parts over white, whatever the file holds.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is no image, or broken; names it.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f'no image at {path}')
    try:
        return read_rgb(path)
    except ImageError as error:
        reason = str(error).removeprefix(f'{path}: ').removeprefix('cannot be read: ')
        if reason.startswith('not an image'):
            raise DataError(f'{path} is no image') from error
        raise DataError(f'{path} cannot be read ({reason})') from error
