"""The Runner in a run of several processes on CPUs, here with one process that believes in it; batches and rates."""

import logging
import socket
from contextlib import contextmanager

import pytest
import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from torch.utils.data import Dataset

from dualattn.engine import DataError, MeanLossHook, StrictRunner, find_latest_checkpoint, reduction

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without a GPU')


class Ones(Dataset):
    metainfo = {}

    def __init__(self, size=8):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return dict(inputs=torch.ones(4))


class Regression(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.layer(torch.stack(list(inputs))).square().mean())


@pytest.fixture
def launched(monkeypatch):
    """What torchrun tells its processes."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    for name, value in dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=port).items():
        monkeypatch.setenv(name, str(value))
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def make_runner(work_dir, launcher='pytorch', **kwargs):
    return StrictRunner(
        model=Regression(),
        work_dir=str(work_dir),
        train_dataloader=dict(dataset=Ones(), sampler=dict(type='InfiniteSampler'), batch_size=2, num_workers=0),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='WholeCheckpointHook', by_epoch=False, interval=2)),
        launcher=launcher,
        env_cfg=dict(dist_cfg=dict(backend='nccl')),  # what configs say, for machines with GPUs
        log_level='ERROR',
        **kwargs,
    )


@without_gpu
def test_a_model_without_its_own_wrapper_trains_under_gloo(tmp_path, launched):
    runner = make_runner(tmp_path, experiment_name='gloo_default')
    assert torch.distributed.get_backend() == 'gloo'
    assert isinstance(runner.model, MMDistributedDataParallel) and runner.model.device_ids is None
    runner.train()
    state = torch.load(find_latest_checkpoint(tmp_path), weights_only=True)['state_dict']
    assert set(state) == {'layer.weight', 'layer.bias'}


@without_gpu
def test_options_of_the_wrapper_are_kept(tmp_path, launched):
    cfg = dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', find_unused_parameters=True))
    runner = make_runner(tmp_path, experiment_name='gloo_options', cfg=cfg)
    assert runner.model.find_unused_parameters is True
    assert 'device_ids' not in cfg['model_wrapper_cfg']


@without_gpu
@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_other_launchers_are_refused(tmp_path, launcher):
    with pytest.raises(ValueError, match=f'start processes with torchrun and --launcher pytorch, not {launcher}'):
        make_runner(tmp_path, launcher=launcher, experiment_name=f'refused_{launcher}')


def test_losses_of_all_processes_are_averaged_in_place(monkeypatch):
    monkeypatch.setattr(reduction, 'all_reduce_dict', lambda values, op: values.update(loss=f'{op} of loss'))
    outputs = dict(loss=torch.tensor(1.0))
    MeanLossHook().after_train_iter(None, 0, outputs=outputs)
    assert outputs == dict(loss='mean of loss')
    MeanLossHook().after_train_iter(None, 0, outputs=None)


# --- hooks

OURS = ['SeedIterationHook', 'MeanLossHook', 'StopOnNaNHook', 'WholeCheckpointHook']


@pytest.mark.parametrize(
    ('hooks', 'expected'),
    [
        ({}, OURS),
        (dict(default_hooks=None), OURS),
        (dict(custom_hooks=[dict(type='SeedIterationHook'), MeanLossHook()]), OURS),
        (dict(default_hooks=dict(stop_on_nan=None)), [name for name in OURS if name != 'StopOnNaNHook']),
        (dict(default_hooks=dict(checkpoint=None, timer=None)), OURS[:3]),
        (dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook'))), [*OURS[:3], 'CheckpointHook']),
    ],
)
def test_every_training_has_the_hooks_that_it_needs_once(tmp_path, hooks, expected):
    runner = make_plain_runner(tmp_path, f'hooks_{len(str(hooks))}', **hooks)
    names = [type(hook).__name__ for hook in runner.hooks]
    assert sorted(name for name in names if name in OURS or 'Checkpoint' in name) == sorted(expected)
    assert ('IterTimerHook' in names) == ('timer' not in (hooks.get('default_hooks') or {}))


def test_frozen_weights_are_counted_and_not_listed(tmp_path):
    """mmengine logs a line for each of them, 189 in the demo."""
    settings = dict(optimizer=dict(type='SGD', lr=0.1), paramwise_cfg=dict(bias_lr_mult=2.0))
    runner = make_plain_runner(tmp_path, 'frozen', by_epoch=False)
    said = []
    runner.logger.setLevel('INFO')
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    runner.logger.addHandler(handler)
    runner.build_optim_wrapper(settings)
    assert said == []
    runner.model.layer.weight.requires_grad_(False)
    wrapper = runner.build_optim_wrapper(settings)
    assert said == ['1 of 2 tensors of weights are frozen']
    assert [group['lr'] for group in wrapper.optimizer.param_groups if group['params'][0].requires_grad] == [0.2]


# --- batches


def make_plain_runner(work_dir, name, size=8, by_epoch=True, accumulate=1, batch=2, **kwargs):
    return StrictRunner(
        model=Regression(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Ones(size),
            batch_size=batch,
            num_workers=0,
            drop_last=True,
            sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2) if by_epoch else dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=accumulate),
        log_level='ERROR',
        experiment_name=name,
        **{
            'default_hooks': dict(checkpoint=dict(type='WholeCheckpointHook', by_epoch=by_epoch, interval=2)),
            **kwargs,
        },
    )


def test_too_few_samples_for_a_batch(tmp_path):
    runner = make_plain_runner(tmp_path, 'few', size=3, batch=4)
    with pytest.raises(DataError, match=r'3 training samples are less than one batch of 4 for each of 1 process\(es\)'):
        runner.train()
    assert find_latest_checkpoint(tmp_path) is None
    # by iterations the batch has some of them twice
    make_plain_runner(tmp_path, 'few_by_iterations', size=3, batch=4, by_epoch=False).train()
    with pytest.raises(DataError, match='Ones has no samples'):
        make_plain_runner(tmp_path, 'none', size=0, by_epoch=False).train()


def test_memory_is_pinned_for_a_gpu_alone(recwarn):
    loader = StrictRunner.build_dataloader(
        dict(dataset=Ones(), sampler=dict(type='DefaultSampler'), batch_size=2, num_workers=0, pin_memory=True), seed=0
    )
    assert len(list(loader)) == 4 and loader.pin_memory is torch.cuda.is_available()
    assert not [warning for warning in recwarn if 'pin_memory' in str(warning.message)]


@pytest.mark.parametrize(('accumulate', 'rate'), [(1, 0.1 * 2 / 16), (4, 0.1 * 2 * 4 / 16)])
def test_the_rate_follows_the_batch_of_an_update(tmp_path, accumulate, rate):
    runner = make_plain_runner(
        tmp_path, f'scaled_{accumulate}', accumulate=accumulate, auto_scale_lr=dict(enable=True, base_batch_size=16)
    )
    runner.train()
    assert runner.optim_wrapper.get_lr()['lr'] == [pytest.approx(rate)]
    runner = make_plain_runner(
        tmp_path, f'plain_{accumulate}', accumulate=accumulate, auto_scale_lr=dict(enable=False, base_batch_size=16)
    )
    runner.train()
    assert runner.optim_wrapper.get_lr()['lr'] == [0.1]


@without_gpu
@pytest.mark.parametrize('loop', ['train', 'val', 'test'])
def test_loops_run_inside_fast_matmul(tmp_path, monkeypatch, loop):
    inside = []

    @contextmanager
    def fast_matmul(product, device):
        inside.append((product, device))
        yield True
        inside.pop()

    monkeypatch.setattr('dualattn.engine.runner.fast_matmul', fast_matmul)
    seen = []
    monkeypatch.setattr(f'mmengine.runner.Runner.{loop}', lambda self: seen.extend(inside))
    getattr(make_runner(tmp_path, launcher='none'), loop)()
    assert seen == [((64, 4, 1), 'cpu')]
    assert inside == []
