"""Residual blocks and stages of the Dual-Attention backbone (MPT Eq. 2)."""

from collections.abc import Sequence

import torch
import torch.nn as nn
from timm.layers import DropPath, get_act_layer, get_norm_layer
from timm.models import checkpoint_seq
from torch import Tensor

from dualattn.layers.attention import FactorizedChannelAttention, SeparableDilatedAttention
from dualattn.layers.joined import joins_attention, joins_mlp, run_attention, run_mlp
from dualattn.layers.mlp import PiecewiseMlp
from dualattn.layers.stem import Downsample
from dualattn.ops.library import is_transformed

__all__ = ['ATTENTION_TYPES', 'DualAttnBlock', 'DualAttnStage', 'ResidualAttention', 'checkpoint_blocks']

# the attentions of MPT Table III: separable dilated, dilated, factorized channel, channel
ATTENTION_TYPES = ('sda', 'da', 'fca', 'ca')


def _make_attention(
    attn_type: str,
    dim: int,
    window_size: int | tuple[int, int],
    head_dim: int,
    qkv_bias: bool,
    **dd,
) -> nn.Module:
    if attn_type in ('sda', 'da'):
        return SeparableDilatedAttention(
            dim, window_size, head_dim, qkv_bias=qkv_bias, separable=attn_type == 'sda', **dd
        )
    if attn_type in ('fca', 'ca'):
        group_dim = head_dim if attn_type == 'fca' else None
        return FactorizedChannelAttention(dim, group_dim, qkv_bias=qkv_bias, separable=attn_type == 'fca', **dd)
    raise ValueError(f'unknown attention {attn_type!r}; expected one of {", ".join(ATTENTION_TYPES)}')


class ResidualAttention(nn.Module):
    """x + Attn(LN(x)), then x + MLP(LN(x)): one line of MPT Eq. 2.

    Args:
        dim: channels C.
        attn_type: one of `ATTENTION_TYPES`.
        window_size: tokens per side of a dilated window, one number or (rows, columns); the channel attentions
            ignore it.
        head_dim: channels of a head, and of a channel group.
        mlp_ratio: hidden channels of the MLP over `dim`.
        qkv_bias: bias in the projections of Q, K and V.
        drop_path: rate of stochastic depth on both residuals.
        norm_layer: normalisation of the last dimension.
        act_layer: activation of the MLP.

    Raises:
        ValueError: `attn_type` is unknown.
    """

    def __init__(
        self,
        dim: int,
        attn_type: str,
        window_size: int | tuple[int, int] = 7,
        head_dim: int = 32,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        norm_layer: str = 'layernorm',
        act_layer: str = 'gelu',
        device=None,
        dtype=None,
    ):
        super().__init__()
        dd = {'device': device, 'dtype': dtype}
        norm, act = get_norm_layer(norm_layer), get_act_layer(act_layer)
        self.norm1 = norm(dim, **dd)
        self.attn = _make_attention(attn_type, dim, window_size, head_dim, qkv_bias, **dd)
        self.drop_path1 = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()
        self.norm2 = norm(dim, **dd)
        self.mlp = PiecewiseMlp(dim, hidden_features=int(dim * mlp_ratio), act_layer=act, **dd)
        self.drop_path2 = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, H, W, C) float to the same shape."""
        if torch.jit.is_scripting():
            x = x + self.drop_path1(self.attn(self.norm1(x)))
            return x + self.drop_path2(self.mlp(self.norm2(x)))
        return self._forward_mlp(self._forward_attention(x))

    @torch.jit.unused
    def _forward_attention(self, x: Tensor) -> Tensor:
        if joins_attention(x, self.norm1, self.attn, self.drop_path1):
            return run_attention(x, self.norm1, self.attn)
        return x + self.drop_path1(self.attn(self.norm1(x)))

    @torch.jit.unused
    def _forward_mlp(self, x: Tensor) -> Tensor:
        if joins_mlp(x, self.norm2, self.mlp, self.drop_path2):
            return run_mlp(x, self.norm2, self.mlp)
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class DualAttnBlock(nn.Sequential):
    """One residual attention after another, in the order given (MPT Eq. 2; its rows in Table III).

    Args:
        dim: channels C.
        attn_types: attentions in order of application, ('fca', 'sda') for colour, ('sda', 'fca') for recognition.
        window_size: tokens per side of a dilated window, one number or (rows, columns).
        head_dim: channels of a head, and of a channel group.
        mlp_ratio: hidden channels of each MLP over `dim`.
        qkv_bias: bias in the projections of Q, K and V.
        drop_path: rate of stochastic depth on all residuals.
        norm_layer: normalisation of the last dimension.
        act_layer: activation of the MLPs.

    Raises:
        ValueError: `attn_types` is empty, a bare string, or names an unknown attention.
    """

    def __init__(
        self,
        dim: int,
        attn_types: Sequence[str],
        window_size: int | tuple[int, int] = 7,
        head_dim: int = 32,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        norm_layer: str = 'layernorm',
        act_layer: str = 'gelu',
        device=None,
        dtype=None,
    ):
        if isinstance(attn_types, str) or not attn_types:
            raise ValueError(f"attn_types has to be a sequence such as ('sda', 'fca'), got {attn_types!r}")
        super().__init__(
            *[
                ResidualAttention(
                    dim,
                    attn_type,
                    window_size=window_size,
                    head_dim=head_dim,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                    drop_path=drop_path,
                    norm_layer=norm_layer,
                    act_layer=act_layer,
                    device=device,
                    dtype=dtype,
                )
                for attn_type in attn_types
            ]
        )


def checkpoint_blocks(blocks: nn.Sequential, x: Tensor) -> Tensor:
    """Run blocks so that the backward pass computes each anew instead of keeping what it needs.

    Under the transforms of torch.func and in forward-mode AD, where torch has no checkpointing, all is kept.

    Args:
        blocks: the blocks, one after the other.
        x: (B, H, W, C) float.
    """
    if not torch.compiler.is_compiling() and is_transformed(x, *blocks.parameters()):
        return blocks(x)
    return checkpoint_seq(blocks, x)


class DualAttnStage(nn.Module):
    """A downsampling convolution and the blocks at its resolution (a row of MPT Table VIII).

    Args:
        in_chans: channels of the input.
        dim: channels C of the stage.
        depth: number of blocks.
        stride: stride of the downsampling convolution.
        attn_types: attentions of each block, in order.
        window_size: tokens per side of a dilated window, one number or (rows, columns).
        head_dim: channels of a head, and of a channel group.
        mlp_ratio: hidden channels of each MLP over `dim`.
        qkv_bias: bias in the projections of Q, K and V.
        drop_path_rates: rate of stochastic depth of each block.
        norm_layer: normalisation of the last dimension.
        act_layer: activation of the MLPs.
    """

    def __init__(
        self,
        in_chans: int,
        dim: int,
        depth: int,
        stride: int,
        attn_types: Sequence[str],
        window_size: int | tuple[int, int],
        head_dim: int,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_path_rates: Sequence[float],
        norm_layer: str,
        act_layer: str,
        device=None,
        dtype=None,
    ):
        super().__init__()
        dd = {'device': device, 'dtype': dtype}
        self.grad_checkpointing = False
        self.downsample = Downsample(in_chans, dim, stride=stride, norm_layer=norm_layer, **dd)
        self.blocks = nn.Sequential(
            *[
                DualAttnBlock(
                    dim,
                    attn_types,
                    window_size=window_size,
                    head_dim=head_dim,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                    drop_path=drop_path_rates[i],
                    norm_layer=norm_layer,
                    act_layer=act_layer,
                    **dd,
                )
                for i in range(depth)
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, in_chans, H, W) float to (B, C, ceil(H / stride), ceil(W / stride)).

        Both ends are NCHW views of NHWC memory (channels_last), so that stages compose without copies.
        """
        x = self.downsample(x.permute(0, 2, 3, 1))
        if self.grad_checkpointing and not torch.jit.is_scripting():
            x = checkpoint_blocks(self.blocks, x)
        else:
            x = self.blocks(x)
        return x.permute(0, 3, 1, 2)
