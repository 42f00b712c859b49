"""The encoder on timm models of several families, with their different layouts, strides and roundings."""

import pytest
import timm
import torch
from torch import nn

from colorization.encoders import PYRAMID_STRIDES, PyramidEncoder

TINY_DUALATTN = dict(depths=(1, 1, 1, 1), embed_dims=(24, 24, 48, 48), stem_dim=8, window_size=4)
TINY_SWIN = dict(embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=2)
TINY_TWINS = dict(depths=(1, 1, 2, 1), embed_dims=(8, 16, 32, 64), num_heads=(1, 1, 2, 2))
TINY_CONVNEXT = dict(depths=(1, 1, 1, 1), dims=(8, 12, 16, 20))

FAMILIES = {
    'dualattn_mpt': TINY_DUALATTN,
    'convnext_atto': TINY_CONVNEXT,
    'swin_tiny_patch4_window7_224': TINY_SWIN,  # NHWC
    'twins_svt_small': TINY_TWINS,
    'tf_efficientnet_lite0': {},  # a map at stride 2 as well
    'resnet10t': {},
}


@pytest.mark.parametrize('name', FAMILIES)
@pytest.mark.parametrize('in_chans', [1, 3])
def test_four_maps_of_any_family(name, in_chans):
    encoder = PyramidEncoder(name, in_chans=in_chans, trunk_kwargs=FAMILIES[name])
    maps = encoder(torch.randn(2, in_chans, 64, 64))
    trunk = timm.create_model(name, features_only=True, in_chans=in_chans, **FAMILIES[name])
    published = dict(zip(trunk.feature_info.reduction(), trunk.feature_info.channels(), strict=True))
    assert encoder.chans == [published[stride] for stride in PYRAMID_STRIDES]
    assert [tuple(x.shape) for x in maps] == [
        (2, chans, 64 // stride, 64 // stride) for chans, stride in zip(encoder.chans, PYRAMID_STRIDES, strict=True)
    ]


@pytest.mark.parametrize('name', ['dualattn_mpt', 'swin_tiny_patch4_window7_224'])
def test_maps_are_the_trunks_own_normalised_over_channels(name):
    encoder = PyramidEncoder(name, trunk_kwargs=FAMILIES[name]).eval()
    image = torch.randn(1, 1, 64, 64)
    for found, own in zip(encoder(image), encoder.trunk(image), strict=True):
        if name.startswith('swin'):
            own = own.permute(0, 3, 1, 2)
        expected = (own - own.mean(dim=1, keepdim=True)) / (own.var(dim=1, keepdim=True, unbiased=False) + 1e-6).sqrt()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('size', [(33, 47), (32, 65), (70, 40)])
@pytest.mark.parametrize(
    'name',
    ['dualattn_mpt', 'tf_efficientnet_lite0', 'resnet10t', 'swin_tiny_patch4_window7_224', 'twins_svt_small'],
)
def test_sizes_are_rounded_up(name, size):
    maps = PyramidEncoder(name, trunk_kwargs=FAMILIES[name]).eval()(torch.randn(1, 1, *size))
    assert [tuple(x.shape[-2:]) for x in maps] == [
        tuple(-(-side // stride) for side in size) for stride in PYRAMID_STRIDES
    ]


@pytest.mark.parametrize('name', ['swin_tiny_patch4_window7_224', 'twins_svt_small'])
def test_padding_is_the_last_row_and_column(name):
    """What is cropped is what the trunk says of the image padded by hand; a size of its own is left alone."""
    encoder = PyramidEncoder(name, trunk_kwargs=FAMILIES[name]).eval()
    image = torch.randn(1, 1, 70, 40)
    padded = nn.functional.pad(image, (0, 24, 0, 26), mode='replicate')
    for found, whole, stride in zip(encoder(image), encoder(padded), PYRAMID_STRIDES, strict=True):
        assert torch.equal(found, whole[..., : -(-70 // stride), : -(-40 // stride)])


def test_a_trunk_that_rounds_down_says_what_to_do():
    encoder = PyramidEncoder('convnext_atto', trunk_kwargs=TINY_CONVNEXT)
    with pytest.raises(ValueError, match='maps 33 x 64 pixels to 8 x 16 at stride 4; pad to multiples of 32'):
        encoder(torch.randn(1, 1, 33, 64))
    encoder(torch.randn(1, 1, 64, 96))


@pytest.mark.parametrize('norm_eval', [True, False])
def test_norm_eval_keeps_batch_norms_fixed(norm_eval):
    encoder = PyramidEncoder('tf_efficientnet_lite0', norm_eval=norm_eval)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    nn.Sequential(encoder).train()  # as a system switches its networks
    assert norms and all(norm.training is not norm_eval for norm in norms)
    assert encoder.training and encoder.trunk.training
    encoder(torch.randn(2, 1, 32, 32) + 3)
    changed = [not torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True)]
    assert not any(changed) if norm_eval else any(changed)
    assert all(norm.weight.requires_grad for norm in norms)
    encoder.eval()
    assert not any(module.training for module in encoder.modules())


def test_a_model_without_the_four_strides_is_refused():
    with pytest.raises(ValueError, match=r'vit_tiny_patch16_224 has \[16'):
        PyramidEncoder('vit_tiny_patch16_224', trunk_kwargs=dict(depth=1, embed_dim=16, num_heads=1, out_indices=(0,)))
    with pytest.raises(ValueError, match=r'strides \(4, 8, 16, 32\); convnext_atto has \[8, 16\]'):
        PyramidEncoder('convnext_atto', trunk_kwargs=dict(out_indices=(1, 2), **TINY_CONVNEXT))


def test_unknown_keyword_is_refused():
    with pytest.raises(TypeError, match='window_sise'):
        PyramidEncoder('dualattn_mpt', trunk_kwargs=dict(window_sise=8))


def test_every_parameter_gets_a_gradient():
    """Distributed training waits for each of them; timm's classifier must not be among them."""
    for name, kwargs in FAMILIES.items():
        encoder = PyramidEncoder(name, trunk_kwargs=kwargs)
        sum(x.square().sum() for x in encoder(torch.randn(2, 1, 64, 64))).backward()
        assert [key for key, parameter in encoder.named_parameters() if parameter.grad is None] == [], name


def test_frozen_modules_alone_keep_their_weights():
    encoder = PyramidEncoder('tf_efficientnet_lite0', frozen_modules=['conv_stem', 'bn1', 'blocks.0'])
    sum(feature.square().mean() for feature in encoder(torch.randn(2, 1, 64, 64))).backward()
    trained = {name for name, parameter in encoder.trunk.named_parameters() if parameter.grad is not None}
    frozen = {name for name, _ in encoder.trunk.named_parameters()} - trained
    assert frozen and all(name.startswith(('conv_stem.', 'bn1.', 'blocks.0.')) for name in frozen)
    assert not any(name.startswith(('conv_stem.', 'bn1.', 'blocks.0.')) for name in trained)
    assert list(encoder.state_dict()) == list(PyramidEncoder('tf_efficientnet_lite0').state_dict())


def test_an_unknown_module_to_freeze_is_named():
    with pytest.raises(AttributeError, match='9'):
        PyramidEncoder('tf_efficientnet_lite0', frozen_modules=['blocks.9'])
