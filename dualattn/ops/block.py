"""The parts of a residual block between its attentions, as operators for inference on a CPU.

Each joins a matrix product with what stands around it, piece by piece, so that what is in between stays in the cache
(csrc/block.cpp). `takes_block` says whether they can take a call; the layers compute the same module by module
elsewhere, and wherever a gradient is wanted. The operators themselves can be called with anything: what the kernels do
not know, derivatives, the transforms of torch.func, autocast, is computed by the plain form.

    residual_mlp     x (..., C) -> x + fc2(gelu(fc1(norm(x))))
    linear_residual  x (..., C), residual (..., O) -> residual + linear(x)
    norm_project     x (B, H, W, C) -> depthwise(pointwise(norm(x))), (B, H, W, O)
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import register_fake, register_vmap
from torch.utils.flop_counter import register_flop_formula

from dualattn.ops.backends import choose_backend
from dualattn.ops.library import LIBRARY, has_block_kernels, is_transformed

__all__ = ['linear_residual', 'norm_project', 'residual_mlp', 'takes_block']


def takes_block(x: Tensor, *parameters: Tensor) -> bool:
    """Tell whether the kernels are to take a call: no gradient, no autocast, no graph being made, plain float32.

    Args:
        x: the map, or a stand-in for it, as while a model is traced.
        parameters: of the layers around it.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or type(x) is not Tensor:
        return False
    if any(tensor.dtype != torch.float32 or tensor.device.type != 'cpu' for tensor in (x, *parameters)):
        return False
    if any(type(parameter) not in (Tensor, torch.nn.Parameter) for parameter in parameters):  # of a quantizer, say
        return False
    if not has_block_kernels() or torch.is_autocast_enabled('cpu') or is_transformed(x, *parameters):
        return False
    return choose_backend('block', 'cpu', torch.float32, '') != 'reference'


# --- the plain form


def residual_mlp(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
    fc1_weight: Tensor,
    fc1_bias: Tensor,
    fc2_weight: Tensor,
    fc2_bias: Tensor,
) -> Tensor:
    """Compute x + MLP(LN(x)), the second half of MPT Eq. 2, with torch's functions.

    Args:
        x: (..., C) float.
        norm_weight, norm_bias: (C).
        eps: of the normalisation.
        fc1_weight, fc1_bias: (hidden, C) and (hidden).
        fc2_weight, fc2_bias: (C, hidden) and (C).

    Returns:
        (..., C).
    """
    hidden = F.gelu(F.linear(F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias, eps), fc1_weight, fc1_bias))
    return x + F.linear(hidden, fc2_weight, fc2_bias)


def linear_residual(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """Compute residual + linear(x) with torch's functions.

    Args:
        x: (..., C) float.
        weight, bias: (O, C) and (O).
        residual: (..., O).
    """
    return residual + F.linear(x, weight, bias)


def norm_project(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
    pointwise_weight: Tensor,
    pointwise_bias: Tensor,
    depthwise_weight: Tensor,
    depthwise_bias: Tensor,
) -> Tensor:
    """Normalise a map, then project it by a pointwise and a depthwise 3x3 convolution (MPT Eq. 3).

    Args:
        x: (B, H, W, C) float.
        norm_weight, norm_bias: (C).
        eps: of the normalisation.
        pointwise_weight, pointwise_bias: (O, C) and (O).
        depthwise_weight, depthwise_bias: (O, 1, 3, 3) and (O).

    Returns:
        (B, H, W, O).
    """
    normal = F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias, eps)
    between = F.linear(normal, pointwise_weight, pointwise_bias).permute(0, 3, 1, 2)
    out = F.conv2d(between, depthwise_weight, depthwise_bias, padding=1, groups=depthwise_weight.shape[0])
    return out.permute(0, 2, 3, 1)


# --- the operators


def _define(name: str, plain: Callable[..., Tensor], count_outputs: Callable[..., Any]) -> None:
    operator = getattr(torch.ops.dualattn, name)

    def call(*arguments: Any) -> Tensor:
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        needs_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        if needs_gradient or is_transformed(*tensors):
            return plain(*arguments)
        with torch._C._AutoDispatchBelowAutograd():  # there is no public name for this
            return operator(*arguments)

    def fake(x: Tensor, *arguments: Any) -> Tensor:
        return x.new_empty(*x.shape[:-1], count_outputs(x, *arguments))

    def mapped(info: Any, in_dims: Sequence[int | None], *arguments: Any) -> tuple[Tensor, int]:
        pairs = list(zip(arguments, in_dims, strict=True))  # any parameter may be mapped, as in an ensemble
        results = [operator(*(a if d is None else a.select(d, i) for a, d in pairs)) for i in range(info.batch_size)]
        if not results:
            one = fake(*(a if d is None else a.new_empty(*a.shape[:d], *a.shape[d + 1 :]) for a, d in pairs))
            return one.new_empty(0, *one.shape), 0
        return torch.stack(results), 0

    register_fake(f'dualattn::{name}', fake, lib=LIBRARY)
    register_vmap(f'dualattn::{name}', mapped, lib=LIBRARY)
    LIBRARY.impl(name, call, 'Autograd')
    LIBRARY.impl(name, plain, 'AutocastCPU')


_define('residual_mlp', residual_mlp, lambda x, *_: x.shape[-1])
_define('linear_residual', linear_residual, lambda x, weight, *_: weight.shape[0])
_define('norm_project', norm_project, lambda x, weight, bias, eps, pointwise_weight, *_: pointwise_weight.shape[0])


# --- FLOPs for torch.utils.flop_counter: as many as the plain form has


def _count_tokens(x: Sequence[int]) -> int:
    return torch.Size(x[:-1]).numel()


@register_flop_formula(torch.ops.dualattn.residual_mlp)
def _count_residual_mlp(x: Sequence[int], weight: Any, bias: Any, eps: Any, fc1_weight: Sequence[int], *_, **__) -> int:
    return 2 * 2 * _count_tokens(x) * fc1_weight[0] * fc1_weight[1]


@register_flop_formula(torch.ops.dualattn.linear_residual)
def _count_linear_residual(x: Sequence[int], weight: Sequence[int], *_, **__) -> int:
    return 2 * _count_tokens(x) * weight[0] * weight[1]


@register_flop_formula(torch.ops.dualattn.norm_project)
def _count_norm_project(x: Sequence[int], weight: Any, bias: Any, eps: Any, pointwise: Sequence[int], *_, **__) -> int:
    return 2 * _count_tokens(x) * pointwise[0] * (pointwise[1] + 9)
