"""The Runner in a run of several processes on CPUs, here with one process that believes in it."""

import socket

import pytest
import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from torch.utils.data import Dataset

from engine import MeanLossHook, StrictRunner, find_latest_checkpoint, reduction

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without a GPU')


class Ones(Dataset):
    metainfo = {}

    def __len__(self):
        return 8

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
        train_dataloader=dict(
            dataset=Ones(), sampler=dict(type='InfiniteSampler'), batch_size=2, num_workers=0),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='WholeCheckpointHook', by_epoch=False, interval=2)),
        launcher=launcher,
        env_cfg=dict(dist_cfg=dict(backend='nccl')),  # what configs say, for machines with GPUs
        log_level='ERROR',
        **kwargs,
    )


def test_a_model_without_its_own_wrapper_trains_under_gloo(tmp_path, launched):
    runner = make_runner(tmp_path, experiment_name='gloo_default')
    assert torch.distributed.get_backend() == 'gloo'
    assert isinstance(runner.model, MMDistributedDataParallel) and runner.model.device_ids is None
    runner.train()
    state = torch.load(find_latest_checkpoint(tmp_path), weights_only=True)['state_dict']
    assert set(state) == {'layer.weight', 'layer.bias'}


def test_options_of_the_wrapper_are_kept(tmp_path, launched):
    cfg = dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', find_unused_parameters=True))
    runner = make_runner(tmp_path, experiment_name='gloo_options', cfg=cfg)
    assert runner.model.find_unused_parameters is True
    assert 'device_ids' not in cfg['model_wrapper_cfg']


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
