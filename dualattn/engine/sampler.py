"""The order in which training images are drawn, as a pure function of the seed and of the number of draws made."""

import logging
import math
from collections.abc import Iterator, Sized

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from dualattn.engine.seeding import mix_seed

__all__ = ['ReproducibleSampler']


@DATA_SAMPLERS.register_module()
class ReproducibleSampler(Sampler):
    """Endless stream of `(index, draw)` that depends on nothing but the seed and the position in the stream.

    All processes together walk one stream of positions 0, 1, 2, ...; position `p` lies in epoch `p // N` of a data set
    of N images, and each epoch is a fresh permutation. Process `r` of `W` takes the positions `r, r + W, ...`, so that
    W processes with a batch of b images see the same global batches as one process with a batch of `W * b`.

    `draw` is a seed that belongs to the position: a data set that makes its random augmentation from it does not depend
    on the number of workers, of processes, or of restarts. For iteration based training only, since it never ends.

    Args:
        dataset: anything with a length.
        shuffle: permute each epoch; False walks the data set in its own order.
        seed: None draws one that all processes share, and logs it.

    Attributes:
        start: number of images that all processes together have drawn already; set it before `iter()` to continue an
            interrupted run (`dualattn.engine.loops.ResumableIterTrainLoop` does).

    Raises:
        ValueError: the data set is empty, or `seed` or `start` is negative.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, start: int = 0):
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        if self.size < 1:
            raise ValueError('ReproducibleSampler needs a data set with at least one image, got an empty one.')
        if seed is None:
            seed = sync_random_seed()
            print_log(f'ReproducibleSampler: no seed was given, drew {seed}', logger='current', level=logging.INFO)
        if seed < 0 or start < 0:
            raise ValueError(f'ReproducibleSampler needs seed >= 0 and start >= 0, got seed={seed} and start={start}.')
        self.shuffle = shuffle
        self.seed = seed
        self.start = start

    def order(self, epoch: int) -> torch.Tensor:
        """Return the order of one epoch: (N,) int64, a permutation of the indices."""
        if not self.shuffle:
            return torch.arange(self.size)
        generator = torch.Generator().manual_seed(mix_seed(self.seed, 0, epoch))
        return torch.randperm(self.size, generator=generator)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.start + self.rank
        epoch = position // self.size
        order = self.order(epoch)
        while True:
            if position // self.size != epoch:
                epoch = position // self.size
                order = self.order(epoch)
            yield int(order[position % self.size]), mix_seed(self.seed, 1, position)
            position += self.world_size

    def __len__(self) -> int:
        """Length of one epoch in this process; the stream itself is endless."""
        return math.ceil(self.size / self.world_size)
