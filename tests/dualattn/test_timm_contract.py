"""What timm asks of a model, clause by clause, for every variant that registers itself."""

import copy
from pathlib import Path

import pytest
import timm
import torch
from timm.layers import DropPath
from timm.models import group_parameters
from timm.models._features import FeatureGetterNet, FeatureListNet
from timm.optim import create_optimizer_v2

import dualattn  # registers dualattn_* with timm

MODELS = timm.list_models('dualattn_*')
PACKAGED = sorted(path.stem for path in Path(dualattn.__file__).parent.glob('weights/*.safetensors'))
STRIDES = [4, 8, 16, 32]

every_model = pytest.mark.parametrize('name', MODELS)


def assert_equal(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


# --- registry and pretrained_cfg


def test_registry():
    assert set(MODELS) == {f'dualattn_{size}{side}' for size in ('tiny', 'small', 'base') for side in ('', '_384')} | {
        'dualattn_mpt',
        'dualattn_mpt_pico',
    }
    assert timm.list_models(module='dualattn') == MODELS
    assert timm.list_pretrained('dualattn_*') == PACKAGED  # a url or a hub id has to come with weights


@every_model
def test_pretrained_cfg(name):
    model = timm.create_model(name, device='meta')
    cfg = model.pretrained_cfg
    parameters = dict(model.named_parameters())
    assert f'{cfg["first_conv"]}.weight' in parameters
    assert f'{cfg["classifier"]}.weight' in parameters
    assert cfg['num_classes'] == model.num_classes == parameters['head.fc.weight'].shape[0]
    assert len(cfg['mean']) == len(cfg['std']) == cfg['input_size'][0] == model.in_chans
    assert cfg['license'] and cfg['interpolation'] == 'bicubic' and 0 < cfg['crop_pct'] <= 1
    assert cfg['fixed_input_size'] is False
    for size, pool in ((cfg['input_size'], cfg['pool_size']), (cfg['min_input_size'], (1, 1))):
        assert model.forward_features(torch.empty(1, *size, device='meta')).shape[-2:] == pool
    assert timm.data.resolve_model_data_config(model)['input_size'] == cfg['input_size']


@every_model
def test_caller_arguments_win(name, build):
    model = build(name, depths=(2, 1, 1, 2), window_size=3, drop_rate=0.25, global_pool='max')
    assert [len(stage.blocks) for stage in model.stages] == [2, 1, 1, 2]
    assert {m.window_size for m in model.modules() if hasattr(m, 'window_size')} == {(3, 3)}
    assert model.drop_rate == model.head.drop.p == 0.25
    assert model.head.pool_type == 'max'


@every_model
def test_attributes(name, build):
    model = build(name)
    assert (model.num_classes, model.in_chans, model.num_features, model.head_hidden_size) == (10, 3, 64, 64)
    assert model.grad_checkpointing is False
    assert [info['module'] for info in model.feature_info] == [f'stages.{i}' for i in range(4)]
    assert [info['reduction'] for info in model.feature_info] == STRIDES
    assert [info['num_chs'] for info in model.feature_info] == [32, 64, 32, 64]
    # FeatureListNet runs the children in the order of registration
    assert [child for child, _ in model.named_children()] == ['stem', 'stages', 'head']


# --- forward and backward


@every_model
def test_forward_of_the_real_sizes(name, image):
    model = timm.create_model(name).eval()
    with torch.no_grad():
        out = model(image)
    assert out.shape == (2, 1000)
    assert out.isfinite().all()


@every_model
def test_forward_is_head_of_features(name, build, image):
    model = build(name)
    features = model.forward_features(image)
    assert features.shape == (2, 64, 2, 2)
    assert_equal(model(image), model.forward_head(features))
    pre_logits = model.forward_head(features, pre_logits=True)
    assert pre_logits.shape == (2, model.head_hidden_size)
    assert_equal(model.get_classifier()(pre_logits), model(image))


@every_model
def test_every_parameter_gets_a_gradient(name, build, image):
    model = build(name).train()
    model(image).square().mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@every_model
@pytest.mark.parametrize('size', [(32, 32), (33, 47), (32, 100), (97, 65), (96, 33), (1, 1), (3, 40)])
def test_any_size(name, build, size):
    model = build(name)
    x = torch.randn(1, 3, *size)
    with torch.no_grad():
        features = model.forward_intermediates(x, intermediates_only=True)
        assert model(x).isfinite().all()
    sides = [-(-side // 2) for side in size]
    for feature in features:
        sides = [-(-side // 2) for side in sides]
        assert list(feature.shape[-2:]) == sides
        assert feature.isfinite().all()


@every_model
def test_images_of_a_batch_do_not_mix(name, build, image):
    model = build(name)
    with torch.no_grad():
        torch.testing.assert_close(model(image)[1:], model(image[1:]), rtol=1e-4, atol=1e-5)
        assert model(image[:0]).shape == (0, 10)


# --- features


@every_model
@pytest.mark.parametrize('kwargs', [{}, dict(feature_cls='getter')], ids=['list', 'getter'])
def test_features_only(name, kwargs, build, image):
    net = build(name, features_only=True, **kwargs)
    assert type(net) is (FeatureGetterNet if kwargs else FeatureListNet)
    check_features(net, build(name), image)


@pytest.mark.parametrize('wrapper', ['dict', 'hook', 'fx'])
def test_other_feature_wrappers(wrapper, build, image):
    check_features(build('dualattn_mpt', features_only=True, feature_cls=wrapper), build('dualattn_mpt'), image)


def check_features(net, model, image):
    """Expect of a wrapper the four maps that the model itself gives."""
    expected = model.forward_intermediates(image, intermediates_only=True)
    assert net.feature_info.reduction() == STRIDES
    features = net(image)
    features = list(features.values()) if isinstance(features, dict) else features
    assert len(features) == 4
    for feature, reference, chans, stride in zip(features, expected, net.feature_info.channels(), STRIDES, strict=True):
        assert feature.shape == (2, chans, 64 // stride, 64 // stride)
        assert_equal(feature, reference)


@every_model
@pytest.mark.parametrize('wrapper', ['list', 'getter'])
@pytest.mark.parametrize('out_indices, stages', [((1, 3), [1, 3]), ((-3, -2), [1, 2]), (2, [2, 3]), ((0,), [0])])
def test_out_indices(name, wrapper, out_indices, stages, build, image):
    expected = build(name).forward_intermediates(image, intermediates_only=True)
    net = build(name, features_only=True, feature_cls=wrapper, out_indices=out_indices)
    assert net.feature_info.reduction() == [STRIDES[i] for i in stages]
    for feature, i in zip(net(image), stages, strict=True):
        assert_equal(feature, expected[i])
    kept = {key.replace('stages_', 'stages.').split('stages.')[1][0] for key in net.state_dict() if 'stages' in key}
    assert kept == {str(i) for i in range(max(stages) + 1)}  # what no output needs is gone


def test_features_of_fewer_stages(build, image):
    net = build('dualattn_tiny', depths=(1, 2), embed_dims=(32, 64), strides=(2, 2), features_only=True)
    assert [feature.shape for feature in net(image)] == [(2, 32, 16, 16), (2, 64, 8, 8)]


@every_model
def test_forward_intermediates(name, build, image):
    model = build(name)
    final, features = model.forward_intermediates(image)
    assert_equal(final, model.forward_features(image))
    assert_equal(features[-1], final)
    assert [feature.shape[-1] for feature in features] == [16, 8, 4, 2]
    for indices, stages in ((2, [2, 3]), ([0, -1], [0, 3]), ([1], [1])):
        for stop_early in (False, True):
            last, some = model.forward_intermediates(image, indices=indices, stop_early=stop_early)
            assert_equal(last, features[max(stages)] if stop_early else final)
            for feature, i in zip(some, stages, strict=True):
                assert_equal(feature, features[i])
    # there is no norm to apply between the stages and the head
    only = model.forward_intermediates(image, norm=True, intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(only, features, strict=True))


@every_model
def test_forward_intermediates_refuses(name, build, image):
    model = build(name)
    with pytest.raises(ValueError, match="'NCHW', got 'NLC'"):
        model.forward_intermediates(image, output_fmt='NLC')
    with pytest.raises(AssertionError, match='out of range'):
        model.forward_intermediates(image, indices=[4])


@every_model
@pytest.mark.parametrize('indices, kept', [([0], [0]), ([1, -2], [1, 2]), (1, [3]), (3, [1, 2, 3])])
def test_prune_intermediate_layers(name, indices, kept, build, image):
    model = build(name)
    expected = model.forward_intermediates(image, indices=indices, intermediates_only=True)
    assert model.prune_intermediate_layers(indices) == kept
    assert len(model.stages) == max(kept) + 1
    final, features = model.forward_intermediates(image, indices=kept)
    for feature, reference in zip(features, expected, strict=True):
        assert_equal(feature, reference)
    assert_equal(model(image), final)
    assert model.num_classes == 0
    assert model.num_features == model.head_hidden_size == final.shape[1]
    assert not list(model.head.parameters())


@every_model
def test_prune_keeps_a_head_that_fits(name, build, image):
    model = build(name)
    logits = model(image)
    assert model.prune_intermediate_layers(2, prune_norm=True, prune_head=False) == [2, 3]
    assert_equal(model(image), logits)
    model.prune_intermediate_layers([0], prune_head=False)  # the head was made for the last stage
    assert model(image).shape == (2, 32, 16, 16)


# --- head


@every_model
def test_reset_classifier(name, build, image):
    model = build(name)
    pooled, features = model.forward_head(model.forward_features(image), pre_logits=True), model.forward_features(image)
    model.reset_classifier(0)
    assert isinstance(model.get_classifier(), torch.nn.Identity)
    assert_equal(model(image), pooled)
    model.reset_classifier(7)
    assert model(image).shape == (2, 7)
    assert model.num_classes == model.get_classifier().out_features == 7
    model.reset_classifier(5, 'max')
    assert model(image).shape == (2, 5)
    model.reset_classifier(5, '')
    assert model(image).shape == (2, 5, 2, 2)
    model.reset_classifier(0, '')
    assert model(image).shape == (2, 64, 2, 2)
    model.reset_classifier(0, '', reset_other=True)
    assert_equal(model(image), features)
    model.reset_classifier(3, 'avg')
    assert model(image).shape == (2, 3)
    assert model.num_features == model.head_hidden_size == 64


@every_model
@pytest.mark.parametrize(
    'kwargs, shape',
    [
        (dict(num_classes=0), (2, 64)),
        (dict(num_classes=0, global_pool=''), (2, 64, 2, 2)),
        (dict(global_pool=''), (2, 10, 2, 2)),
    ],
)
def test_constructed_without_classifier_or_pool(name, kwargs, shape, build, image):
    assert build(name, **kwargs)(image).shape == shape


# --- training


@every_model
def test_layer_decay_through_timm_optimizer(name, build):
    model = build(name)
    optimizer = create_optimizer_v2(model, opt='adamw', lr=1e-3, weight_decay=0.05, layer_decay=0.5)
    scale = {id(p): group['lr_scale'] for group in optimizer.param_groups for p in group['params']}
    decay = {id(p): group['weight_decay'] for group in optimizer.param_groups for p in group['params']}
    assert sum(len(group['params']) for group in optimizer.param_groups) == len(list(model.parameters())) == len(scale)

    parts = [model.stem]
    for stage in model.stages:
        parts += stage.blocks
        first = {scale[id(p)] for p in stage.blocks[0].parameters()}
        assert {scale[id(p)] for p in stage.downsample.parameters()} == first
    parts.append(model.head)
    scales = [{scale[id(p)] for p in part.parameters()} for part in parts]
    assert all(len(s) == 1 for s in scales)  # one part, one scale
    assert [s.pop() for s in scales] == [0.5**i for i in reversed(range(len(parts)))]
    for parameter in model.parameters():
        assert decay[id(parameter)] == (0.05 if parameter.ndim > 1 else 0)


@every_model
def test_coarse_groups(name, build):
    model = build(name)
    groups = group_parameters(model, model.group_matcher(coarse=True))
    assert [{key.split('.')[0] for key in keys} for _, keys in sorted(groups.items())] == [
        {'stem'},
        {'stages'},
        {'stages'},
        {'stages'},
        {'stages'},
        {'head'},
    ]


@every_model
def test_grad_checkpointing_equals_plain(name, build, image):
    plain = build(name, drop_path_rate=0.3).train()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    runs = []
    for block in (b for stage in saving.stages for b in stage.blocks):
        block.register_forward_pre_hook(lambda *_: runs.append(1))
    outputs = []
    for model in (plain, saving):
        torch.manual_seed(2)  # the same paths are dropped
        outputs.append(model(image))
        outputs[-1].square().mean().backward()
    assert_equal(*outputs)
    for (key, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), key
    blocks = sum(len(stage.blocks) for stage in saving.stages)
    assert len(runs) == 2 * blocks  # each block ran once more in the backward pass
    saving.set_grad_checkpointing(False)
    saving(image).square().mean().backward()
    assert len(runs) == 3 * blocks


@every_model
def test_drop_path(name, build, image):
    model = build(name, drop_path_rate=0.4)
    rates = [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]
    blocks = sum(len(stage.blocks) for stage in model.stages)
    # four residuals share the rate of their block, and the first block drops nothing
    expected = torch.linspace(0, 0.4, blocks)[1:].repeat_interleave(4)
    torch.testing.assert_close(torch.tensor(rates), expected)
    assert_equal(model(image), build(name)(image))
    model.train()
    torch.manual_seed(0)
    assert not torch.equal(model(image), model(image))


# --- devices, dtypes


@every_model
def test_device_and_dtype_arguments(name, build):
    meta = build(name, device='meta')
    assert all(p.is_meta for p in meta.parameters())
    assert meta(torch.empty(1, 3, 64, 64, device='meta')).shape == (1, 10)
    model = build(name, dtype=torch.bfloat16)
    model.reset_classifier(0, '', reset_other=True)
    model.reset_classifier(3, 'avg')  # the head has nothing left to take its dtype from
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    out = model(torch.randn(1, 3, 70, 64, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


@every_model
def test_autocast(name, build, image):
    model = build(name)
    with torch.autocast('cpu', torch.bfloat16):
        out = model(image)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), model(image), rtol=0.05, atol=0.05)
    out.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


# --- refusals


@every_model
def test_unknown_keyword_raises(name):
    with pytest.raises(TypeError, match='embed_dimz'):
        timm.create_model(name, embed_dimz=(96, 192, 384, 768))


@every_model
@pytest.mark.parametrize('kwargs', [dict(depths=(1, 1, 3)), dict(embed_dims=(96, 192)), dict(strides=(2, 2, 2, 2, 2))])
def test_mismatched_lengths_raise(name, kwargs):
    with pytest.raises(ValueError, match='describe the same stages'):
        timm.create_model(name, device='meta', **kwargs)


@every_model
@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(attn_types=('sda', 'window')), "unknown attention 'window'; expected one of sda, da, fca, ca"),
        (dict(attn_types=()), r'sequence such as .*, got \(\)'),
        (dict(attn_types='sda'), "sequence such as .*, got 'sda'"),
        (dict(head_dim=36), 'has to divide dim: got dim='),
        (dict(window_size=0), 'window_size has to be positive, got 0'),
    ],
)
def test_wrong_values_raise(name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model(name, device='meta', **kwargs)
