"""A residual block on the operators of `dualattn.ops.block`, which join what its modules compute one by one.

Only modules that are what they were built as can be joined: one that was replaced, hooked or parametrized, as adapters,
quantizers, profilers and pruning do it, has to be called.
"""

from typing import Any

import torch
import torch.nn as nn
from timm.layers import GELU, DropPath, LayerNorm
from torch import Tensor

# there is no public way to ask for hooks on all modules
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from dualattn.layers.attention import FactorizedChannelAttention, SeparableDilatedAttention, SeparableProjection
from dualattn.layers.mlp import PiecewiseMlp
from dualattn.ops.block import takes_block

__all__ = ['joins_attention', 'joins_mlp', 'run_attention', 'run_mlp']


def _is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Tell whether calling a module is the same as calling the `forward` of its class."""
    return (
        type(module) in kinds
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and 'forward' not in module.__dict__
        and not _global_forward_hooks
        and not _global_forward_pre_hooks
    )


def _keeps_all(drop_path: nn.Module) -> bool:
    return _is_plain(drop_path, nn.Identity) or (_is_plain(drop_path, DropPath) and not drop_path.training)


def _is_plain_norm(norm: Any) -> bool:
    if not _is_plain(norm, LayerNorm, nn.LayerNorm) or norm.weight is None or norm.bias is None:
        return False
    return len(norm.normalized_shape) == 1


def _is_plain_linear(linear: Any) -> bool:
    return _is_plain(linear, nn.Linear) and linear.bias is not None


def _is_plain_activation(act: Any) -> bool:
    return _is_plain(act, GELU) or (_is_plain(act, nn.GELU) and act.approximate == 'none')


def _is_plain_depthwise(conv: Any) -> bool:
    return (
        _is_plain(conv, nn.Conv2d)
        and conv.bias is not None
        and (conv.kernel_size, conv.stride, conv.padding, conv.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
        and conv.groups == conv.in_channels == conv.out_channels
        and conv.padding_mode == 'zeros'
    )


def _attention_parameters(norm: Any, attn: Any) -> tuple[Tensor, ...]:
    pointwise, depthwise = attn.qkv.pointwise, attn.qkv.depthwise
    return norm.weight, norm.bias, pointwise.weight, pointwise.bias, depthwise.weight, depthwise.bias


def _mlp_parameters(norm: Any, mlp: Any) -> tuple[Tensor, ...]:
    return norm.weight, norm.bias, mlp.fc1.weight, mlp.fc1.bias, mlp.fc2.weight, mlp.fc2.bias


def joins_attention(x: Tensor, norm: nn.Module, attn: Any, drop_path: nn.Module) -> bool:
    """Tell whether `run_attention` computes x + drop_path(attn(norm(x))) of x (B, H, W, C)."""
    return (
        not torch.is_grad_enabled()
        and _is_plain(attn, FactorizedChannelAttention, SeparableDilatedAttention)
        and _is_plain(attn.qkv, SeparableProjection)
        and _is_plain_norm(norm)
        and _is_plain_linear(attn.qkv.pointwise)
        and _is_plain_depthwise(attn.qkv.depthwise)
        and _is_plain_linear(attn.proj)
        and _keeps_all(drop_path)
        and takes_block(x, *_attention_parameters(norm, attn), attn.proj.weight, attn.proj.bias)
    )


def run_attention(x: Tensor, norm: Any, attn: Any) -> Tensor:
    """Return x + attn(norm(x)) of x (B, H, W, C)."""
    weight, bias, *others = _attention_parameters(norm, attn)
    qkv = torch.ops.dualattn.norm_project(x, weight, bias, norm.eps, *others)
    return torch.ops.dualattn.linear_residual(attn.attend(qkv), attn.proj.weight, attn.proj.bias, x)


def joins_mlp(x: Tensor, norm: nn.Module, mlp: Any, drop_path: nn.Module) -> bool:
    """Tell whether `run_mlp` computes x + drop_path(mlp(norm(x))) of x (..., C)."""
    return (
        not torch.is_grad_enabled()
        and _is_plain(mlp, PiecewiseMlp)
        and _is_plain_norm(norm)
        and _is_plain_linear(mlp.fc1)
        and _is_plain_activation(mlp.act)
        and _is_plain_linear(mlp.fc2)
        and _keeps_all(drop_path)
        and takes_block(x, *_mlp_parameters(norm, mlp))
    )


def run_mlp(x: Tensor, norm: Any, mlp: Any) -> Tensor:
    """Return x + mlp(norm(x)) of x (..., C)."""
    weight, bias, *others = _mlp_parameters(norm, mlp)
    return torch.ops.dualattn.residual_mlp(x, weight, bias, norm.eps, *others)
