"""What the blocks compute beside their attentions."""

import pytest
import torch
from timm.layers import Mlp

from dualattn.layers.mlp import PiecewiseMlp


@pytest.fixture
def mlp():
    torch.manual_seed(0)
    mlp = PiecewiseMlp(8, hidden_features=32).double()
    mlp.rows = 7  # so that a small map has several pieces, the last one shorter
    return mlp


@pytest.mark.parametrize('shape', [(2, 5, 6, 8), (1, 1, 7, 8), (1, 2, 4, 8), (0, 3, 3, 8)])
def test_pieces_give_what_the_whole_gives(mlp, shape):
    x = torch.randn(shape, dtype=torch.float64)
    with torch.inference_mode():
        assert torch.allclose(mlp(x), Mlp.forward(mlp, x), atol=1e-14)
        assert torch.allclose(mlp(x.transpose(1, 2)), Mlp.forward(mlp, x.transpose(1, 2)), atol=1e-14)


def test_only_inference_is_cut(mlp, monkeypatch):
    """The largest input of the second layer is a piece, and with gradients the whole."""
    rows = []
    mlp.fc2.register_forward_pre_hook(lambda module, args: rows.append(args[0].numel() // 32))
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        mlp(x)
    assert rows == [7] * 5 + [1]
    rows.clear()
    mlp(x).sum().backward()
    assert rows == [36] and mlp.fc1.weight.grad.abs().sum() > 0


def test_half_precision_is_not_cut(mlp):
    rows = []
    mlp.bfloat16().fc2.register_forward_pre_hook(lambda module, args: rows.append(args[0].numel() // 32))
    with torch.no_grad():
        mlp(torch.randn(2, 3, 6, 8, dtype=torch.bfloat16))
    assert rows == [36]
