"""The PatchGAN discriminator: the released structure, its attention, its spectral norm."""

import pytest
import torch
from torch import nn

from colorization.models import PatchDiscriminator
from colorization.models.patch_discriminator import PositionAttention


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_layers_of_the_released_one():
    """Channels, kernels and strides of each convolution; attention after the second halving; 5,919,617 parameters."""
    with torch.device('meta'):
        network = PatchDiscriminator()
    layers = [layer for layer in network.layers if not isinstance(layer, nn.ReLU)]
    found = [
        (
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size[0],
            layer.stride[0],
            layer.padding[0],
            layer.bias is not None,
        )
        if isinstance(layer, nn.Conv2d)
        else type(layer)
        for layer in layers
    ]
    assert found == [
        (3, 64, 4, 2, 1, True),
        (64, 64, 3, 1, 1, True),
        (64, 128, 4, 2, 1, True),
        PositionAttention,
        (128, 128, 3, 1, 1, True),
        (128, 256, 4, 2, 1, True),
        (256, 256, 3, 1, 1, True),
        (256, 512, 4, 2, 1, True),
        (512, 512, 3, 1, 1, True),
        (512, 1, 4, 1, 0, False),
    ]
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_919_617


def test_a_score_for_each_patch():
    network = PatchDiscriminator(dim=8)
    scores = network(torch.rand(2, 3, 128, 64))
    assert scores.shape == (2, 1, 5, 1)
    scores.sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@torch.no_grad()
def test_spectral_norm_holds_every_convolution():
    torch.manual_seed(0)
    network = PatchDiscriminator(dim=16)
    nn.init.ones_(next(layer for layer in network.layers if isinstance(layer, PositionAttention)).gain)
    for _ in range(20):
        network(torch.rand(1, 3, 64, 64))  # training sharpens the estimate
    convs = [module for module in network.modules() if isinstance(module, (nn.Conv1d, nn.Conv2d))]
    assert len(convs) == 9 + 3
    for conv in convs:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


@torch.no_grad()
def test_attention_by_its_equation():
    """Softmax over all positions of query times key, without a scale, added with a gain that starts at zero."""
    torch.manual_seed(0)
    attention, x = PositionAttention(16).eval(), random(2, 16, 3, 4)
    torch.testing.assert_close(attention(x), x)
    attention.gain.fill_(0.7)
    flat = x.flatten(2)
    query, key, value = attention.query(flat), attention.key(flat), attention.value(flat)
    assert query.shape == (2, 2, 12)
    weights = torch.einsum('bci,bcj->bij', query, key).softmax(dim=2)
    expected = x + 0.7 * torch.einsum('bij,bcj->bci', weights, value).view(x.shape)
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_scores_do_not_depend_on_the_other_images():
    network = PatchDiscriminator(dim=8).eval()
    images = torch.rand(3, 3, 64, 64)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]), rtol=1e-4, atol=1e-5)
