"""Memories of meanings and their colours, as a file that a network with `color_decoder='memory'` starts from."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from dualattn.io.files import write_whole
from dualattn.io.weights import CheckpointError, read_weights

__all__ = ['ColorMemory', 'make_memory', 'read_memory', 'write_memory']

FORMAT = 'dualattn.memory/1'


class ColorMemory(NamedTuple):
    """Meanings (M, D) and the colours of each (N, M, 2), a and b in Lab units; both float32."""

    meanings: Tensor
    colors: Tensor


def make_memory(
    places: Iterable[tuple[np.ndarray, np.ndarray]],
    num_meanings: int = 512,
    meaning_dim: int = 64,
    num_colors: int = 4,
    seed: int = 0,
) -> ColorMemory:
    """Choose meanings by k-means on features, and the colours of each by k-means on the ab that its places have.

    Args:
        places: of each photograph the features (P, C) of some places, and their colours (P, 2) in Lab units.
        num_meanings: number of meanings, M.
        meaning_dim: principal components that describe a meaning.
        num_colors: colours of each meaning, N.
        seed: of the first centres.

    Raises:
        ValueError: there are fewer places than meanings, or features have fewer channels than components.
    """
    from sklearn.cluster import KMeans  # needed when a memory is made, not when it is used
    from sklearn.decomposition import PCA

    features, colors = (np.concatenate(parts) for parts in zip(*places, strict=True))
    if len(features) < num_meanings or min(features.shape) < meaning_dim:
        raise ValueError(
            f'{len(features)} places with {features.shape[1]} channels are too few for {num_meanings} meanings of '
            f'{meaning_dim} components: take more photographs, or ask for fewer'
        )
    reduced = PCA(meaning_dim, random_state=seed).fit_transform(features)
    clusters = KMeans(num_meanings, n_init=1, random_state=seed).fit(reduced)
    chosen = np.zeros((num_colors, num_meanings, 2), np.float32)
    for index in range(num_meanings):
        members = colors[clusters.labels_ == index]
        unique = len(np.unique(members, axis=0))
        if unique < num_colors:  # too few to choose from: what there is, in turn
            chosen[:, index] = members[np.arange(num_colors) % max(len(members), 1)] if len(members) else 0
        else:
            chosen[:, index] = KMeans(num_colors, n_init=4, random_state=seed).fit(members).cluster_centers_
    return ColorMemory(torch.from_numpy(clusters.cluster_centers_).float(), torch.from_numpy(chosen))


def write_memory(memory: ColorMemory, path: str | os.PathLike, **notes: str) -> None:
    """Write a memory as safetensors, whole or not at all, with notes on how it was made.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    with write_whole(path) as aside:
        aside.write_bytes(save(memory._asdict(), metadata=dict(notes, format=FORMAT)))


def read_memory(path: str | os.PathLike) -> ColorMemory:
    """Read the file that `dualattn memory` writes.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is broken.
        ValueError: it is no memory; the message says what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such memory; `dualattn memory CONFIG -o {path}` makes one')
    weights = read_weights(path)
    if weights.meta.get('format') != FORMAT or set(weights.tensors) != set(ColorMemory._fields):
        raise ValueError(f'{path}: is no memory of colours; `dualattn memory` makes one')
    meanings, colors = (weights.tensors[name].float() for name in ColorMemory._fields)
    if meanings.ndim != 2 or colors.ndim != 3 or colors.shape[1:] != (len(meanings), 2):
        raise ValueError(
            f'{path}: expected meanings (M, D) and colours (N, M, 2), got {tuple(meanings.shape)} and '
            f'{tuple(colors.shape)}'
        )
    if not (meanings.isfinite().all() and colors.isfinite().all()):
        raise CheckpointError(f'{path}: holds values that are not finite')
    return ColorMemory(meanings, colors)
