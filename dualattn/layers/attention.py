"""Separable Dilated Attention and Factorized Channel Attention as modules on NHWC maps (MPT III-B)."""

import torch.nn as nn
from timm.layers import to_2tuple
from torch import Tensor

from dualattn.ops import factorized_channel_attention, separable_dilated_attention

__all__ = ['FactorizedChannelAttention', 'SeparableDilatedAttention', 'SeparableProjection']


class SeparableProjection(nn.Module):
    """Project a map by a pointwise, then a depthwise 3x3 convolution (W^P and W^D of MPT Eq. 3 and 5).

    Args:
        dim: channels of the input.
        out_dim: channels of the output.
        bias: add a bias after both convolutions.
    """

    def __init__(self, dim: int, out_dim: int, bias: bool = True, device=None, dtype=None):
        super().__init__()
        dd = {'device': device, 'dtype': dtype}
        self.pointwise = nn.Linear(dim, out_dim, bias=bias, **dd)
        self.depthwise = nn.Conv2d(out_dim, out_dim, kernel_size=3, padding=1, groups=out_dim, bias=bias, **dd)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, H, W, dim) float to (B, H, W, out_dim)."""
        x = self.pointwise(x).permute(0, 3, 1, 2)  # a channels_last view, so that the convolution copies nothing
        return self.depthwise(x).permute(0, 2, 3, 1)


def _make_qkv(dim: int, separable: bool, bias: bool, device=None, dtype=None) -> nn.Module:
    if separable:
        return SeparableProjection(dim, 3 * dim, bias=bias, device=device, dtype=dtype)
    return nn.Linear(dim, 3 * dim, bias=bias, device=device, dtype=dtype)


class SeparableDilatedAttention(nn.Module):
    """Multi-head attention inside dilated windows, linear in the size of the map (MPT Eq. 5 and 6).

    Args:
        dim: channels C.
        window_size: tokens per side of a window, G; one number or (rows, columns).
        head_dim: channels of a head; has to divide `dim`.
        qkv_bias: bias in the projections of Q, K and V.
        separable: pointwise + depthwise projections; False gives the plain dilated attention `da` of MPT Table III.

    Raises:
        ValueError: `head_dim` does not divide `dim`, or `window_size` is not positive.
    """

    def __init__(
        self,
        dim: int,
        window_size: int | tuple[int, int] = 7,
        head_dim: int = 32,
        qkv_bias: bool = True,
        separable: bool = True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if dim % head_dim:
            raise ValueError(f'head_dim has to divide dim: got dim={dim}, head_dim={head_dim}')
        gh, gw = to_2tuple(window_size)
        if gh < 1 or gw < 1:
            raise ValueError(f'window_size has to be positive, got {window_size}')
        self.window_size = (int(gh), int(gw))
        self.num_heads = dim // head_dim
        self.scale = head_dim**-0.5
        self.qkv = _make_qkv(dim, separable, qkv_bias, device=device, dtype=dtype)
        self.proj = nn.Linear(dim, dim, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, H, W, C) float to the same shape."""
        return self.proj(self.attend(self.qkv(x)))

    def attend(self, qkv: Tensor) -> Tensor:
        """Attend between the projections qkv: (B, H, W, 3C) float; returns (B, H, W, C)."""
        return separable_dilated_attention(qkv, self.window_size, self.num_heads, self.scale)


class FactorizedChannelAttention(nn.Module):
    """Attention between the channels of a group, over the whole map (MPT Eq. 3 and 4).

    Args:
        dim: channels C.
        group_dim: channels of a group, M; has to divide `dim`. None takes all channels as one group.
        qkv_bias: bias in the projections of Q, K and V.
        separable: pointwise + depthwise projections; False with `group_dim=None` gives the channel attention `ca` of
            MPT Table III.

    Raises:
        ValueError: `group_dim` does not divide `dim`.
    """

    def __init__(
        self,
        dim: int,
        group_dim: int | None = 32,
        qkv_bias: bool = True,
        separable: bool = True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        group_dim = dim if group_dim is None else group_dim
        if dim % group_dim:
            raise ValueError(f'group_dim has to divide dim: got dim={dim}, group_dim={group_dim}')
        self.num_groups = dim // group_dim
        self.scale = group_dim**-0.5
        self.qkv = _make_qkv(dim, separable, qkv_bias, device=device, dtype=dtype)
        self.proj = nn.Linear(dim, dim, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, H, W, C) float to the same shape."""
        return self.proj(self.attend(self.qkv(x)))

    def attend(self, qkv: Tensor) -> Tensor:
        """Attend between the projections qkv: (B, H, W, 3C) float; returns (B, H, W, C)."""
        return factorized_channel_attention(qkv, self.num_groups, self.scale)
