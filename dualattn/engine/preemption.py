"""A training that a cluster takes the machine from: write a checkpoint, then end."""

import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, barrier, is_distributed
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

from dualattn.engine.accumulation import list_accumulation

__all__ = ['PreemptedError', 'PreemptionHook']

# what schedulers send before they kill; Slurm's --signal=USR1@120 gives two minutes
SIGNALS = ('SIGTERM', 'SIGUSR1')


class PreemptedError(RuntimeError):
    """The training was told to end and has written what it needs to go on.

    Attributes:
        exit_code: 128 and the number of the signal, as a shell has it.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.exit_code = 128 + signum


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGTERM or SIGUSR1, finish the iteration, write a checkpoint, and raise `PreemptedError`.

    All processes end at the same iteration, whichever of them got the signal. With accumulated gradients the update is
    finished first. A run by epochs cannot be resumed within one: it ends without a checkpoint of its own, and goes on
    from that of the last epoch. `--resume` finds either. Outside the main thread, where Python takes no signals, the
    hook does nothing.

    Raises:
        PreemptedError: a signal came; the message names what `--resume` goes on with.
    """

    priority = 'VERY_LOW'  # behind the schedulers' step and the regular checkpoint

    def __init__(self):
        self._signum = 0
        self._before: dict[int, Any] = {}

    def before_train(self, runner) -> None:
        """Listen to the signals."""
        self._signum = 0
        if threading.current_thread() is not threading.main_thread():
            return
        for name in SIGNALS:
            if hasattr(signal, name):  # Windows has no SIGUSR1
                number = getattr(signal, name)
                self._before[number] = signal.signal(number, self._take)

    def _take(self, signum: int, frame) -> None:
        self._signum = signum

    def _stop_listening(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def after_train(self, runner) -> None:
        """Let others have the signals again."""
        self._stop_listening()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """End the training if any process was told to."""
        signum = self._signum
        if is_distributed():
            flag = torch.tensor(signum, device=get_device())
            all_reduce(flag, op='max')
            signum = int(flag)
        if not signum:
            return
        accumulated = math.lcm(*(count for _, count in list_accumulation(runner.optim_wrapper)))
        done = runner.iter + 1
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            what = 'the last checkpoint, since a run by epochs cannot be resumed within one'
        elif done % accumulated:
            return  # the gradients of an unfinished update would be lost
        else:
            path = Path(runner.work_dir, f'iter_{done}.pth')
            if not path.is_file():
                runner.save_checkpoint(
                    runner.work_dir,
                    path.name,
                    by_epoch=False,
                    backend_args=dict(backend='whole_file'),
                )
            barrier()  # no process ends before the file is there
            what = path.name
        self._stop_listening()
        name = signal.Signals(signum).name
        raise PreemptedError(
            f'{name} after iteration {done} (process {os.getpid()}): --resume goes on with {what}', signum
        )
