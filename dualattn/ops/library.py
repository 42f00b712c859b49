"""The compiled kernels as torch operators: schemas, fake kernels, derivatives, vmap, FLOPs, autocast.

`dualattn/csrc/binding.cpp` implements these schemas for CPU and CUDA. Names and arguments of a schema are permanent:
exported programs refer to them.

    sda           qkv (B, H, W, 3C) -> out (B, H, W, C)
    sda_backward  grad (B, H, W, C), qkv -> grad_qkv (B, H, W, 3C)
    fca           qkv -> out, attention (B, groups, M, M) float32, key channel first
    fca_backward  grad, qkv, attention -> grad_qkv
    lightness     pixels (H, W, 3) uint8 or uint16 -> l (H, W) float32; CPU only
    join_lightness  l, ab (2, h, W) -> pixels (H, W, 3) uint8 or uint16; CPU only

The operators of dualattn/ops/block.py have their schemas here and all else there.
"""

import ctypes
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.autograd import forward_ad
from torch.library import Library, register_fake, register_vmap
from torch.utils.flop_counter import register_flop_formula

from dualattn.ops import reference
from dualattn.ops.build import find_cached_kernels, find_damage

__all__ = [
    'LOAD_PROBLEM',
    'cpu_instruction_set',
    'has_block_kernels',
    'has_cuda_kernels',
    'has_photo_kernels',
    'is_loaded',
    'is_transformed',
    'select_cpu_instruction_set',
]

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parents[1]
MIN_TORCH = (2, 10)  # the stable ABI functions that the binding uses

LIBRARY = Library('dualattn', 'DEF')
LIBRARY.define('sda(Tensor qkv, int grid_h, int grid_w, int heads, float scale) -> Tensor')
LIBRARY.define('sda_backward(Tensor grad, Tensor qkv, int grid_h, int grid_w, int heads, float scale) -> Tensor')
LIBRARY.define('fca(Tensor qkv, int groups, float scale) -> (Tensor out, Tensor attention)')
LIBRARY.define('fca_backward(Tensor grad, Tensor qkv, Tensor attention, int groups, float scale) -> Tensor')
LIBRARY.define('lightness(Tensor pixels, Tensor tables, Tensor curve) -> Tensor')
LIBRARY.define(
    'join_lightness(Tensor l, Tensor ab, Tensor first, Tensor weights, Tensor space, int halvings, int levels)'
    ' -> Tensor'
)
LIBRARY.define(
    'residual_mlp(Tensor x, Tensor norm_weight, Tensor norm_bias, float eps, Tensor fc1_weight, Tensor fc1_bias,'
    ' Tensor fc2_weight, Tensor fc2_bias) -> Tensor'
)
LIBRARY.define('linear_residual(Tensor x, Tensor weight, Tensor bias, Tensor residual) -> Tensor')
LIBRARY.define(
    'norm_project(Tensor x, Tensor norm_weight, Tensor norm_bias, float eps, Tensor pointwise_weight,'
    ' Tensor pointwise_bias, Tensor depthwise_weight, Tensor depthwise_bias) -> Tensor'
)


# --- shapes, for tracing


def _check_parts(qkv: Tensor, parts: int) -> None:
    torch._check(qkv.dim() == 4, lambda: f'qkv has to be (B, H, W, 3C), got {qkv.dim()} dimensions')
    torch._check(
        qkv.shape[3] % (3 * parts) == 0,
        lambda: f'qkv has to hold 3 * {parts} parts of equal width, got {qkv.shape[3]} channels',
    )


@register_fake('dualattn::sda', lib=LIBRARY)
def _sda_fake(qkv: Tensor, grid_h: int, grid_w: int, heads: int, scale: float) -> Tensor:
    _check_parts(qkv, heads)
    b, h, w, c3 = qkv.shape
    return qkv.new_empty(b, h, w, c3 // 3)


@register_fake('dualattn::sda_backward', lib=LIBRARY)
def _sda_backward_fake(grad: Tensor, qkv: Tensor, grid_h: int, grid_w: int, heads: int, scale: float) -> Tensor:
    return qkv.new_empty(qkv.shape)


@register_fake('dualattn::fca', lib=LIBRARY)
def _fca_fake(qkv: Tensor, groups: int, scale: float) -> tuple[Tensor, Tensor]:
    _check_parts(qkv, groups)
    b, h, w, c3 = qkv.shape
    m = c3 // (3 * groups)
    return qkv.new_empty(b, h, w, c3 // 3), qkv.new_empty(b, groups, m, m, dtype=torch.float32)


@register_fake('dualattn::fca_backward', lib=LIBRARY)
def _fca_backward_fake(grad: Tensor, qkv: Tensor, attention: Tensor, groups: int, scale: float) -> Tensor:
    return qkv.new_empty(qkv.shape)


@register_fake('dualattn::lightness', lib=LIBRARY)
def _lightness_fake(pixels: Tensor, tables: Tensor, curve: Tensor) -> Tensor:
    return pixels.new_empty(pixels.shape[:2], dtype=torch.float32)


@register_fake('dualattn::join_lightness', lib=LIBRARY)
def _join_lightness_fake(
    l: Tensor, ab: Tensor, first: Tensor, weights: Tensor, space: Tensor, halvings: int, levels: int
) -> Tensor:
    return l.new_empty(*l.shape, 3, dtype=torch.uint8 if levels == 255 else torch.uint16)


# --- derivatives
#
# The kernels know the first derivative in reverse mode. What asks for another one, forward mode, the transforms of
# torch.func, or a derivative of a derivative, gets the operator's plain PyTorch form, which torch differentiates in
# every way. The choice is made below autocast and above the kernels, so that calls of torch.ops take it as well; it is
# therefore written as a kernel of the key Autograd and not by torch.library.register_autograd, whose kernel drops the
# tangents of forward mode without a word.


def is_transformed(*tensors: Tensor) -> bool:
    """Tell whether a transform of torch.func is at work, or a tensor carries a tangent of forward-mode AD."""
    if torch._C._are_functorch_transforms_active():  # there is no public name for this
        return True
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def _needs_gradient(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _call_kernel(operator: OpOverload, *arguments):
    with torch._C._AutoDispatchBelowAutograd():
        return operator(*arguments)


def _pull_back(function: Callable[[Tensor], Tensor], qkv: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient with respect to `qkv` in a form that torch can differentiate again."""
    with torch.enable_grad():
        source = qkv if qkv.requires_grad else qkv.detach().requires_grad_()
        (grad_qkv,) = torch.autograd.grad(function(source), source, grad, create_graph=True)
    return grad_qkv


class _SeparableDilated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv: Tensor, *arguments) -> Tensor:
        ctx.save_for_backward(qkv)
        ctx.arguments = arguments
        return _call_kernel(torch.ops.dualattn.sda.default, qkv, *arguments)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (qkv,) = ctx.saved_tensors
        return torch.ops.dualattn.sda_backward(grad, qkv, *ctx.arguments), None, None, None, None


class _FactorizedChannel(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv: Tensor, *arguments) -> tuple[Tensor, Tensor]:
        out, attention = _call_kernel(torch.ops.dualattn.fca.default, qkv, *arguments)
        ctx.mark_non_differentiable(attention)
        ctx.set_materialize_grads(False)  # no map of zeros as the gradient of the attention
        ctx.save_for_backward(qkv, attention)
        ctx.arguments = arguments
        return out, attention

    @staticmethod
    def backward(ctx, grad: Tensor | None, grad_attention: None):
        if grad is None:
            return None, None, None
        qkv, attention = ctx.saved_tensors
        return torch.ops.dualattn.fca_backward(grad, qkv, attention, *ctx.arguments), None, None


def _sda(qkv: Tensor, grid_h: int, grid_w: int, heads: int, scale: float) -> Tensor:
    if is_transformed(qkv):
        return reference.separable_dilated_attention(qkv, (grid_h, grid_w), heads, scale)
    if _needs_gradient(qkv):
        return _SeparableDilated.apply(qkv, grid_h, grid_w, heads, scale)
    return _call_kernel(torch.ops.dualattn.sda.default, qkv, grid_h, grid_w, heads, scale)


def _sda_backward(grad: Tensor, qkv: Tensor, grid_h: int, grid_w: int, heads: int, scale: float) -> Tensor:
    if is_transformed(grad, qkv) or _needs_gradient(grad, qkv):
        return _pull_back(lambda x: reference.separable_dilated_attention(x, (grid_h, grid_w), heads, scale), qkv, grad)
    return _call_kernel(torch.ops.dualattn.sda_backward.default, grad, qkv, grid_h, grid_w, heads, scale)


def _fca(qkv: Tensor, groups: int, scale: float) -> tuple[Tensor, Tensor]:
    if is_transformed(qkv):
        return reference.attend_between_channels(qkv, groups, scale)
    if _needs_gradient(qkv):
        return _FactorizedChannel.apply(qkv, groups, scale)
    return _call_kernel(torch.ops.dualattn.fca.default, qkv, groups, scale)


def _fca_backward(grad: Tensor, qkv: Tensor, attention: Tensor, groups: int, scale: float) -> Tensor:
    if is_transformed(grad, qkv) or _needs_gradient(grad, qkv):
        return _pull_back(lambda x: reference.factorized_channel_attention(x, groups, scale), qkv, grad)
    return _call_kernel(torch.ops.dualattn.fca_backward.default, grad, qkv, attention, groups, scale)


LIBRARY.impl('sda', _sda, 'Autograd')
LIBRARY.impl('sda_backward', _sda_backward, 'Autograd')
LIBRARY.impl('fca', _fca, 'Autograd')
LIBRARY.impl('fca_backward', _fca_backward, 'Autograd')


# --- vmap: the mapped dimension joins the batch, and one call of the kernel serves all


def _bring_to_front(tensor: Tensor, in_dim: int | None, size: int) -> Tensor:
    """Return (mapped, B, ...); what is not mapped is the same for all."""
    return tensor.expand(size, *tensor.shape) if in_dim is None else tensor.movedim(in_dim, 0)


def _register_vmap(name: str) -> None:
    operator = getattr(torch.ops.dualattn, name)

    def mapped(info, in_dims, *arguments):
        arguments = [
            _bring_to_front(argument, in_dim, info.batch_size) if isinstance(argument, Tensor) else argument
            for argument, in_dim in zip(arguments, in_dims, strict=True)
        ]
        sizes = arguments[0].shape[:2]  # not from the result: there may be nothing to map over
        outputs = operator(*(each.flatten(0, 1) if isinstance(each, Tensor) else each for each in arguments))
        if isinstance(outputs, Tensor):
            return outputs.unflatten(0, sizes), 0
        return tuple(out.unflatten(0, sizes) for out in outputs), (0,) * len(outputs)

    register_vmap(f'dualattn::{name}', mapped, lib=LIBRARY)


for _name in ('sda', 'sda_backward', 'fca', 'fca_backward'):
    _register_vmap(_name)


# --- FLOPs for torch.utils.flop_counter: the matrix products of the plain form, so that a count is the same whatever
# backend runs. Padded windows count whole, and products that a kernel repeats in its backward pass count once.


def _count_sda(qkv: Sequence[int], grid_h: int, grid_w: int, heads: int, *_, **__) -> int:
    b, h, w, c3 = qkv
    tokens = grid_h * grid_w
    windows = b * -(-h // grid_h) * -(-w // grid_w)
    return 2 * 2 * windows * tokens * tokens * (c3 // 3)  # Q K^T and P V


def _count_fca(qkv: Sequence[int], groups: int, *_, **__) -> int:
    b, h, w, c3 = qkv
    return 2 * 2 * b * h * w * (c3 // 3) * (c3 // 3 // groups)  # Q^T K and V P^T


@register_flop_formula(torch.ops.dualattn.sda)
def _count_sda_forward(qkv: Sequence[int], *arguments, **_) -> int:
    return _count_sda(qkv, *arguments)


@register_flop_formula(torch.ops.dualattn.sda_backward)
def _count_sda_backward(grad: Sequence[int], qkv: Sequence[int], *arguments, **_) -> int:
    return 2 * _count_sda(qkv, *arguments)  # each product has two gradients


@register_flop_formula(torch.ops.dualattn.fca)
def _count_fca_forward(qkv: Sequence[int], *arguments, **_) -> int:
    return _count_fca(qkv, *arguments)


@register_flop_formula(torch.ops.dualattn.fca_backward)
def _count_fca_backward(grad: Sequence[int], qkv: Sequence[int], attention: Sequence[int], *arguments, **_) -> int:
    return 2 * _count_fca(qkv, *arguments)


# --- autocast: like a matrix product, the operators run in the lower precision


def _register_autocast(device_type: str, key: str) -> None:
    def lower(qkv: Tensor) -> Tensor:
        if qkv.dtype == torch.float64:  # autocast leaves double precision alone
            return qkv
        return qkv.to(torch.get_autocast_dtype(device_type))

    def sda(qkv: Tensor, *arguments) -> Tensor:
        with torch.autocast(device_type, enabled=False):
            return torch.ops.dualattn.sda(lower(qkv), *arguments)

    def fca(qkv: Tensor, *arguments) -> tuple[Tensor, Tensor]:
        with torch.autocast(device_type, enabled=False):
            return torch.ops.dualattn.fca(lower(qkv), *arguments)

    LIBRARY.impl('sda', sda, key)
    LIBRARY.impl('fca', fca, key)


_register_autocast('cpu', 'AutocastCPU')
_register_autocast('cuda', 'AutocastCUDA')


# --- the compiled library


def _load() -> tuple[ctypes.CDLL | None, str]:
    """Return the library, or None and the reason: the one of the package, or the one that was compiled later."""
    cached = find_cached_kernels(torch.__version__)
    files = [*sorted(PACKAGE.glob('_C*.so')), *cached]
    if not files:
        return None, 'the kernels were not compiled: `dualattn check --build` does it, see `dualattn check`'
    version = tuple(int(part) for part in torch.__version__.split('.')[:2])
    if version < MIN_TORCH:
        return None, f'the kernels need torch >= {".".join(map(str, MIN_TORCH))}, this is {torch.__version__}'
    problems = []
    for file in files:
        if file in cached and (damage := find_damage(file)):
            problems.append(f'{file} could not be loaded: {damage}')
            continue
        try:
            torch.ops.load_library(str(file))
            library = ctypes.CDLL(str(file))
            library.dualattn_instruction_set.restype = ctypes.c_char_p
        except (OSError, AttributeError) as error:  # AttributeError: some other library
            problems.append(f'{file} could not be loaded: {error}')
        else:
            return library, ''
    logger.warning('%s; delete the file, and `dualattn check --build` compiles the kernels anew', '; '.join(problems))
    return None, '; '.join(problems)


_compiled, LOAD_PROBLEM = _load()


def is_loaded() -> bool:
    """Tell whether the compiled kernels are there; `LOAD_PROBLEM` says why not."""
    return _compiled is not None


def has_cuda_kernels() -> bool:
    """Tell whether the CUDA kernels were compiled in."""
    return _compiled is not None and bool(_compiled.dualattn_has_cuda())


def has_photo_kernels() -> bool:
    """Tell whether the compiled library holds those for photographs: one that was built before them does not."""
    return _compiled is not None and hasattr(_compiled, 'dualattn_has_photo')


def has_block_kernels() -> bool:
    """Tell whether the compiled library holds those of a residual block: one that was built before them does not."""
    return _compiled is not None and hasattr(_compiled, 'dualattn_has_block')


def cpu_instruction_set() -> str:
    """Return the instruction set that the CPU kernels use: 'avx512', 'avx2' or 'generic'."""
    if _compiled is None:
        raise RuntimeError(LOAD_PROBLEM)
    return _compiled.dualattn_instruction_set().decode()


def select_cpu_instruction_set(name: str) -> None:
    """Make the CPU kernels use another instruction set from now on, for tests and measurements.

    Raises:
        ValueError: the set was not compiled, or this processor does not have it.
        RuntimeError: the kernels were not built.
    """
    if _compiled is None:
        raise RuntimeError(LOAD_PROBLEM)
    if not _compiled.dualattn_select_instruction_set(name.encode()):
        raise ValueError(
            f"instruction set has to be one that this processor runs, of 'avx512', 'avx2', 'generic'; got {name!r}"
        )
