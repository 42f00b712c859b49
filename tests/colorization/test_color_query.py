"""DDColor's color decoder and the blurred shuffles of its pixel decoder."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from colorization.decoders.color_query import ColorQueryDecoder, ColorQueryLayer, QueryAttention, sine_positions
from colorization.decoders.ddcolor_pixel import BAND_PIXELS, BlurredShuffle, BlurredShuffleDecoder, BlurredShuffleStep

SMALL = dict(in_chans=(12, 8, 4), dim=16, num_queries=5, depth=4, num_heads=2, mlp_ratio=2.0)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_maps(chans=(12, 8, 4), batch=2, seed=0):
    return [random(batch, dim, 2 ** (i + 1), 3 * 2**i, seed=seed + i) for i, dim in enumerate(chans)]


def decoder(**kwargs):
    torch.manual_seed(0)
    return ColorQueryDecoder(**{**SMALL, **kwargs}).eval()


def test_positions_by_their_formula():
    """DETR's: rows in the first half of the channels, columns in the second, sine and cosine in turn."""
    height, width, dim = 3, 5, 8
    found = sine_positions(height, width, dim).view(height, width, dim)
    for y in range(height):
        for x in range(width):
            expected = []
            for place, length in ((y, height), (x, width)):
                angle = (place + 1) / (length + 1e-6) * 2 * math.pi
                for pair in range(dim // 4):
                    scaled = angle / 10000 ** (2 * pair / (dim // 2))
                    expected += [math.sin(scaled), math.cos(scaled)]
            torch.testing.assert_close(found[y, x], torch.tensor(expected), rtol=0, atol=1e-5)


def test_positions_need_four_kinds_of_channels():
    with pytest.raises(ValueError, match='multiple of 4 channels, got 6'):
        sine_positions(2, 2, 6)


@pytest.mark.parametrize('attn_type', ['cross', 'self'])
def test_attention_is_torchs_own_with_queries_added(attn_type):
    torch.manual_seed(0)
    attention = QueryAttention(attn_type, dim=16, num_heads=4).eval()
    z, embed, keys, values = random(2, 5, 16), random(5, 16, seed=1), random(2, 7, 16, seed=2), random(2, 7, 16, seed=3)
    q = z + embed
    k, v = (keys, values) if attn_type == 'cross' else (q, z)
    expected = attention.norm(z + attention.attn(q, k, v)[0])
    torch.testing.assert_close(attention(z, embed, keys, values), expected, rtol=1e-4, atol=1e-5)


def test_a_layer_runs_its_attentions_in_the_given_order():
    torch.manual_seed(0)
    layer = ColorQueryLayer(16, num_heads=2, mlp_ratio=2.0, attn_types=('cross', 'self')).eval()
    assert [attention.attn_type for attention in layer.attentions] == ['cross', 'self']
    arguments = random(5, 16, seed=1), random(2, 7, 16, seed=2), random(2, 7, 16, seed=3)
    z = random(2, 5, 16)
    expected = layer.attentions[1](layer.attentions[0](z, *arguments), *arguments)
    expected = layer.norm(expected + layer.mlp(expected))
    torch.testing.assert_close(layer(z, *arguments), expected)
    layer.attentions = nn.ModuleList(reversed(layer.attentions))
    assert not torch.allclose(layer(z, *arguments), expected, atol=1e-3)


def test_layers_visit_the_scales_in_turn():
    """Block i reads map i modulo the number of maps, coarsest first (DDColor 3.2.2)."""
    network, seen = decoder(), []
    for layer in network.layers:
        layer.register_forward_pre_hook(lambda module, args: seen.append(args[2].shape[1]))
    maps = make_maps()
    network(maps)
    sizes = [x.shape[2] * x.shape[3] for x in maps]
    assert len(set(sizes)) == 3 and seen == [*sizes, sizes[0]]


def test_keys_have_positions_and_values_have_not():
    network, seen = decoder(depth=1), []
    network.layers[0].register_forward_pre_hook(lambda module, args: seen.extend(args[2:4]))
    maps = make_maps()
    network(maps)
    keys, values = seen
    expected = network.projections[0](maps[0]).flatten(2).transpose(1, 2) + network.level_embed[0]
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(keys, expected + sine_positions(*maps[0].shape[2:], 16))


@pytest.mark.parametrize('attn_types', [('cross', 'self'), ('self', 'cross'), ('cross', 'cross'), ('self', 'self')])
@pytest.mark.parametrize('learn_query_features', [True, False])
def test_every_weight_takes_part(attn_types, learn_query_features):
    network = decoder(attn_types=attn_types, learn_query_features=learn_query_features)
    embeddings = network(make_maps())
    assert embeddings.shape == (2, 5, 16)
    (embeddings * random(2, 5, 16, seed=9)).sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(('attn_types', 'reads'), [(('cross', 'self'), True), (('self', 'self'), False)])
def test_without_cross_attention_the_image_is_not_seen(attn_types, reads):
    network = decoder(attn_types=attn_types)
    with torch.no_grad():
        one, other = network(make_maps(seed=0)), network(make_maps(seed=10))
    assert torch.allclose(one, other) != reads
    assert any(name.startswith('projections') for name, _ in network.named_parameters()) == reads


def test_learned_features_are_a_choice():
    with torch.no_grad():
        learned, zeros = decoder(), decoder(learn_query_features=False)
        assert 'query_features' in dict(learned.named_parameters())
        assert 'query_features' not in dict(zeros.named_parameters())
        learned.load_state_dict({**zeros.state_dict(), 'query_features': torch.zeros(5, 16)})
        torch.testing.assert_close(learned(make_maps()), zeros(make_maps()))


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        (dict(attn_types=('cross', 'fca')), "'cross' and 'self', got"),
        (dict(attn_types=()), r'got \[\]'),
        (dict(in_chans=()), 'at least one map'),
    ],
)
def test_what_the_color_decoder_refuses(kwargs, match):
    with pytest.raises(ValueError, match=match):
        decoder(**kwargs)


def shuffle(in_chans=6, out_chans=4, scale=2, use_norm=True):
    torch.manual_seed(0)
    layer = BlurredShuffle(in_chans, out_chans, scale, use_norm)
    if use_norm:
        nn.init.normal_(layer.norm.running_mean)
        nn.init.uniform_(layer.norm.running_var, 0.5, 2)
    return layer.eval()


@torch.no_grad()
def test_shuffle_is_convolution_relu_shuffle_and_a_mean_to_the_upper_left():
    layer, x = shuffle(), random(2, 6, 3, 5)
    fine = F.pixel_shuffle(F.relu(layer.norm(layer.conv(x))), 2)
    found = layer(x)
    assert found.shape == (2, 4, 6, 10)
    torch.testing.assert_close(
        found[..., 1:, 1:], (fine[..., 1:, 1:] + fine[..., 1:, :-1] + fine[..., :-1, 1:] + fine[..., :-1, :-1]) / 4
    )
    torch.testing.assert_close(found[..., 0, 0], fine[..., 0, 0])  # the edge is continued
    torch.testing.assert_close(found[..., 0, 1:], (fine[..., 0, 1:] + fine[..., 0, :-1]) / 2)


@pytest.mark.parametrize('use_norm', [True, False])
def test_sub_pixels_start_equal(use_norm):
    layer = BlurredShuffle(6, 4, scale=4, use_norm=use_norm)
    weight = layer.conv.parametrizations.weight.original.view(4, 16, 6)
    assert (weight == weight[:, :1]).all() and weight[:, 0].std() > 0.1


@torch.no_grad()
@pytest.mark.parametrize('rows', [3, 2 * BAND_PIXELS // 64 + 1])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_mixing_before_enlarging_is_mixing_after(rows, memory_format):
    """One band and several, in both layouts of memory."""
    layer = shuffle(scale=4, use_norm=False)
    x = random(2, 6, rows, 64).to(memory_format=memory_format)
    weights = random(2, 3, 4, seed=1)
    expected = torch.einsum('bkc,bchw->bkhw', weights, layer(x))
    torch.testing.assert_close(layer.mix(x, weights), expected, rtol=1e-4, atol=1e-5)


def test_mixing_has_the_gradients_of_the_plain_way():
    layer = shuffle(scale=4, use_norm=False)
    gradients = []
    for mix in (layer.mix, lambda x, weights: torch.einsum('bkc,bchw->bkhw', weights, layer(x))):
        layer.zero_grad()
        x, weights = random(1, 6, 40, 64).requires_grad_(), random(1, 3, 4, seed=1).requires_grad_()
        mix(x, weights).square().mean().backward()
        gradients.append([x.grad, weights.grad, *(parameter.grad for parameter in layer.parameters())])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_a_step_merges_with_the_encoders_map():
    torch.manual_seed(0)
    step = BlurredShuffleStep(6, 5, 4).eval()
    nn.init.normal_(step.skip_norm.running_mean)
    nn.init.normal_(step.norm.running_mean)
    x, skip = random(2, 6, 3, 5), random(2, 5, 6, 10, seed=1)
    expected = step.norm(F.relu(step.conv(F.relu(torch.cat([step.up(x), step.skip_norm(skip)], dim=1)))))
    torch.testing.assert_close(step(x, skip), expected)
    assert not step(x, skip).ge(0).all()  # the norm comes after the ReLU


@torch.no_grad()
def test_spectral_norm_holds_every_convolution():
    torch.manual_seed(0)
    decoder = BlurredShuffleDecoder((4, 6, 8, 10), (12, 10, 8, 6))
    convs = [module for module in decoder.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 7
    for conv in convs:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)


@torch.no_grad()
def test_pixel_decoder_hands_out_three_scales():
    decoder = BlurredShuffleDecoder((4, 6, 8, 10), (12, 10, 8, 6)).eval()
    features = [random(1, chans, 32 // stride, 64 // stride) for chans, stride in ((4, 1), (6, 2), (8, 4), (10, 8))]
    maps = decoder(features)
    assert [tuple(x.shape[1:]) for x in maps] == [(12, 8, 16), (10, 16, 32), (8, 32, 64)]
    assert decoder.last_up(maps[-1]).shape == (1, 6, 128, 256)


def test_four_steps_need_four_widths():
    with pytest.raises(ValueError, match='4 maps take 4 steps, but decoder_dims has 3 entries'):
        BlurredShuffleDecoder((4, 6, 8, 10), (12, 10, 8))
