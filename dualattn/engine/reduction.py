"""Logs of several processes as one."""

from mmengine.dist import all_reduce_dict
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

__all__ = ['MeanLossHook']


@HOOKS.register_module()
class MeanLossHook(Hook):
    """Replace what a training step reports by the mean over all processes.

    mmengine logs the first process, whose losses are those of its own share of the batch. After this hook the log of
    two processes with a batch of b is that of one process with a batch of 2 b, and a NaN in any of them is seen by all.
    """

    priority = 'HIGHEST'  # before the hooks that read the values

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Average the values of `outputs`, scalar tensors, in place."""
        if outputs:
            all_reduce_dict(outputs, op='mean')
