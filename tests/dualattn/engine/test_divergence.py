"""A training that diverged stops, says where, and leaves a good checkpoint."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dualattn.engine import StopOnNaNHook, TrainingDivergedError


@pytest.fixture
def runner(tmp_path):
    return SimpleNamespace(iter=41, work_dir=str(tmp_path))


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('kind', [float, torch.tensor])
def test_stops_with_iteration_losses_and_checkpoint(runner, tmp_path, value, kind):
    for name in ('iter_9.pth', 'iter_40.pth', 'iter_100.txt'):
        (tmp_path / name).touch()
    outputs = dict(loss_pix=kind(0.5), loss_g=kind(value), d_real=kind(1.0))
    with pytest.raises(TrainingDivergedError) as caught:
        StopOnNaNHook().after_train_iter(runner, 0, outputs=outputs)
    message = str(caught.value)
    assert 'iteration 42' in message and f'loss_g = {value}' in message and "'loss_pix': 0.5" in message
    assert str(tmp_path / 'iter_40.pth') in message


def test_says_that_there_is_no_checkpoint(runner):
    with pytest.raises(TrainingDivergedError, match='There is no checkpoint yet'):
        StopOnNaNHook().after_train_iter(runner, 0, outputs=dict(loss=torch.tensor(math.nan)))


def test_goes_on_with_finite_losses_and_any_monitor(runner):
    outputs = dict(loss=torch.tensor(1e30), loss_list=torch.ones(3), d_real=torch.tensor(math.nan), note='loss')
    StopOnNaNHook().after_train_iter(runner, 0, outputs=outputs)
    StopOnNaNHook().after_train_iter(runner, 0, outputs=None)


def test_one_bad_element_is_enough(runner):
    with pytest.raises(TrainingDivergedError):
        StopOnNaNHook().after_train_iter(runner, 0, outputs=dict(loss=torch.tensor([1.0, math.nan, 1.0])))


class Reads(TorchDispatchMode):
    """Counts how often the value of a tensor is asked for, each time a GPU would be waited for."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_losses_are_read_together(runner):
    outputs = {f'loss_{i}': torch.tensor(float(i)) for i in range(5)}
    with Reads() as reads:
        StopOnNaNHook().after_train_iter(runner, 0, outputs=outputs)
        assert reads.count == 0  # a list of all is no such read, one number is
        float(outputs['loss_1'])
        assert reads.count == 1


def test_broken_weights_are_not_stored(runner, tmp_path):
    """The last update can break them after a loss that was finite."""
    (tmp_path / 'iter_40.pth').touch()
    state = dict(a=torch.ones(2), steps=torch.tensor(3), b=torch.tensor([1.0, math.nan]))
    with pytest.raises(TrainingDivergedError, match=r'iteration 42: b has values that are NaN.*iter_40\.pth'):
        StopOnNaNHook().before_save_checkpoint(runner, dict(state_dict=state))
    del state['b']
    StopOnNaNHook().before_save_checkpoint(runner, dict(state_dict=state))
