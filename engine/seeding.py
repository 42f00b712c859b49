"""Randomness as a function of seed and position, so that an interrupted run goes on as if undisturbed."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

__all__ = ['SeedIterationHook', 'mix_seed']


def mix_seed(*numbers: int) -> int:
    """Turn a few non-negative integers into one well mixed 63-bit seed; a changed integer gives an unrelated seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


@HOOKS.register_module()
class SeedIterationHook(Hook):
    """Seed Python, NumPy and torch anew before every training iteration.

    Checkpoints of mmengine hold no random state. With this hook drop path, dropout and gradient penalties draw the
    same numbers after a resume as they would have without the interruption.
    """

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Seed from the run's seed, the iteration and the rank."""
        seed = mix_seed(runner.seed, 2, runner.iter, get_rank())
        random.seed(seed)
        np.random.seed(seed % 2 ** 32)
        torch.manual_seed(seed)
