"""The bird's-eye-view backbone beside the SECOND backbone that it replaces."""

import pytest
import torch

pytestmark = pytest.mark.mm
pytest.importorskip('mmdet3d')

from mmdet3d.models.backbones import SECOND  # noqa: E402
from mmdet3d.models.necks import SECONDFPN  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402

from dualattn.io.weights import CheckpointError  # noqa: E402
from dualattn.layers import FactorizedChannelAttention, SeparableDilatedAttention  # noqa: E402
from transfer.detection3d.bev import DualAttnBEV  # noqa: E402

VOXEL = dict(in_channels=256, out_channels=(128, 256), strides=(1, 2))
PILLAR = dict(in_channels=64, out_channels=(64, 128, 256), strides=(2, 2, 2))


def make_small(**kwargs):
    torch.manual_seed(0)
    return DualAttnBEV(
        **{**dict(in_channels=12, out_channels=(32, 64), depths=(1, 1), strides=(1, 2), window_size=3), **kwargs}
    )


@pytest.mark.parametrize('arguments', [VOXEL, PILLAR])
@pytest.mark.parametrize('size', [(16, 16), (15, 22), (9, 7)])
def test_maps_are_those_of_second(arguments, size):
    """Same number, channels and sizes of outputs, so that the neck and the heads stay as they are."""
    depths = (1,) * len(arguments['out_channels'])
    ours = DualAttnBEV(**arguments, depths=depths).eval()
    second = SECOND(
        arguments['in_channels'], arguments['out_channels'], layer_nums=depths, layer_strides=arguments['strides']
    )
    x = torch.randn(2, arguments['in_channels'], *size)
    with torch.no_grad():
        maps = ours(x)
        assert [tuple(y.shape) for y in maps] == [tuple(y.shape) for y in second(x)]
    assert all(y.isfinite().all() for y in maps)


def test_neck_takes_the_maps():
    neck = SECONDFPN(in_channels=[128, 256], out_channels=[32, 32], upsample_strides=[1, 2])
    ours = DualAttnBEV(**VOXEL)
    assert neck(list(ours(torch.randn(1, 256, 8, 8))))[0].shape == (1, 64, 8, 8)


def test_sda_comes_before_fca():
    kinds = [
        type(module)
        for module in make_small(depths=(2, 1)).modules()
        if isinstance(module, (SeparableDilatedAttention, FactorizedChannelAttention))
    ]
    assert kinds == [SeparableDilatedAttention, FactorizedChannelAttention] * 3


def test_config_names_build_it():
    assert isinstance(MODELS.build(dict(type='DualAttnBEV', **VOXEL)), DualAttnBEV)
    with pytest.raises(TypeError, match='layer_nums'):
        MODELS.build(dict(type='DualAttnBEV', layer_nums=[5, 5]))


def test_every_parameter_learns():
    model = make_small()
    sum(y.square().mean() for y in model(torch.randn(2, 12, 8, 8))).backward()
    idle = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert idle == []


def test_checkpointing_changes_nothing():
    x = torch.randn(1, 12, 8, 8)
    plain, saving = make_small(), make_small(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    for model in (plain, saving):
        sum(y.square().mean() for y in model(x)).backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6), name


def test_a_map_depends_on_its_own_cells_alone():
    """Samples of a batch do not mix, and the padding inside windows and strides is not seen."""
    model = make_small().double().eval()
    x = torch.randn(2, 12, 7, 10, dtype=torch.float64)
    with torch.no_grad():
        both, second = model(x), model(x[1:])
    for y, z in zip(both, second, strict=True):
        assert torch.allclose(y[1:], z, atol=1e-12)


def test_initialisation_is_the_image_backbones():
    model = make_small(in_channels=64)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.ones_(module.weight)
    model.init_weights()
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    weights = torch.cat([module.weight.flatten() for module in linear])
    assert 0.018 < weights.std() < 0.022 and all(not module.bias.any() for module in linear)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(depths=(1,)), '2, 1 and 2 entries'),
        (dict(out_channels=(32, 65)), 'head_dim has to divide'),
    ],
)
def test_wrong_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        make_small(**change)


@pytest.mark.parametrize('shape', [(12, 8, 8), (1, 13, 8, 8)])
def test_wrong_map(shape):
    with pytest.raises(ValueError, match=r'expected a map of shape \(B, 12, H, W\), got'):
        make_small()(torch.zeros(shape))


def test_weights_to_begin_with_are_loaded_strictly(tmp_path):
    trained = make_small()
    torch.nn.init.normal_(trained.stem.weight)
    torch.save(trained.state_dict(), tmp_path / 'alone.pth')
    larger = {f'pts_backbone.{name}': tensor for name, tensor in trained.state_dict().items()}
    torch.save(dict(state_dict=larger | {'head.bias': torch.zeros(1)}), tmp_path / 'detector.pth')
    for name, prefix in (('alone', {}), ('detector', dict(prefix='pts_backbone.'))):
        model = make_small(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / f'{name}.pth'), **prefix))
        model.init_weights()
        assert all(torch.equal(model.state_dict()[key], value) for key, value in trained.state_dict().items())
    larger.pop('pts_backbone.stem.bias')
    torch.save(dict(state_dict=larger), tmp_path / 'detector.pth')
    with pytest.raises(CheckpointError, match=r'detector\.pth is not of this model: 1 missing \(stem\.bias\)'):
        make_small(
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'detector.pth'), prefix='pts_backbone.')
        ).init_weights()
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth, where init_cfg of the backbone'):
        make_small(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'nowhere.pth'))).init_weights()
    with pytest.raises(ValueError, match='init_cfg has to be None or'):
        make_small(init_cfg=dict(type='Kaiming', layer='Conv2d'))
