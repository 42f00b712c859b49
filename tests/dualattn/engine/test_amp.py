"""bfloat16 without a GPU."""

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

from dualattn.engine import BFloat16OptimWrapper


def wrap(model, **kwargs):
    return build_optim_wrapper(model, dict(type='BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=0.1), **kwargs))


def test_context_lowers_products_and_nothing_else():
    model = nn.Linear(4, 4)
    wrapper = wrap(model)
    assert isinstance(wrapper, BFloat16OptimWrapper) and isinstance(wrapper, OptimWrapper)
    with wrapper.optim_context(model):
        output = model(torch.randn(2, 4))
        loss = nn.functional.l1_loss(output.float(), torch.zeros(2, 4))
    assert output.dtype == torch.bfloat16 and loss.dtype == torch.float32
    assert model(torch.randn(2, 4)).dtype == torch.float32
    wrapper.update_params(loss)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_step_is_close_to_the_one_in_float32():
    torch.manual_seed(0)
    model, reference = nn.Linear(8, 8), nn.Linear(8, 8)
    reference.load_state_dict(model.state_dict())
    x = torch.randn(16, 8)
    wrapper = wrap(model)
    with wrapper.optim_context(model):
        loss = model(x).float().square().mean()
    wrapper.update_params(loss)
    loss = reference(x).square().mean()
    loss.backward()
    with torch.no_grad():
        expected = reference.weight - 0.1 * reference.weight.grad
    torch.testing.assert_close(model.weight, expected, rtol=0.02, atol=2e-3)
    assert not torch.equal(model.weight, expected)


class Synchronised(nn.Linear):
    """Counts how often gradients would not be exchanged between processes."""

    silent = 0

    def no_sync(self):
        self.silent += 1
        return torch.no_grad()  # any context


@pytest.mark.parametrize(('iteration', 'silent'), [(0, 1), (1, 0), (2, 1)])
def test_accumulation_is_mmengines_own(iteration, silent):
    model = Synchronised(2, 2)
    wrapper = wrap(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, iteration, 10)
    with wrapper.optim_context(model):
        pass
    assert model.silent == silent
