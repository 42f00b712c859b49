"""The backbone in OpenMMLab: maps, freezing, checkpointing, weights and layer-wise decay."""

import argparse

import pytest
import timm
import torch
from mmengine.registry import MODELS
from safetensors.torch import save_file
from timm.models import create_feature_extractor

from dualattn.engine import CheckpointError
from transfer import DualAttn, LayerDecayOptimWrapperConstructor

TINY = dict(depths=(1, 1, 2, 1), embed_dims=(24, 24, 48, 48), stem_dim=8, head_dim=8, window_size=4)


@pytest.fixture
def build():
    def build(**kwargs):
        torch.manual_seed(0)
        return MODELS.build(dict(type='DualAttn', **{**TINY, **kwargs}))

    return build


@pytest.fixture
def classifier():
    """A timm classifier of the same shape, with other weights than `build` gives."""
    torch.manual_seed(1)
    return timm.create_model('dualattn_tiny', num_classes=5, **TINY)


def images(height=70, width=45):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


# --- maps


@pytest.mark.parametrize('size', [(32, 32), (64, 96), (70, 45), (33, 100)])
def test_strides_and_channels(build, size):
    backbone = build()
    maps = backbone(images(*size))
    assert backbone.out_strides == (4, 8, 16, 32) and backbone.out_channels == (24, 24, 48, 48)
    for map_, channels, stride in zip(maps, backbone.out_channels, backbone.out_strides, strict=True):
        assert map_.shape == (2, channels, *(-(-side // stride) for side in size))
        assert map_.isfinite().all()


def test_variants_are_those_of_timm():
    """The sizes that FPN is told in the configs."""
    with torch.device('meta'):
        for name, channels in [
            ('dualattn_tiny', (96, 192, 384, 768)),
            ('dualattn_small', (96, 192, 384, 768)),
            ('dualattn_base', (128, 256, 512, 1024)),
        ]:
            backbone = DualAttn(model_name=name)
            assert backbone.out_channels == channels
            expected = sum(p.numel() for n, p in timm.create_model(name).named_parameters() if not n.startswith('head'))
            assert sum(parameter.numel() for parameter in backbone.parameters()) == expected + 2 * sum(channels)


def test_outputs_are_normalised(build):
    plain, normed = build(output_norm=False).eval(), build().eval()
    expected = plain.model.forward_intermediates(images(), intermediates_only=True)
    for got, norm, map_ in zip(plain(images()), normed(images()), expected, strict=True):
        torch.testing.assert_close(got, map_)
        layer_norm = torch.nn.functional.layer_norm(map_.movedim(1, -1), map_.shape[1:2], eps=1e-6).movedim(-1, 1)
        torch.testing.assert_close(norm, layer_norm, rtol=1e-4, atol=1e-5)


def test_later_stages_are_not_built(build):
    all_maps, some = build().eval(), build(out_indices=(0, 2)).eval()
    assert len(some.model.stages) == 3 and not hasattr(some, 'norm1')
    for got, expected in zip(some(images()), all_maps(images())[::2], strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize('kwargs', [{}, dict(out_indices=(1,)), dict(output_norm=False)])
def test_every_parameter_gets_a_gradient(build, kwargs):
    """DistributedDataParallel stops at parameters without one."""
    backbone = build(**kwargs)
    sum(map_.square().sum() for map_ in backbone(images())).backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(model_name='dualattn_huge'), 'dualattn_tiny.* got .dualattn_huge'),
        (dict(model_name='resnet50'), 'one of .*dualattn_base'),
        (dict(out_indices=(0, 4)), r'0 to 3 at most; got \(0, 4\)'),
        (dict(out_indices=(2, 1)), 'ascend'),
        (dict(out_indices=()), 'ascend'),
        (dict(frozen_stages=5), 'up to 4; got 5'),
        (dict(frozen_stages=-2), 'got -2'),
        (dict(init_cfg=dict(type='Kaiming')), 'init_cfg has to be'),
        (dict(init_cfg=dict(type='Pretrained')), 'init_cfg has to be'),
        (dict(init_cfg=dict(type='Pretrained', checkpoint='a', map_location='cpu')), 'init_cfg has to be'),
    ],
)
def test_refused_arguments(build, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


def test_unknown_keyword(build):
    with pytest.raises(TypeError, match='pretrained'):
        build(pretrained=True)


# --- freezing and memory


@pytest.mark.parametrize('frozen', [-1, 0, 1, 4])
def test_frozen_stages(build, frozen):
    backbone = build(frozen_stages=frozen, drop_path_rate=0.5)
    backbone.train(False)
    backbone.train()
    before = {name: parameter.clone() for name, parameter in backbone.named_parameters()}
    optimizer = torch.optim.SGD(backbone.parameters(), lr=1.0)
    sum(map_.square().sum() for map_ in backbone(images())).backward()
    optimizer.step()
    inside = [f'model.stages.{i}.' for i in range(frozen)] + (['model.stem.'] if frozen >= 0 else [])
    for name, parameter in backbone.named_parameters():
        is_frozen = name.startswith(tuple(inside)) if inside else False
        assert parameter.requires_grad != is_frozen and (parameter.grad is None) == is_frozen, name
        assert torch.equal(parameter, before[name]) or not is_frozen, name
    assert backbone.training and backbone.norm0.training
    assert [stage.training for stage in backbone.model.stages] == [i >= frozen for i in range(4)]
    assert backbone.model.stem.training == (frozen < 0)


def test_checkpointing_changes_nothing(build):
    maps, grads = [], []
    for with_cp in (False, True):
        backbone = build(with_cp=with_cp)
        assert backbone.model.grad_checkpointing == with_cp
        out = backbone(images())
        out[-1].square().sum().backward()
        maps.append(out)
        grads.append(backbone.model.stem.conv.weight.grad)
    for plain, checkpointed in zip(*maps, strict=True):
        torch.testing.assert_close(plain, checkpointed)
    torch.testing.assert_close(*grads)


def test_drop_path_reaches_the_blocks(build):
    rates = [module.drop_prob for module in build(drop_path_rate=0.3).modules() if hasattr(module, 'drop_prob')]
    assert max(rates) == pytest.approx(0.3) and len(set(rates)) > 1


# --- weights


def save(path, weights):
    if path.suffix == '.safetensors':
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    else:
        torch.save(weights, path)
    return path


def load(build, path, prefix=None, **kwargs):
    init_cfg = dict(type='Pretrained', checkpoint=str(path), **({} if prefix is None else dict(prefix=prefix)))
    backbone = build(init_cfg=init_cfg, **kwargs)
    backbone.init_weights()
    return backbone.eval()


@pytest.mark.parametrize('form', ['plain.pth', 'plain.safetensors', 'timm_training.pth', 'timm_features.pth'])
def test_weights_of_timm(build, classifier, tmp_path, form):
    weights = classifier.state_dict()
    path = tmp_path / form
    if form == 'timm_training.pth':
        old = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        weights = dict(state_dict=old, state_dict_ema=weights, args=argparse.Namespace(model='dualattn_tiny'), epoch=3)
    if form == 'timm_features.pth':
        net = timm.create_model('dualattn_tiny', features_only=True, **TINY)
        net.load_state_dict(
            {name.replace('stages.', 'stages_', 1): weights[name] for name in weights if not name.startswith('head')}
        )
        weights = net.state_dict()
    backbone = load(build, save(path, weights), output_norm=False)
    expected = classifier.eval().forward_intermediates(images(), intermediates_only=True)
    for got, map_ in zip(backbone(images()), expected, strict=True):
        torch.testing.assert_close(got, map_)


def test_weights_inside_a_larger_model(build, classifier, tmp_path):
    """A detector's checkpoint with trained output norms, and the classifier of mmengine."""
    source = build(drop_path_rate=0.1)
    torch.nn.init.normal_(source.norm2.weight)
    torch.nn.init.normal_(source.model.stem.conv.weight)
    detector = {f'backbone.{name}': tensor for name, tensor in source.state_dict().items()}
    path = save(tmp_path / 'detector.pth', dict(meta={}, state_dict={**detector, 'neck.weight': torch.zeros(1)}))
    backbone = load(build, path, 'backbone.')
    assert all(torch.equal(tensor, backbone.state_dict()[name]) for name, tensor in source.state_dict().items())
    part = load(build, path, 'backbone.', out_indices=(1,))
    torch.testing.assert_close(part(images())[0], source.eval()(images())[1])

    path = save(
        tmp_path / 'classifier.pth',
        dict(state_dict={f'backbone.{name}': tensor for name, tensor in classifier.state_dict().items()}),
    )
    backbone = load(build, path, 'backbone.')
    assert torch.equal(backbone.model.stem.conv.weight, classifier.stem.conv.weight)
    assert backbone.norm0.weight.eq(1).all()


def test_weights_are_loaded_once(build, classifier, tmp_path):
    backbone = load(build, save(tmp_path / 'a.pth', classifier.state_dict()))
    torch.nn.init.zeros_(backbone.model.stem.conv.weight)
    backbone.init_weights()  # mmengine may call it again
    assert backbone.model.stem.conv.weight.eq(0).all()


@pytest.mark.parametrize(
    ('change', 'prefix', 'message'),
    [
        (
            lambda weights: weights.pop('stages.2.blocks.1.0.norm1.weight'),
            None,
            'is not of this model: 1 missing .model.stages.2.blocks.1.0.norm1.weight',
        ),
        (
            lambda weights: weights.update({'stages.0.extra': torch.zeros(1)}),
            None,
            '1 unexpected .model.stages.0.extra',
        ),
        (
            lambda weights: weights.update({'stem.conv.bias': torch.zeros(9)}),
            None,
            r'1 misshapen .model.stem.conv.bias \(9,\) instead of \(8,\)',
        ),
        (
            lambda weights: None,
            'backbone.',
            r"no weights whose names begin with 'backbone.'; they begin with head., stages.",
        ),
        (lambda weights: (weights.clear(), weights.update(epoch=3)), None, 'holds no weights that can be found'),
    ],
)
def test_weights_that_do_not_fit(build, classifier, tmp_path, change, prefix, message):
    weights = classifier.state_dict()
    change(weights)
    path = save(tmp_path / 'weights.pth', weights)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(build, path, prefix)
    assert str(path) in str(caught.value)


def test_files_that_are_no_weights(build, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        load(build, tmp_path / 'nowhere.pth')
    with pytest.raises(FileNotFoundError, match=r'nowhere\.safetensors'):
        load(build, tmp_path / 'nowhere.safetensors')
    for name in ('a.pth', 'a.safetensors'):
        (tmp_path / name).write_bytes(b'no weights at all')
        with pytest.raises(CheckpointError, match=name):
            load(build, tmp_path / name)


# --- layer-wise decay


def test_layer_depth(build):
    backbone = build()
    depths = {name: backbone.get_layer_depth(f'backbone.{name}', 'backbone.') for name in backbone.state_dict()}
    assert {total for _, total in depths.values()} == {7}  # stem, five blocks, output norms
    assert depths['model.stem.conv.weight'][0] == 0
    assert [depths[f'model.stages.{i}.downsample.conv.weight'][0] for i in range(4)] == [1, 2, 3, 5]
    assert depths['model.stages.2.blocks.1.0.mlp.fc1.weight'][0] == 4
    assert depths['norm0.weight'][0] == depths['norm3.bias'][0] == 6
    with pytest.raises(ValueError, match='neck.weight is no parameter below backbone'):
        backbone.get_layer_depth('neck.weight', 'backbone.')


def test_learning_rates_fall_towards_the_stem(build):
    model = torch.nn.Module()
    model.backbone, model.head = build(frozen_stages=0), torch.nn.Linear(2, 2)
    cfg = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
    wrapper = LayerDecayOptimWrapperConstructor(cfg, dict(decay_rate=0.5))(model)
    groups = wrapper.optimizer.param_groups
    rate = {id(parameter): (group['lr'], group['weight_decay']) for group in groups for parameter in group['params']}
    names = dict(model.named_parameters())
    assert set(rate) == {id(parameter) for parameter in names.values() if parameter.requires_grad}
    assert rate[id(names['head.weight'])] == (1e-3, 0.05) and rate[id(names['head.bias'])] == (1e-3, 0)
    assert rate[id(names['backbone.norm0.weight'])] == (1e-3, 0)
    assert rate[id(names['backbone.model.stages.3.blocks.0.0.mlp.fc1.weight'])] == (0.5e-3, 0.05)
    assert rate[id(names['backbone.model.stages.0.downsample.conv.weight'])] == (1e-3 / 32, 0.05)

    # without one of its own, weights get the optimizer's default
    cfg = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
    wrapper = LayerDecayOptimWrapperConstructor(cfg, dict(decay_rate=0.5))(model)
    assert {group['weight_decay'] for group in wrapper.optimizer.param_groups} == {0, 0.01}
    for parameter in names.values():
        parameter.grad = torch.zeros_like(parameter)
    wrapper.step()
    with pytest.raises(ValueError, match=r'optim_wrapper\.optimizer\.lr'):
        LayerDecayOptimWrapperConstructor(dict(optimizer=dict(type='AdamW')), dict(decay_rate=0.5))

    for wrong in (None, dict(decay_rate=0), dict(decay_rate=0.9, num_layers=6)):
        with pytest.raises(ValueError, match='decay_rate'):
            LayerDecayOptimWrapperConstructor(cfg, wrong)
    model.backbone = torch.nn.Linear(2, 2)
    with pytest.raises(TypeError, match='get_layer_depth'):
        LayerDecayOptimWrapperConstructor(cfg, dict(decay_rate=0.5))(model)


# --- graphs


def test_fx(build):
    backbone = build().eval()
    extractor = create_feature_extractor(backbone, {'norm0': 'first', 'norm3': 'last'})
    for size in ((64, 64), (70, 45)):
        out, expected = extractor(images(*size)), backbone(images(*size))
        torch.testing.assert_close(out['first'], expected[0])
        torch.testing.assert_close(out['last'], expected[3])


def test_export(build):
    backbone = build().eval()
    program = torch.export.export(backbone, (images(64, 64),))
    for got, expected in zip(program.module()(images(64, 64)), backbone(images(64, 64)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
