"""Both attentions against dense definitions in float64, against timm's DaViT and MaxViT, and at their edges."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from timm.layers import LayerNorm
from timm.models.davit import ChannelAttention, ChannelAttentionV2, ChannelBlock, SpatialBlock
from timm.models.maxxvit import MaxxVitTransformerCfg, PartitionAttentionCl, grid_partition, grid_reverse

from dualattn.layers import (
    DualAttnBlock,
    FactorizedChannelAttention,
    ResidualAttention,
    SeparableDilatedAttention,
    SeparableProjection,
)
from dualattn.ops import factorized_channel_attention, reference, separable_dilated_attention

# (H, W, window): divisible, odd, non-square, a side or both below the window, one token
MAPS = [
    (14, 14, (7, 7)),
    (9, 11, (7, 7)),
    (16, 8, (8, 8)),
    (13, 24, (12, 12)),
    (3, 20, (7, 7)),
    (20, 3, (7, 7)),
    (2, 2, (8, 8)),
    (1, 1, (7, 7)),
    (10, 12, (3, 5)),
    (5, 6, (1, 1)),
]


def make_qkv(*shape, dtype=torch.float64, scale=1.0, seed=0):
    return (scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).to(dtype)


def same_window(h, w, window):
    """Tell of each pair of tokens whether they share a dilated window: (H * W, H * W) bool."""
    # the stride is the smallest one at which the window spans the map
    row = (torch.arange(h) % -(-h // window[0]))[:, None].expand(h, w).flatten()
    col = (torch.arange(w) % -(-w // window[1]))[None, :].expand(h, w).flatten()
    return (row[:, None] == row) & (col[:, None] == col)


def dense_sda(qkv, window, num_heads, scale):
    """Attention over the whole map, with all pairs masked out that share no window (MPT Eq. 5 and 6)."""
    b, h, w, c3 = qkv.shape
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in qkv.flatten(1, 2).chunk(3, dim=-1))
    logits = torch.einsum('bhid,bhjd->bhij', q, k) * scale
    logits = logits.masked_fill(~same_window(h, w, window), float('-inf'))
    return torch.einsum('bhij,bhjd->bihd', logits.softmax(-1), v).reshape(b, h, w, c3 // 3)


def dense_fca(qkv, num_groups, scale):
    """Group by group and image by image, as MPT Eq. 3 and 4 are written."""
    q, k, v = qkv.flatten(1, 2).chunk(3, dim=-1)
    images = []
    for b in range(qkv.shape[0]):
        groups = zip(*(x[b].chunk(num_groups, dim=-1) for x in (q, k, v)), strict=True)
        images.append(torch.cat([((qj.T @ kj * scale).softmax(-1) @ vj.T).T for qj, kj, vj in groups], dim=-1))
    return torch.stack(images).reshape(*qkv.shape[:-1], -1)


def values_and_gradient(function, qkv, *args):
    qkv = qkv.detach().requires_grad_()
    out = function(qkv, *args)
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return out.detach(), torch.autograd.grad((out * weight).sum(), qkv)[0]


# --- definitions


@pytest.mark.parametrize('h, w, window', MAPS)
def test_sda_is_dense_attention_under_a_mask(h, w, window):
    qkv = make_qkv(2, h, w, 3 * 24)
    for ours, dense in zip(
        values_and_gradient(separable_dilated_attention, qkv, window, 3, 8**-0.5),
        values_and_gradient(dense_sda, qkv, window, 3, 8**-0.5),
        strict=True,
    ):
        torch.testing.assert_close(ours, dense, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('h, w, num_groups', [(14, 14, 3), (9, 11, 1), (1, 1, 6), (3, 20, 24)])
def test_fca_is_group_by_group_attention(h, w, num_groups):
    qkv = make_qkv(2, h, w, 3 * 24)
    for ours, dense in zip(
        values_and_gradient(factorized_channel_attention, qkv, num_groups, 0.1),
        values_and_gradient(dense_fca, qkv, num_groups, 0.1),
        strict=True,
    ):
        torch.testing.assert_close(ours, dense, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('h, w', [(4, 4), (3, 5), (1, 2)])
def test_gradcheck(h, w):
    qkv = make_qkv(2, h, w, 3 * 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: separable_dilated_attention(x, (2, 2), 2, 0.7), qkv)
    assert torch.autograd.gradcheck(lambda x: factorized_channel_attention(x, 2, 0.7), qkv)
    assert torch.autograd.gradgradcheck(lambda x: separable_dilated_attention(x, (2, 2), 2, 0.7), qkv)
    assert torch.autograd.gradgradcheck(lambda x: factorized_channel_attention(x, 2, 0.7), qkv)


# --- padding


@pytest.mark.parametrize('fill', [0.0, -3.0, 1e6])
@pytest.mark.parametrize('h, w, window', MAPS)
def test_padding_by_hand_gives_the_same(h, w, window, fill):
    """timm's grid partition of a map that the caller padded, with the padding masked out of the softmax."""
    qkv = make_qkv(2, h, w, 3 * 8)
    pad_h, pad_w = -h % window[0], -w % window[1]
    by_hand = F.pad(qkv, (0, 0, 0, pad_w, 0, pad_h), value=fill)
    real = F.pad(torch.ones(1, h, w, 1), (0, 0, 0, pad_w, 0, pad_h))
    q, k, v = grid_partition(by_hand, window).flatten(1, 2).chunk(3, dim=-1)
    keys = grid_partition(real, window).flatten(1).bool().repeat(2, 1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=keys[:, None, :], scale=0.5)
    out = grid_reverse(out.unflatten(1, window), window, (h + pad_h, w + pad_w))[:, :h, :w]
    torch.testing.assert_close(separable_dilated_attention(qkv, window, 1, 0.5), out, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('h, w, window', MAPS)
def test_padding_value_is_never_seen(h, w, window, monkeypatch):
    qkv = make_qkv(2, h, w, 3 * 8)
    expected = values_and_gradient(separable_dilated_attention, qkv, window, 2, 0.5)
    pads, pad = [], F.pad
    monkeypatch.setattr(reference.F, 'pad', lambda x, sides: pads.append(sides) or pad(x, sides, value=12345.0))
    for ours, other in zip(
        values_and_gradient(separable_dilated_attention, qkv, window, 2, 0.5), expected, strict=True
    ):
        torch.testing.assert_close(ours, other, rtol=0, atol=0)
    assert bool(pads) == (h % window[0] > 0 or w % window[1] > 0)


@pytest.mark.parametrize('h, w, window', [(9, 11, (7, 7)), (6, 4, (3, 2)), (2, 5, (4, 4))])
def test_a_token_reaches_its_window_alone(h, w, window):
    qkv = make_qkv(1, h, w, 3 * 4).requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda x: separable_dilated_attention(x, window, 1, 0.5), qkv)
    reached = jacobian[0, ..., 0, :, :, :].abs().sum(dim=(2, -1)).reshape(h * w, h * w) > 0
    assert torch.equal(reached, same_window(h, w, window))


# --- timm


def copy_separable(target, source):
    """Give a separable projection the weights of a linear one; the depthwise kernel becomes a delta."""
    target.pointwise.load_state_dict(source.state_dict())
    torch.nn.init.dirac_(target.depthwise.weight, groups=target.depthwise.groups)
    torch.nn.init.zeros_(target.depthwise.bias)


def copy_residual(target, source):
    """Copy norms, MLP and projections; `qkv` may be separable in the target."""
    for child in ('norm1', 'norm2', 'mlp'):
        getattr(target, child).load_state_dict(getattr(source, child).state_dict())
    target.attn.proj.load_state_dict(source.attn.proj.state_dict())
    if isinstance(target.attn.qkv, SeparableProjection):
        copy_separable(target.attn.qkv, source.attn.qkv)
    else:
        target.attn.qkv.load_state_dict(source.attn.qkv.state_dict())


def randomize(module):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.2)
    return module.double()


@torch.no_grad()
@pytest.mark.parametrize('attn_type', ['sda', 'da'])
@pytest.mark.parametrize('h, w, grid', [(14, 14, (7, 7)), (16, 24, (8, 8)), (6, 20, (3, 5))])
def test_sda_block_is_the_grid_attention_of_maxvit(attn_type, h, w, grid):
    cfg = MaxxVitTransformerCfg(
        dim_head=16, head_first=False, grid_size=grid, window_size=grid, norm_layer_cl='layernorm', init_values=None
    )
    block = randomize(PartitionAttentionCl(48, 'grid', cfg))
    block.attn.rel_pos.relative_position_bias_table.zero_()
    ours = ResidualAttention(48, attn_type, window_size=grid, head_dim=16).double()
    copy_residual(ours, block)
    x = torch.randn(2, h, w, 48, dtype=torch.float64)
    torch.testing.assert_close(ours(x), block(x), rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize('separable', [True, False])
def test_fca_is_the_channel_attention_of_davit(separable):
    theirs = randomize(ChannelAttentionV2(48, num_heads=3, dynamic_scale=False))
    ours = FactorizedChannelAttention(48, 16, separable=separable).double()
    ours.proj.load_state_dict(theirs.proj.state_dict())
    copy_separable(ours.qkv, theirs.qkv) if separable else ours.qkv.load_state_dict(theirs.qkv.state_dict())
    x = torch.randn(2, 9, 11, 48, dtype=torch.float64)
    torch.testing.assert_close(ours(x).flatten(1, 2), theirs(x.flatten(1, 2)), rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_fca_is_the_older_channel_attention_of_davit_with_its_roles_renamed():
    theirs = randomize(ChannelAttention(48, num_heads=3, qkv_bias=True))
    ours = FactorizedChannelAttention(48, 16, separable=False).double()
    ours.proj.load_state_dict(theirs.proj.state_dict())
    q, k, v = torch.arange(3 * 48).chunk(3)
    for name in ('weight', 'bias'):  # what DaViT calls key, value and query are our query, key and value
        getattr(ours.qkv, name).copy_(getattr(theirs.qkv, name)[torch.cat([k, v, q])])
    x = torch.randn(2, 9, 11, 48, dtype=torch.float64)
    torch.testing.assert_close(ours(x).flatten(1, 2), theirs(x.flatten(1, 2)), rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_block_is_the_one_of_davit_on_a_map_of_one_window():
    """Without positional convolutions, and where a dilated and a plain window are the same 7 x 7 tokens."""
    kwargs = dict(num_heads=3, qkv_bias=True, norm_layer=partial(LayerNorm, eps=1e-6))
    theirs = randomize(
        torch.nn.Sequential(SpatialBlock(48, window_size=7, **kwargs), ChannelBlock(48, v2=True, **kwargs))
    )
    theirs[1].attn.dynamic_scale = False
    for block in theirs:
        for cpe in (block.cpe1, block.cpe2):
            cpe.proj.weight.zero_()
            cpe.proj.bias.zero_()
    ours = DualAttnBlock(48, ('sda', 'fca'), window_size=7, head_dim=16).double()
    for target, source in zip(ours, theirs, strict=True):
        copy_residual(target, source)
    x = torch.randn(2, 7, 7, 48, dtype=torch.float64)
    expected = theirs(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(ours(x), expected, rtol=1e-9, atol=1e-9)
    ours[0].attn.window_size = (4, 4)
    assert not torch.allclose(ours(x), expected)


# --- modules


@torch.no_grad()
def test_separable_projection_is_pointwise_then_depthwise():
    projection = randomize(SeparableProjection(6, 10))
    x = torch.randn(2, 5, 7, 6, dtype=torch.float64)
    linear = projection.pointwise
    pointwise = F.conv2d(x.permute(0, 3, 1, 2), linear.weight[:, :, None, None], linear.bias)
    neighbours = F.unfold(pointwise, 3, padding=1).view(2, 10, 9, 5, 7)  # zeros beyond the border
    kernel = projection.depthwise.weight.view(10, 9)
    expected = torch.einsum('bckhw,ck->bhwc', neighbours, kernel) + projection.depthwise.bias
    torch.testing.assert_close(projection(x), expected)


@pytest.mark.parametrize('attention', [SeparableDilatedAttention, FactorizedChannelAttention])
@pytest.mark.parametrize('separable', [True, False])
@pytest.mark.parametrize('qkv_bias', [True, False])
def test_qkv_bias(attention, separable, qkv_bias):
    module = attention(64, qkv_bias=qkv_bias, separable=separable)
    assert any(name.endswith('bias') for name, _ in module.qkv.named_parameters()) == qkv_bias
    assert module.proj.bias is not None


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: SeparableDilatedAttention(50, head_dim=32), 'head_dim has to divide dim: got dim=50, head_dim=32'),
        (lambda: SeparableDilatedAttention(64, window_size=(7, 0)), r'window_size has to be positive, got \(7, 0\)'),
        (lambda: FactorizedChannelAttention(50, group_dim=32), 'group_dim has to divide dim: got dim=50, group_dim=32'),
        (
            lambda: separable_dilated_attention(torch.zeros(1, 7, 7, 30), (7, 7), 4, 1.0),
            r'3 \* 4 heads .* got 30 channels',
        ),
        (lambda: factorized_channel_attention(torch.zeros(1, 7, 7, 30), 4, 1.0), r'3 \* 4 groups .* got 30 channels'),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- edges


@pytest.mark.parametrize('size', [(7, 7), (9, 11)])
def test_empty_batch(size):
    qkv = torch.zeros(0, *size, 48, requires_grad=True)
    for out in (separable_dilated_attention(qkv, (7, 7), 2, 1.0), factorized_channel_attention(qkv, 2, 1.0)):
        assert out.shape == (0, *size, 16)
        out.sum().backward()


@pytest.mark.parametrize('size', [(14, 14), (9, 11)])
def test_memory_layout_of_the_input_is_free(size):
    qkv = make_qkv(2, *size, 48)
    views = [qkv.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), F.pad(qkv, (0, 5, 0, 1))[:, :, :-1, :-5]]
    for view in views:
        assert not view.is_contiguous()
        for attend in (
            lambda x: separable_dilated_attention(x, (7, 7), 2, 0.5),
            lambda x: factorized_channel_attention(x, 2, 0.1),
        ):
            torch.testing.assert_close(attend(view), attend(qkv))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('h, w', [(28, 28), (30, 25)])
def test_half_precision(dtype, h, w):
    """The error against float64 stays within a few roundings of the result."""
    qkv = make_qkv(2, h, w, 3 * 64, dtype=dtype)
    eps = torch.finfo(dtype).eps
    for attend in (
        lambda x: separable_dilated_attention(x, (7, 7), 2, 32**-0.5),
        lambda x: factorized_channel_attention(x, 2, 32**-0.5),
    ):
        out, expected = attend(qkv), attend(qkv.double())
        assert out.dtype == dtype
        assert (out.double() - expected).abs().max() < 4 * eps * qkv.double().abs().max()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('autocast', [False, True])
def test_channel_logits_need_more_than_half_precision(dtype, autocast):
    """Sums over 4,096 tokens leave the range of float16 and the digits of bfloat16."""
    qkv = make_qkv(1, 64, 64, 3 * 8, dtype=dtype, scale=0.5)
    qkv[..., :16] += 5
    logits = qkv[..., :8].flatten(1, 2).double().mT @ qkv[..., 8:16].flatten(1, 2).double()
    assert logits.abs().max() > 65504
    with torch.autocast('cpu', dtype=dtype, enabled=autocast):
        out = factorized_channel_attention(qkv, 1, 0.01)
    expected = factorized_channel_attention(qkv.double(), 1, 0.01)
    assert out.dtype == dtype
    assert (out.double() - expected).abs().max() < 8 * torch.finfo(dtype).eps
