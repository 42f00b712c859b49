"""Randomness as a function of seed and position, so that an interrupted run goes on as if undisturbed."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.utils.data import get_worker_info

__all__ = ['SeedIterationHook', 'mix_seed', 'seed_worker']


def mix_seed(*numbers: int) -> int:
    """Turn a few non-negative integers into one well mixed 63-bit seed; a changed integer gives an unrelated seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


@HOOKS.register_module()
class SeedIterationHook(Hook):
    """Seed Python, NumPy and torch anew before every training iteration and epoch.

    Checkpoints of mmengine hold no random state. With this hook drop path, dropout and gradient penalties draw the
    same numbers after a resume as they would have without the interruption. So do random augmentations in runs by
    epochs, with `seed_worker` and unless `persistent_workers` keep a random state of their own.
    """

    def before_train_epoch(self, runner) -> None:
        """Seed from the run's seed, the epoch and the rank, before its first images are read."""
        _seed_all(mix_seed(runner.seed, 3, runner.epoch, get_rank()))

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Seed from the run's seed, the iteration and the rank."""
        _seed_all(mix_seed(runner.seed, 2, runner.iter, get_rank()))


def seed_worker(worker_id: int, rank: int) -> None:
    """Seed Python, NumPy and torch in a process that loads data, from the seed that its loader has drawn.

    A loader draws a seed whenever its workers start: with SeedIterationHook, and without `persistent_workers`, another
    one in each epoch, the same in a resumed run. mmengine's own function seeds by worker and rank alone, so that
    every epoch, or every resume, would repeat the numbers of the first.

    Args:
        worker_id: number of the worker, which its seed already accounts for.
        rank: number of the training process; in runs by iterations all of them draw the same seed.
    """
    worker = get_worker_info()
    if worker is None:
        raise RuntimeError('seed_worker is for processes that load data, this is none')
    _seed_all(mix_seed(worker.seed, 4, rank))


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
