"""Training checkpoints that are whole or absent, and that load without running code.

mmengine writes a checkpoint in place, so that a kill leaves half a file, and pickles its own classes into it, which
torch refuses to load since 2.6 (`Weights only load failed`). Here the file is written aside and renamed, and the log
history is stored as plain tensors.
"""

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS
from mmengine.runner import get_state_dict
from mmengine.runner.checkpoint import weights_to_cpu

from dualattn.engine.accumulation import list_accumulation
from dualattn.engine.wrappers import unwrap
from dualattn.io.files import remove_leftovers, write_whole
from dualattn.io.weights import CheckpointError, read_checkpoint

__all__ = [
    'WholeCheckpointHook',
    'WholeFileBackend',
    'find_latest_checkpoint',
]

_HISTORY = 'log_history'


class WholeFileBackend(LocalBackend):
    """Local files that appear whole or not at all."""

    def put(self, obj: bytes, filepath) -> None:
        """Write bytes, see `dualattn.io.files.write_whole`; the folder is made where it is missing."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(path) as aside:
            aside.write_bytes(obj)


register_backend('whole_file', WholeFileBackend, force=True)


def _to_plain(value: Any) -> Any:
    """Replace HistoryBuffer and NumPy scalars, at any depth, by what `torch.load(weights_only=True)` accepts."""
    if isinstance(value, HistoryBuffer):
        history, counts = (torch.from_numpy(np.asarray(data, dtype=np.float64)) for data in value.data)
        return {_HISTORY: history, 'counts': counts, 'max_length': value.max_length}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {_to_plain(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_plain(item) for item in value)
    return value


def _from_plain(value: Any) -> Any:
    """Undo `_to_plain`, apart from the NumPy scalars."""
    if isinstance(value, dict):
        if _HISTORY in value:
            return HistoryBuffer(value[_HISTORY].cpu().numpy(), value['counts'].cpu().numpy(), value['max_length'])
        return {key: _from_plain(item) for key, item in value.items()}
    return value


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook with whole files and plain content.

    Checkpoints of a former run that lie ahead of this one, in the same folder, are moved into `before_TIME` there:
    `--resume` would otherwise go on with them.

    Takes the arguments of `mmengine.hooks.CheckpointHook` but for `backend_args`.

    Args:
        max_keep_ckpts: checkpoints to keep, -1 for all.

    Raises:
        ValueError: `max_keep_ckpts=1`, because mmengine deletes the old file before it writes the new one; or a
            checkpoint would fall between the batches whose gradients one update accumulates.
    """

    def __init__(self, max_keep_ckpts: int = 3, **kwargs):
        if max_keep_ckpts == 1:
            raise ValueError(
                'max_keep_ckpts has to be at least 2 (or -1 for all): with 1 the only good checkpoint '
                'would be deleted before the next one is written'
            )
        super().__init__(max_keep_ckpts=max_keep_ckpts, backend_args=dict(backend='whole_file'), **kwargs)

    def before_train(self, runner) -> None:
        """Check the interval, and tidy up what former runs have left in the folder."""
        super().before_train(runner)
        self._check_interval(runner)
        barrier()  # all processes have loaded what they begin with
        if is_main_process():
            for folder in {self.out_dir, runner.work_dir}:
                if Path(folder).is_dir():
                    remove_leftovers(folder, ('.pth', '.safetensors'))
            self._move_aside(runner)
        barrier()

    def _check_interval(self, runner) -> None:
        count = math.lcm(*(count for _, count in list_accumulation(runner.optim_wrapper)))
        length, unit = (len(runner.train_dataloader), 'epochs') if self.by_epoch else (1, 'iterations')
        if self.interval > 0 and self.interval * length % count:
            raise ValueError(
                f'checkpoints every {self.interval} {unit} would fall between the batches of one update '
                f'(accumulative_counts={count}) and lose their gradients; set default_hooks.checkpoint.interval to a '
                f'multiple of {count // math.gcd(count, length)}'
            )

    def _move_aside(self, runner) -> None:
        done = dict(iter=runner.iter, epoch=runner.epoch)
        ahead = [path for kind, number, path in _list_checkpoints(self.out_dir) if number > done[kind]]
        if not ahead:
            return
        folder = Path(self.out_dir, f'before_{runner.timestamp}')
        folder.mkdir()
        for path in ahead:
            path.rename(folder / path.name)
        runner.logger.warning(
            f'{self.out_dir} held checkpoints of another run, ahead of this one, which begins at iteration '
            f'{runner.iter}. Moved to {folder.name}: {", ".join(path.name for path in ahead)}. To go on with that run '
            'instead, name one of them after --resume'
        )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Make the log history and the description of the data plain, and name the weights as in one process."""
        for part in ('message_hub', 'meta'):
            checkpoint[part] = _to_plain(checkpoint[part])
        # Runner takes the names as they are, with a `module.` for each sub-network that is wrapped by itself
        model = unwrap(runner.model)
        weights = get_state_dict(model)
        for name, wrapped_name in zip(list(weights), model.state_dict(), strict=True):
            # not the model's own: EMAHook may have put averaged ones there
            weights[name] = checkpoint['state_dict'][wrapped_name]
        checkpoint['state_dict'] = weights_to_cpu(weights)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Make the log history mmengine's again."""
        if 'message_hub' in checkpoint:
            checkpoint['message_hub'] = _from_plain(checkpoint['message_hub'])


def find_latest_checkpoint(work_dir: str | os.PathLike) -> Path | None:
    """Find the newest checkpoint of a run by the number in its name, or None.

    Numbers of epochs and of iterations do not compare: where a folder holds both, the newest of each is asked how many
    iterations it has seen. mmengine's `last_checkpoint` file is not asked: it can be empty after a kill, and wrong
    after the folder has moved.

    Raises:
        CheckpointError: the folder holds both kinds, and one of the newest two cannot be read or does not say it.
    """
    newest = {kind: path for kind, _, path in sorted(_list_checkpoints(work_dir), key=lambda found: found[1])}
    if len(newest) < 2:
        return next(iter(newest.values()), None)
    return max(newest.values(), key=_count_iterations)


def _count_iterations(path: Path) -> int:
    meta = read_checkpoint(path).get('meta')
    if not isinstance(meta, dict) or not isinstance(meta.get('iter'), int):
        raise CheckpointError(
            f'{path} does not say how many iterations it has seen, and {path.parent} holds checkpoints of iterations '
            'and of epochs; name the one to go on with after --resume'
        )
    return meta['iter']


def _list_checkpoints(folder) -> list[tuple[str, int, Path]]:
    names = [(re.fullmatch(r'(iter|epoch)_(\d+)', path.stem), path) for path in sorted(Path(folder).glob('*.pth'))]
    return [(name[1], int(name[2]), path) for name, path in names if name]
