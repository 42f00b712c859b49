"""Palettes: the colours that photographs have, as a file that a network with a palette head starts from."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dualattn.io.files import write_json

__all__ = ['Palette', 'make_palette', 'read_palette', 'write_palette']

FORMAT = 'dualattn.palette/1'
BIN = 2  # Lab units; colours nearer than that are one
REACH = 128  # Lab units; no colour of sRGB has a larger a or b


class Palette(NamedTuple):
    """Colours (K pairs of a and b in Lab units) and their frequencies (K shares, the sum 1)."""

    colors: list[list[float]]
    frequencies: list[float]


def read_palette(path: str | os.PathLike) -> Palette:
    """Read the file that `dualattn palette` writes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no palette; the message says what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such palette; `dualattn palette CONFIG -o {path}` makes one')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        if content['format'] != FORMAT:
            raise ValueError(f"format {content['format']!r}, expected '{FORMAT}'")
        colors = np.array(content['colors'], float)
        frequencies = np.array(content['frequencies'], float)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path}: is no palette ({error}); `dualattn palette` makes one') from error
    if colors.ndim != 2 or colors.shape[1] != 2 or frequencies.shape != colors.shape[:1] or len(colors) < 2:
        raise ValueError(
            f'{path}: expected at least 2 pairs of a and b and as many frequencies, got arrays of '
            f'{colors.shape} and {frequencies.shape}'
        )
    if not (np.isfinite(colors).all() and np.abs(colors).max() <= REACH):
        raise ValueError(f'{path}: colours have to be numbers within {REACH} Lab units')
    if not (np.isfinite(frequencies).all() and frequencies.min() > 0):
        raise ValueError(f'{path}: frequencies have to be above 0')
    return Palette(colors.tolist(), (frequencies / frequencies.sum()).tolist())


def make_palette(ab: Iterable[np.ndarray], num_colors: int, seed: int = 0) -> Palette:
    """Choose colours by k-means on the histogram of ab, the root of each count as its weight.

    By the counts themselves nearly all centres would be near gray; the root lets vivid colours have some too. The
    frequencies are those of the counts.

    Args:
        ab: arrays (N, 2) in Lab units, the colours of one photograph each.
        num_colors: number of colours.
        seed: of the first centres.

    Raises:
        ValueError: the photographs have fewer different colours than that, as gray ones do.
    """
    from sklearn.cluster import KMeans  # needed when a palette is made, not when it is used

    edges = np.arange(-REACH, REACH + BIN, BIN)
    counts = np.zeros((len(edges) - 1,) * 2)
    for colors in ab:
        counts += np.histogram2d(colors[:, 0], colors[:, 1], (edges, edges))[0]
    places = np.argwhere(counts > 0)
    if len(places) < num_colors:
        raise ValueError(
            f'the photographs have {len(places)} different colours (in steps of {BIN} Lab units), too few for a '
            f'palette of {num_colors}; are they gray?'
        )
    points, weights = edges[places] + BIN / 2, counts[tuple(places.T)]
    kmeans = KMeans(num_colors, n_init=4, random_state=seed).fit(points, sample_weight=np.sqrt(weights))
    shares = np.bincount(kmeans.labels_, weights, minlength=num_colors)
    order = np.argsort(-shares)
    return Palette(
        kmeans.cluster_centers_[order].round(2).tolist(), (shares[order] / shares.sum()).round(8).clip(1e-8).tolist()
    )


def write_palette(palette: Palette, path: str | os.PathLike, **notes: str) -> None:
    """Write a palette as JSON, whole or not at all, with notes on how it was made.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    write_json(path, dict(notes, format=FORMAT, colors=palette.colors, frequencies=palette.frequencies), indent=None)
