"""Stop a training whose loss is no number any more."""

import math

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from engine.checkpoints import find_latest_checkpoint

__all__ = ['StopOnNaNHook', 'TrainingDivergedError']


class TrainingDivergedError(RuntimeError):
    """A loss became NaN or infinite."""


@HOOKS.register_module()
class StopOnNaNHook(Hook):
    """Raise when a loss is NaN or infinite, before the next checkpoint could store what it did to the weights.

    Raises:
        TrainingDivergedError: names the iteration, the losses and the last good checkpoint.
    """

    priority = 'ABOVE_NORMAL'  # before the checkpoint hook, which is the last of all

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Look at every logged value whose name contains 'loss'."""
        values = {
            name: float(value.detach().mean()) if isinstance(value, torch.Tensor) else value
            for name, value in (outputs or {}).items() if 'loss' in name and isinstance(value, (torch.Tensor, float))}
        bad = {name: value for name, value in values.items() if not math.isfinite(value)}
        if not bad:
            return
        latest = find_latest_checkpoint(runner.work_dir)
        advice = 'There is no checkpoint yet: start'
        if latest is not None:
            advice = f'The last good checkpoint is {latest}: resume from it'
        raise TrainingDivergedError(
            f'iteration {runner.iter + 1}: {", ".join(f"{name} = {value}" for name, value in bad.items())} '
            f'(all losses: {values}). {advice} with a lower learning rate, or without --amp.')
