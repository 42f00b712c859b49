"""Weights of the timm models: other channels and classes, files, wrappers, pickles."""

import copy
import functools
import pickle

import pytest
import timm
import torch

import dualattn  # noqa: F401  registers dualattn_* with timm
from dualattn.models.dualattn import checkpoint_filter_fn

every_model = pytest.mark.parametrize('name', timm.list_models('dualattn_*'))


def assert_equal(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


# --- other channels and classes


@every_model
@pytest.mark.parametrize('in_chans', [1, 4])
def test_in_chans_from_a_three_channel_checkpoint(name, in_chans, build, tmp_path):
    source = build(name)
    file = str(tmp_path / 'weights.pth')
    torch.save({'state_dict': source.state_dict()}, file)
    overlay = dict(file=file, num_classes=10)
    model = build(name, in_chans=in_chans, pretrained=True, pretrained_cfg_overlay=overlay)
    conv = model.get_submodule(model.pretrained_cfg['first_conv'])
    assert model.in_chans == conv.in_channels == in_chans
    old, weight = source.stem.conv.weight, conv.weight
    expected = old.sum(1, keepdim=True) if in_chans == 1 else torch.cat([old, old[:, :1]], 1) * 3 / 4
    torch.testing.assert_close(weight, expected)
    assert all(
        torch.equal(b, a)
        for a, b in zip(source.stages.state_dict().values(), model.stages.state_dict().values(), strict=True)
    )
    assert model(torch.randn(1, in_chans, 64, 64)).shape == (1, 10)
    net = build(name, in_chans=in_chans, pretrained=True, pretrained_cfg_overlay=overlay, features_only=True)
    assert_equal(net.stem.conv.weight, weight)


@every_model
def test_other_number_of_classes_drops_the_classifier_only(name, build, tmp_path):
    source = build(name)
    file = str(tmp_path / 'weights.pth')
    torch.save(source.state_dict(), file)
    model = build(name, num_classes=3, pretrained=True, pretrained_cfg_overlay=dict(file=file, num_classes=10))
    for key, value in model.state_dict().items():
        assert key.startswith('head.fc') or torch.equal(value, source.state_dict()[key]), key
    assert model.get_classifier().out_features == 3


@pytest.mark.parametrize('num_classes', [7, 1000])
def test_a_head_that_fits_is_loaded(num_classes, tmp_path):
    """timm goes by the number of classes that the variant names, and would leave the head of 7 random in silence."""
    size = dict(depths=(1, 1, 1, 1), embed_dims=(8, 8, 8, 8), stem_dim=8, head_dim=8)
    model = timm.create_model('dualattn_tiny', num_classes=num_classes, **size)
    path = tmp_path / 'weights.pth'
    torch.save(model.state_dict(), path)
    overlay = dict(file=str(path))
    load = functools.partial(
        timm.create_model, 'dualattn_tiny', pretrained=True, pretrained_cfg_overlay=overlay, **size
    )
    loaded = load(num_classes=num_classes)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.pretrained_cfg['num_classes'] == num_classes
    other = load(num_classes=5)  # as timm has it: another head begins anew, the rest is loaded
    assert other.head.fc.out_features == 5 and torch.equal(other.stem.conv.weight, model.stem.conv.weight)
    assert timm.create_model('dualattn_tiny', **size).pretrained_cfg['num_classes'] == 1000  # of this model alone
    if num_classes != 1000:
        with pytest.raises(RuntimeError, match='head.fc.weight'):
            load()


# --- saving and loading


@every_model
def test_save_and_load_strictly(name, build, image, tmp_path):
    model = build(name)
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    other = build(name)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(torch.load(tmp_path / 'weights.pth', weights_only=True), strict=True)
    assert_equal(other(image), model(image))
    with pytest.raises(RuntimeError, match='Missing key'):
        build(name, depths=(1, 1, 3, 1)).load_state_dict(model.state_dict())


@every_model
@pytest.mark.parametrize('nest', ['state_dict_ema', 'state_dict', 'model'])
def test_checkpoint_filter_unwraps(name, nest, build):
    model = build(name)
    native = model.state_dict()
    assert checkpoint_filter_fn(native, model).keys() == native.keys()
    loaded = checkpoint_filter_fn({nest: native, 'epoch': 3}, model)
    assert loaded.keys() == native.keys()
    assert all(loaded[key] is native[key] for key in native)


@every_model
@pytest.mark.parametrize('wrapper', ['list', 'getter'])
def test_checkpoint_filter_undoes_feature_wrappers(name, wrapper, build, image):
    net = build(name, features_only=True, feature_cls=wrapper)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.05)
    assert any(key.startswith(('stages_0', 'model.stages.0')) for key in net.state_dict())
    model = build(name)
    result = model.load_state_dict(checkpoint_filter_fn(net.state_dict(), model), strict=False)
    assert result.unexpected_keys == []
    assert all(key.startswith('head.') for key in result.missing_keys)
    for a, b in zip(model.forward_intermediates(image, intermediates_only=True), net(image), strict=True):
        assert_equal(a, b)


@every_model
def test_pickle_and_deepcopy(name, build, image):
    model = build(name)
    expected = model(image)
    assert_equal(pickle.loads(pickle.dumps(model))(image), expected)
    clone = copy.deepcopy(model)
    with torch.no_grad():
        clone.stem.conv.weight.zero_()
    assert_equal(model(image), expected)
