"""The upsampling stage and Color-Attention, checked against their equations."""

import pytest
import torch
import torch.nn.functional as F

from colorization.decoders import ColorAttentionDecoder, PixelShuffleDecoder
from colorization.decoders.color_attention import ColorAttentionLayer
from colorization.decoders.pixel import PixelShuffleUp

CHANS = (6, 8, 10, 12)


def pyramid(height, width, batch=2):
    """Maps as an encoder that rounds up makes them from an image of (height, width)."""
    torch.manual_seed(0)
    return [
        torch.randn(batch, chans, -(-height // stride), -(-width // stride))
        for chans, stride in zip(CHANS, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize('size', [(32, 32), (64, 96), (33, 47), (100, 36), (65, 129)])
def test_memory_has_the_size_of_the_finest_map(size):
    features = pyramid(*size)
    memory = PixelShuffleDecoder(CHANS, (9, 7, 16))(features)
    assert memory.shape == (2, 16, *features[0].shape[-2:])


def test_every_map_takes_part():
    features = [x.requires_grad_() for x in pyramid(64, 64)]
    PixelShuffleDecoder(CHANS, (8, 8, 8))(features).square().sum().backward()
    assert all(x.grad.abs().max() > 0 for x in features)


def test_wrong_number_of_steps():
    with pytest.raises(ValueError, match='4 maps take 3 steps, but decoder_dims has 2 entries'):
        PixelShuffleDecoder(CHANS, (8, 8))


def test_a_new_stage_makes_no_checkerboard():
    """Each group of 2 x 2 sub-pixels starts equal, but different channels and places differ."""
    torch.manual_seed(0)
    step = PixelShuffleUp(in_chans=6, skip_chans=3, out_chans=4)
    with torch.no_grad():
        fine = step.shuffle(step.expand(torch.randn(1, 6, 5, 7)))
    coarse = fine[..., ::2, ::2]
    torch.testing.assert_close(fine, F.interpolate(coarse, scale_factor=2, mode='nearest'))
    assert coarse.flatten(2).std(dim=2).min() > 0.1 and coarse.std(dim=1).min() > 0


def test_a_new_stage_keeps_the_scale():
    """Signals neither vanish nor explode over the three steps."""
    torch.manual_seed(0)
    step = PixelShuffleUp(in_chans=64, skip_chans=32, out_chans=48)
    with torch.no_grad():
        std = step.shuffle(step.expand(torch.randn(2, 64, 16, 16))).std()
    assert 0.7 < std < 2


def attend(attn, query, key, value):
    """One-headed attention written out: softmax(Q K^T / sqrt(C)) V between the projections of nn.MultiheadAttention."""
    q, k, v = (
        x @ weight.T + bias
        for x, weight, bias in zip(
            (query, key, value), attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3), strict=True
        )
    )
    weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return attn.out_proj(weights @ v)


def test_a_layer_is_equations_8_and_9():
    torch.manual_seed(0)
    layer = ColorAttentionLayer(dim=8, num_heads=1)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    z, queries, memory = torch.randn(2, 5, 8), torch.randn(2, 5, 8), torch.randn(2, 11, 8)
    second = layer.norm1(z + attend(layer.self_attn, z + queries, z + queries, z))  # Eq. 8
    expected = layer.norm2(second + attend(layer.cross_attn, second + queries, memory, memory))  # Eq. 9
    expected = layer.norm3(expected + layer.mlp(expected))
    torch.testing.assert_close(layer(z, queries, memory), expected, rtol=1e-4, atol=1e-5)


def test_kernels_differ_although_the_equations_alone_keep_them_equal():
    torch.manual_seed(0)
    decoder = ColorAttentionDecoder(dim=16, num_queries=7, depth=3, num_heads=2)
    features = torch.randn(2, 16, 5, 6)
    kernels = decoder(features)
    distances = torch.cdist(kernels, kernels) + 1e9 * torch.eye(7)
    assert distances.min() > 0.1  # norms make each kernel about 4 long

    # the reading that is declined: learned queries in the self-attention alone
    memory, queries = features.flatten(2).transpose(1, 2), decoder.queries.expand(2, -1, -1)
    z = torch.zeros_like(queries)
    for layer in decoder.layers:
        q = z + queries
        z = layer.norm1(z + layer.self_attn(q, q, z)[0])
        z = layer.norm2(z + layer.cross_attn(z, memory, memory)[0])
        z = layer.norm3(z + layer.mlp(z))
    assert (z - z[:, :1]).abs().max() < 1e-5


def test_kernels_follow_their_queries_and_ignore_the_order_of_pixels():
    torch.manual_seed(0)
    decoder = ColorAttentionDecoder(dim=16, num_queries=7, depth=2, num_heads=2)
    memory = torch.randn(2, 16, 3, 4)
    kernels = decoder(memory)
    shuffled = memory.flatten(2)[..., torch.randperm(12)].view_as(memory)
    torch.testing.assert_close(decoder(shuffled), kernels, rtol=1e-4, atol=1e-5)
    order = torch.randperm(7)
    decoder.queries.data = decoder.queries.data[order]
    torch.testing.assert_close(decoder(memory), kernels[:, order], rtol=1e-4, atol=1e-5)


def test_kernels_belong_to_one_image():
    torch.manual_seed(0)
    decoder = ColorAttentionDecoder(dim=16, num_queries=7, depth=2, num_heads=2)
    memory = torch.randn(2, 16, 3, 4)
    both = decoder(memory)
    torch.testing.assert_close(decoder(memory[1:]), both[1:], rtol=1e-4, atol=1e-5)
    assert (both[0] - both[1]).abs().max() > 0.05
