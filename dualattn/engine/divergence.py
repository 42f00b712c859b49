"""Stop a training whose loss is no number any more."""

import math

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from dualattn.engine.checkpoints import find_latest_checkpoint

__all__ = ['StopOnNaNHook', 'TrainingDivergedError']


class TrainingDivergedError(RuntimeError):
    """A loss or a weight became NaN or infinite."""


@HOOKS.register_module()
class StopOnNaNHook(Hook):
    """Raise when a loss is NaN or infinite, or when the weights are that a checkpoint is about to store.

    The second happens without the first when the very last update went wrong.

    Raises:
        TrainingDivergedError: names the iteration, the losses or the weight, and the last good checkpoint.
    """

    priority = 'ABOVE_NORMAL'  # before the hooks that write weights

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Look at every logged value whose name contains 'loss'."""
        values = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
        values = {name: value for name, value in values.items() if isinstance(value, float)}
        if tensors:  # a GPU is waited for once, not for each of them
            means = torch.stack([value.detach().float().mean() for value in tensors.values()]).tolist()
            values.update(zip(tensors, means, strict=True))
        bad = {name: value for name, value in values.items() if not math.isfinite(value)}
        if not bad:
            return
        self._stop(runner, f'{", ".join(f"{name} = {value}" for name, value in bad.items())} (all losses: {values})')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Look at every weight that is about to be stored."""
        for name, tensor in checkpoint['state_dict'].items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                self._stop(runner, f'{name} has values that are NaN or infinite')

    @staticmethod
    def _stop(runner, reason: str) -> None:
        latest = find_latest_checkpoint(runner.work_dir)
        advice = 'There is no checkpoint yet: start'
        if latest is not None:
            advice = f'The last good checkpoint is {latest}: resume from it'
        raise TrainingDivergedError(
            f'iteration {runner.iter + 1}: {reason}. {advice} with a lower learning rate, or without --amp.'
        )
