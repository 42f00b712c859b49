"""The family itself: the numbers of MPT Table VIII, the rows of Table III, and what a caller may inject."""

import pytest
import timm
import torch
from fvcore.nn import FlopCountAnalysis

from dualattn.layers import ConvStem, FactorizedChannelAttention, SeparableDilatedAttention, SeparableProjection
from dualattn.models import DualAttn

# MPT Table III, first column
TABLE_III = [
    ('fca', 'sda'),
    ('fca', 'da'),
    ('ca', 'sda'),
    ('sda', 'fca'),
    ('da', 'fca'),
    ('sda', 'ca'),
    ('fca', 'fca'),
    ('sda', 'sda'),
    ('fca',),
    ('sda',),
]


def count_flops(model, *size):
    """Count floating-point operations as papers do: a multiply-add is one."""
    with torch.no_grad():
        analysis = FlopCountAnalysis(model, torch.zeros(1, 3, *size)).tracer_warnings('none')
        return analysis.unsupported_ops_warnings(False).total()


@pytest.mark.parametrize(
    'name, params, flops',
    [
        # an independent count of the same reading of Table VIII; the paper's own numbers disagree with its table
        ('dualattn_tiny', 28.5e6, 5.15e9),
        ('dualattn_small', 46.4e6, 8.7e9),
        ('dualattn_base', 82.1e6, 16.6e9),
        ('dualattn_tiny_384', 28.5e6, 15.5e9),
    ],
)
def test_size(name, params, flops):
    model = timm.create_model(name).eval()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(params, rel=0.01)
    assert count_flops(model, *model.pretrained_cfg['input_size'][1:]) == pytest.approx(flops, rel=0.03)


@pytest.mark.parametrize(
    'name, depths, dims, stem_dim',
    [
        ('dualattn_tiny', (1, 1, 3, 1), (96, 192, 384, 768), 64),
        ('dualattn_small', (1, 1, 8, 1), (96, 192, 384, 768), 64),
        ('dualattn_base', (1, 1, 8, 1), (128, 256, 512, 1024), 128),
    ],
)
@pytest.mark.parametrize('side, window', [('', 7), ('_384', 12)])
def test_table_viii(name, depths, dims, stem_dim, side, window):
    model = timm.create_model(name + side, device='meta')
    assert [len(stage.blocks) for stage in model.stages] == list(depths)
    assert [info['num_chs'] for info in model.feature_info] == list(dims)
    assert model.stem.conv.out_channels == model.stem.conv2.out_channels == stem_dim
    check_attentions(model, ('sda', 'fca'), window, 32)


@pytest.mark.parametrize('name, dims', [('mpt', [96, 192, 384, 768]), ('mpt_pico', [48, 96, 192, 384])])
def test_mpt_encoders(name, dims):
    model = timm.create_model(f'dualattn_{name}', device='meta')
    assert [len(stage.blocks) for stage in model.stages] == [1, 1, 3, 1]
    assert [info['num_chs'] for info in model.feature_info] == dims
    check_attentions(model, ('fca', 'sda'), 8, 24)


def test_pico_fits_on_a_core():
    model = timm.create_model('dualattn_mpt_pico', device='meta')
    assert 4e6 < sum(p.numel() for p in model.parameters()) < 8e6


def check_attentions(model, attn_types, window, head_dim):
    for stage, info in zip(model.stages, model.feature_info, strict=True):
        dim = info['num_chs']
        for block in stage.blocks:
            for residual, attn_type in zip(block, attn_types, strict=True):
                attn = residual.attn
                if attn_type in ('sda', 'da'):
                    assert isinstance(attn, SeparableDilatedAttention)
                    assert attn.window_size == (window, window)
                    assert attn.num_heads == dim // head_dim
                    assert attn.scale == pytest.approx(head_dim**-0.5)
                else:
                    assert isinstance(attn, FactorizedChannelAttention)
                    assert attn.num_groups == (dim // head_dim if attn_type == 'fca' else 1)
                    assert attn.scale == pytest.approx((dim / attn.num_groups) ** -0.5)
                assert isinstance(attn.qkv, SeparableProjection) == (attn_type in ('sda', 'fca'))
                assert residual.mlp.fc1.out_features == 4 * dim


@pytest.mark.parametrize('attn_types', TABLE_III, ids='-'.join)
def test_rows_of_table_iii(attn_types, build, image):
    model = build('dualattn_mpt', attn_types=attn_types, head_dim=8)
    check_attentions(model, attn_types, 8, 8)
    out = model(image)
    assert out.shape == (2, 10)
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_order_matters(build, image):
    one, other = (build('dualattn_mpt', attn_types=order) for order in (('fca', 'sda'), ('sda', 'fca')))
    for stage, swapped in zip(one.stages, other.stages, strict=True):
        swapped.downsample.load_state_dict(stage.downsample.state_dict())
        for block, mirrored in zip(stage.blocks, swapped.blocks, strict=True):
            mirrored[0].load_state_dict(block[1].state_dict())
            mirrored[1].load_state_dict(block[0].state_dict())
    assert not torch.allclose(one(image), other(image), rtol=1e-3)


@pytest.mark.parametrize(
    'kwargs, window',
    [
        (dict(img_size=224), (7, 7)),
        (dict(img_size=384), (12, 12)),
        (dict(img_size=(384, 224)), (12, 7)),
        (dict(img_size=384, window_size=5), (5, 5)),
        (dict(window_size=(4, 6)), (4, 6)),
        (dict(img_size=16), (1, 1)),
    ],
)
def test_window_size(kwargs, window, build, image):
    model = build('dualattn_tiny', **kwargs)
    windows = {m.window_size for m in model.modules() if isinstance(m, SeparableDilatedAttention)}
    assert windows == {window}
    assert model(image).shape == (2, 10)


def test_bird_eye_view_backbone():
    """The place of SECOND's backbone (MPT Fig. 10): features in, no stem, strides 1 and 2."""
    model = DualAttn(
        in_chans=64,
        stem_dim=64,
        stem_layer=torch.nn.Identity,
        stem_stride=1,
        depths=(1, 1),
        embed_dims=(32, 64),
        strides=(1, 2),
        window_size=8,
        head_dim=16,
    )
    assert [info['reduction'] for info in model.feature_info] == [1, 2]
    _, features = model.forward_intermediates(torch.randn(1, 64, 25, 31))
    assert [tuple(feature.shape) for feature in features] == [(1, 32, 25, 31), (1, 64, 13, 16)]


def test_stem_is_injected(build, image):
    class Patches(torch.nn.Module):
        def __init__(self, in_chans, out_chans, stride, act_layer, device=None, dtype=None):
            super().__init__()
            self.conv = torch.nn.Conv2d(in_chans, out_chans, stride, stride, device=device, dtype=dtype)

        def forward(self, x):
            return self.conv(x)

    model = build('dualattn_tiny', stem_layer=Patches, stem_stride=4, strides=(1, 2, 2, 2))
    assert [info['reduction'] for info in model.feature_info] == [4, 8, 16, 32]
    assert model.forward_features(image).shape == (2, 64, 2, 2)


def test_stem_follows_table_viii():
    stem = ConvStem(3, 8)
    assert [(m.kernel_size, m.stride) for m in (stem.conv, stem.conv2)] == [((3, 3), (2, 2)), ((3, 3), (1, 1))]
    assert stem(torch.randn(1, 3, 33, 32)).shape == (1, 8, 17, 16)


def test_maps_stay_nhwc_in_memory(build, image):
    """Convolutions work on NHWC memory, so that the rest of the network needs no copies to read it."""
    model = build('dualattn_tiny')
    outputs = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda module, args, out: outputs.append(out))
    maps = model.forward_intermediates(image, intermediates_only=True)
    assert len(outputs) == 2 + 4 + 10  # of the stem, the entries of the stages, the projections
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in [*outputs, *maps])


def test_cost_is_linear_in_pixels():
    """From 224 to 1792 px every layer costs 64 times as much, at the windows of the real network."""
    model = DualAttn(num_classes=0, depths=(1, 1, 1, 1), embed_dims=(32, 32, 32, 32), stem_dim=8).eval()
    flops = {side: count_flops(model, side, side) for side in (224, 448, 1792)}
    for side, count in flops.items():
        assert count / flops[224] == pytest.approx((side / 224) ** 2, rel=0.01)
    wide = count_flops(model, 448, 896)
    assert wide / flops[448] == pytest.approx(2, rel=0.01)


@pytest.mark.slow
def test_cost_of_the_whole_network_is_linear():
    model = timm.create_model('dualattn_tiny').eval()
    assert count_flops(model, 1792, 1792) / count_flops(model, 224, 224) == pytest.approx(64, rel=0.01)
