"""The compiled kernels as torch operators: schemas, fake kernels, gradients and autocast, each in one place.

`dualattn/csrc/binding.cpp` implements these schemas for CPU and CUDA. Names and arguments of a schema are permanent:
exported programs refer to them.

    sda           qkv (B, H, W, 3C) -> out (B, H, W, C)
    sda_backward  grad (B, H, W, C), qkv -> grad_qkv (B, H, W, 3C)
    fca           qkv -> out, attention (B, groups, M, M) float32, key channel first
    fca_backward  grad, qkv, attention -> grad_qkv
    lightness     pixels (H, W, 3) uint8 or uint16 -> l (H, W) float32; CPU only
    join_lightness  l, ab (2, h, W) -> pixels (H, W, 3) uint8 or uint16; CPU only
"""

import ctypes
import logging
from pathlib import Path

import torch
from torch import Tensor
from torch.library import Library, register_autograd, register_fake

from dualattn.ops.build import find_cached_kernels

__all__ = [
    'LOAD_PROBLEM',
    'cpu_instruction_set',
    'has_cuda_kernels',
    'has_photo_kernels',
    'is_loaded',
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


# --- gradients


def _sda_setup_context(ctx, inputs, output) -> None:
    qkv, *ctx.arguments = inputs
    if ctx.needs_input_grad[0]:
        ctx.save_for_backward(qkv)


def _sda_autograd(ctx, grad: Tensor):
    (qkv,) = ctx.saved_tensors
    return torch.ops.dualattn.sda_backward(grad, qkv, *ctx.arguments), None, None, None, None


def _fca_setup_context(ctx, inputs, output) -> None:
    qkv, *ctx.arguments = inputs
    _, attention = output
    ctx.mark_non_differentiable(attention)
    ctx.set_materialize_grads(False)  # no map of zeros as the gradient of the attention
    if ctx.needs_input_grad[0]:
        ctx.save_for_backward(qkv, attention)


def _fca_autograd(ctx, grad: Tensor | None, grad_attention: None):
    if grad is None:
        return None, None, None
    qkv, attention = ctx.saved_tensors
    return torch.ops.dualattn.fca_backward(grad, qkv, attention, *ctx.arguments), None, None


def _refuse_second_derivative(ctx, grad: Tensor):
    raise NotImplementedError(
        'the compiled attention kernels have no second derivative; '
        'set DUALATTN_BACKEND=reference to differentiate twice'
    )


register_autograd('dualattn::sda', _sda_autograd, setup_context=_sda_setup_context, lib=LIBRARY)
register_autograd('dualattn::fca', _fca_autograd, setup_context=_fca_setup_context, lib=LIBRARY)
register_autograd('dualattn::sda_backward', _refuse_second_derivative, lib=LIBRARY)
register_autograd('dualattn::fca_backward', _refuse_second_derivative, lib=LIBRARY)


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
    files = [*sorted(PACKAGE.glob('_C*.so')), *find_cached_kernels(torch.__version__)]
    if not files:
        return None, 'the kernels were not compiled: `dualattn check --build` does it, see `dualattn check`'
    version = tuple(int(part) for part in torch.__version__.split('.')[:2])
    if version < MIN_TORCH:
        return None, f'the kernels need torch >= {".".join(map(str, MIN_TORCH))}, this is {torch.__version__}'
    problems = []
    for file in files:
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
