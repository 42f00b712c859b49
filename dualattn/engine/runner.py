"""mmengine's Runner, with strict loading and with several processes on CPUs."""

import copy
import inspect
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, get_rank, is_distributed
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner, get_state_dict, load_state_dict
from mmengine.runner.checkpoint import CheckpointLoader
from torch.utils.data import DataLoader

from dualattn.engine.accumulation import list_accumulation
from dualattn.engine.checkpoints import find_latest_checkpoint
from dualattn.engine.data import DataError
from dualattn.engine.loops import left_out_of_log
from dualattn.engine.seeding import seed_worker
from dualattn.engine.wrappers import unwrap
from dualattn.io.weights import CheckpointError, check_weights, read_checkpoint
from dualattn.matmul import fast_matmul, find_product

__all__ = ['OptionError', 'StrictRunner', 'check_options']

_TYPICAL_SIDE = 256  # pixels of a training image, for what `fast_matmul` times

# what no training here goes without, by the names that a config's `default_hooks` has for them
_DEFAULT_HOOKS: dict[str, dict[str, Any]] = dict(
    checkpoint=dict(type='WholeCheckpointHook', interval=1),
    seed_iteration=dict(type='SeedIterationHook'),
    mean_loss=dict(type='MeanLossHook'),
    stop_on_nan=dict(type='StopOnNaNHook'),
    preemption=dict(type='PreemptionHook'),
)

# what Runner and torch's wrappers read from the config, beside Runner's own arguments
_CONFIG_KEYS = {'model_wrapper_cfg', 'runner_type', 'sync_bn', 'find_unused_parameters', 'compile'}
_SHORTHANDS = {'data_root', 'classes'}  # see dualattn.commands.overrides


# learning rates that a schedule names outright, by its class
_ABSOLUTE_RATES = {
    'CosineAnnealingLR': ('eta_min',),
    'CosineRestartLR': ('eta_min',),
    'PolyLR': ('eta_min',),
    'OneCycleLR': ('eta_max',),
    'ReduceOnPlateauLR': ('min_value',),
}


def _scale_schedule(schedule: dict | list, ratio: float) -> dict | list:
    """Return the configs of schedules with their absolute learning rates multiplied by `ratio`."""
    if isinstance(schedule, (list, tuple)):
        return [_scale_schedule(one, ratio) for one in schedule]
    if not isinstance(schedule, dict):
        return schedule  # built already
    names = _ABSOLUTE_RATES.get(schedule['type'], ())
    scaled = {name: schedule[name] * ratio for name in names if schedule.get(name) is not None}
    return {**schedule, **scaled}


@RUNNERS.register_module()
class StrictRunner(Runner):
    """A Runner that loads all of a checkpoint or nothing, and that starts several processes without a GPU as well.

    mmengine's Runner leaves out what does not fit, with a warning in the log, and asks for CUDA as soon as there is a
    launcher. It brings the hooks that every training needs, see `register_hooks`. On a CPU all loops run inside
    `dualattn.fast_matmul`. Takes the arguments of `mmengine.runner.Runner`; `resume='auto'` goes on from the newest
    checkpoint of the work dir, as the first process sees it, and begins anew, with `load_from`, where there is none.
    """

    # mmengine sets these without saying of what type
    param_schedulers: Any
    _resume: bool | str
    _load_from: str | None

    def register_hooks(
        self,
        default_hooks: dict[str, dict | Hook | None] | None = None,
        custom_hooks: list[dict | Hook] | None = None,
    ) -> None:
        """Register mmengine's default hooks and ours, then the custom ones.

        Args:
            default_hooks: by name, mmengine's or one of `_DEFAULT_HOOKS`: another hook in its place, or None for none.
            custom_hooks: further hooks. One of ours that stands here, too, is registered once.
        """
        types = {hook.get('type') if isinstance(hook, dict) else type(hook).__name__ for hook in custom_hooks or ()}
        ours = {name: hook for name, hook in _DEFAULT_HOOKS.items() if hook['type'] not in types}
        hooks: dict[str, dict | Hook | None] = {**ours, **(default_hooks or {})}
        own_names = _DEFAULT_HOOKS.keys() - {'checkpoint'}  # for which mmengine takes no None
        hooks = {name: hook for name, hook in hooks.items() if hook is not None or name not in own_names}
        super().register_hooks(hooks, custom_hooks)

    def setup_env(self, env_cfg: dict) -> None:
        """Set the process up; where there is no GPU, processes talk through gloo, whatever the config says.

        Raises:
            ValueError: several processes without a GPU under another launcher than 'pytorch'.
        """
        if self.distributed and get_device() == 'cpu' and not is_distributed():
            if self._launcher != 'pytorch':
                raise ValueError(
                    f'without a GPU, start processes with torchrun and --launcher pytorch, not {self._launcher}'
                )
            torch.distributed.init_process_group('gloo')
        super().setup_env(env_cfg)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a loader of data whose workers are seeded by `seed_worker`, unless it names another `worker_init_fn`.

        Memory is pinned only where there is a GPU. Takes the arguments of mmengine's Runner.

        Raises:
            DataError: the data set is empty.
        """
        if isinstance(dataloader, dict):
            dataloader = copy.copy(dataloader)
            dataloader.setdefault('worker_init_fn', dict(type=seed_worker, rank=get_rank()))
            if get_device() == 'cpu':
                dataloader['pin_memory'] = False
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        if len(loader.dataset) == 0:
            raise DataError(f'{type(loader.dataset).__name__} has no samples: check its data_root and annotations')
        return loader

    def _log_env(self, env_cfg: dict) -> None:
        """Log what a reader needs in one line; mmengine prints the environment and the whole config, 300 lines.

        The config is written to the work dir, and `dualattn check` prints the environment.
        """
        name = Path(self.cfg.filename).name if self.cfg.filename else f'{self.timestamp}.py'
        self.logger.info(
            f'torch {torch.__version__}, seed {self._seed}, {self.world_size} '
            f'process(es) on {get_device()}; the full config: {Path(self.work_dir, name)}'
        )

    def get_hooks_info(self) -> str:
        """Return the names of the hooks in the order of their priority, for the log."""
        return ', '.join(type(hook).__name__ for hook in self.hooks)

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapper | OptimWrapperDict:
        """Build the optimizers; takes the argument of mmengine's Runner.

        mmengine logs a line for each parameter that has settings of its own, and for each that is frozen: 432 and 189
        in the demo. Here the frozen ones are counted.
        """
        parameters = [parameter.requires_grad for parameter in self.model.parameters()]
        if not all(parameters):
            self.logger.info(f'{parameters.count(False)} of {len(parameters)} tensors of weights are frozen')
        with left_out_of_log(self.logger, 'paramwise_options', 'is skipped since its requires_grad=False'):
            return super().build_optim_wrapper(optim_wrapper)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: torch.nn.Module) -> torch.nn.Module:
        """Wrap the model for several processes; without a GPU, not bound to one."""
        if self.distributed and get_device() == 'cpu':
            if self.cfg.get('sync_bn'):
                self.logger.warning('sync_bn needs a GPU: every process norms its own batch')
                self.cfg.sync_bn = None
            default = dict(type='MMDistributedDataParallel', broadcast_buffers=False)
            model_wrapper_cfg = {**(model_wrapper_cfg or default), 'device_ids': None}
        return super().wrap_model(model_wrapper_cfg, model)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop; takes the argument of mmengine's Runner.

        Raises:
            DataError: an epoch has not even one batch.
        """
        loop = super().build_train_loop(loop)
        loader = loop.dataloader
        # runs by iterations go through the samples again and again, whatever the length
        if isinstance(loop, EpochBasedTrainLoop) and len(loader) == 0:
            size = getattr(loader.batch_sampler, 'batch_size', loader.batch_size)
            raise DataError(
                f'{len(loader.dataset)} training samples are less than one batch of {size} for each of '
                f'{self.world_size} process(es), and incomplete batches are left out: lower '
                'train_dataloader.batch_size, set train_dataloader.drop_last=False, or add samples'
            )
        return loop

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale learning rates by the batch of one update, accumulated ones included, over the config's base batch.

        mmengine counts what the processes load at once, and leaves learning rates that a schedule names outright
        (`eta_min`) as they are, so that a scaled cosine would end elsewhere than its curve. Takes the arguments of its
        Runner.
        """
        super().scale_lr(optim_wrapper, auto_scale_lr)
        if auto_scale_lr is None or not auto_scale_lr.get('enable'):
            return
        for wrapper, count in list_accumulation(optim_wrapper):
            for group in wrapper.optimizer.param_groups:
                group['lr'] *= count
            if count > 1:
                self.logger.info(f'Scaling the LR by {count} more, as one update takes {count} batches.')
        loaded = self.world_size * self._train_dataloader_batch_size()
        ratios = [count * loaded / auto_scale_lr['base_batch_size'] for _, count in list_accumulation(optim_wrapper)]
        schedules = self.param_schedulers
        if schedules is None:
            return
        if isinstance(optim_wrapper, OptimWrapperDict):
            by_name = isinstance(schedules, dict) and 'type' not in schedules
            self.param_schedulers = {
                name: _scale_schedule(schedules[name] if by_name else schedules, ratio)
                for name, ratio in zip(optim_wrapper.keys(), ratios, strict=True)
            }
        else:
            self.param_schedulers = _scale_schedule(schedules, ratios[0])

    def _train_dataloader_batch_size(self) -> Any:
        loader = self._train_dataloader
        return loader.batch_size if isinstance(loader, DataLoader) else loader['batch_size']

    def train(self) -> torch.nn.Module:
        """Train; returns the model."""
        if self._resume == 'auto' or self._resume and self._load_from is None:
            latest = [find_latest_checkpoint(self.work_dir)]
            broadcast_object_list(latest)  # the folders of other machines may hold other files
            if latest[0] is None:
                self.logger.warning(f'No checkpoint in {self.work_dir} yet: starting from the beginning.')
                self._resume = False
            else:
                self._load_from, self._resume = str(latest[0]), True
        with self._fast_matmul():
            return super().train()

    def val(self) -> dict:
        """Validate; returns the metrics."""
        with self._fast_matmul():
            return super().val()

    def test(self) -> dict:
        """Test; returns the metrics."""
        with self._fast_matmul():
            return super().test()

    def _fast_matmul(self) -> AbstractContextManager[bool]:
        return fast_matmul(find_product(self.model, _TYPICAL_SIDE), device=get_device())

    def _init_model_weights(self) -> None:
        # what is loaded, strictly, replaces all of it; the files that init_cfg names need not be there any more
        if self._load_from is None:
            super()._init_model_weights()

    def resume(self, filename: str, **kwargs) -> None:
        """Go on with a training; takes the arguments of mmengine's Runner.

        Raises:
            CheckpointError: see `load_checkpoint`; or the file holds weights but not the state of a training.
        """
        try:
            with left_out_of_log(self.logger, 'Load checkpoint from', 'resumed epoch:'):
                super().resume(filename, **kwargs)
        except KeyError as error:
            raise CheckpointError(
                f'{filename} has no {error}: it does not hold the state of this training. Weights '
                'alone can be a start: set load_from instead of --resume'
            ) from error
        if isinstance(self._train_loop, EpochBasedTrainLoop):
            done, unit = f'{self.epoch} of {self.max_epochs}', 'epochs'
        else:
            done, unit = f'{self.iter} of {self.max_iters}', 'iterations'
        self.logger.info(f'Resumed from {filename}: {done} {unit} are done.')

    def load_checkpoint(self, filename: str, map_location='cpu', strict: bool = True) -> dict:
        """Load weights, strictly unless told otherwise, without running code that the file may hold.

        Args:
            filename: a local file; for addresses such as https:// mmengine's loader is asked.
            map_location: where tensors go, as in `torch.load`.
            strict: refuse weights that are not exactly the model's.

        Returns:
            The content of the file.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: the file is broken or would run code, or its weights are not the model's.
        """
        if '://' in filename:
            checkpoint = CheckpointLoader.load_checkpoint(filename, map_location)
        else:
            checkpoint = read_checkpoint(os.path.expanduser(filename), map_location)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model = unwrap(self.model)
        state_dict = checkpoint.get('state_dict', checkpoint)
        if strict:
            check_weights(filename, state_dict, get_state_dict(model))
        load_state_dict(model, state_dict, strict)  # looks through the wrappers of sub-networks
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint


class OptionError(ValueError):
    """An argument of a command has no effect, or does not fit the config."""


def check_options(options: dict, unread: tuple[str, ...] = ()) -> None:
    """Refuse `--cfg-options` that nothing would read: a misspelt name, or a variable that the config has used already.

    Args:
        options: dotted names and values, as mmengine's `DictAction` parses them.
        unread: beginnings of the Runner's entries that this tool has no use for.

    Raises:
        OptionError: an option has no effect; names it.
    """
    unread = ('self', 'cfg', 'launcher', *unread)
    known = {*inspect.signature(StrictRunner.__init__).parameters, *_CONFIG_KEYS, *_SHORTHANDS}
    names = sorted(name for name in known if not name.startswith(unread))
    without_effect = sorted({key.split('.')[0] for key in options} - set(names))
    if without_effect:
        raise OptionError(
            f'--cfg-options: {", ".join(without_effect)} would have no effect; what is read is {", ".join(names)}'
        )
