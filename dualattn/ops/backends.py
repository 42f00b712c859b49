"""Which implementation runs an operator, and why."""

import functools
import logging
import os

import torch
from timm.layers import is_exportable

from dualattn.ops import library

__all__ = ['BACKENDS', 'DTYPES', 'choose_backend', 'explain', 'find_size_problem']

BACKENDS = ('cuda', 'cpu', 'reference')
DTYPES = {
    'cuda': (torch.float32, torch.float16, torch.bfloat16),
    'cpu': (torch.float32, torch.bfloat16),
}
MAX_TOKENS = 256  # of a window, kMaxTokens in csrc/shapes.h
MAX_DIM = 64  # of a head or a channel group, kMaxDim there
MIN_CAPABILITY = (7, 5)

logger = logging.getLogger(__name__)


def find_size_problem(tokens: int, dim: int) -> str:
    """Say why the kernels cannot take windows of `tokens` tokens, or heads or groups of `dim` channels; '' if they can.

    Compares only, so that torch.compile need not turn a symbolic size into a constant.
    """
    if tokens > MAX_TOKENS:
        return f'a window has over {MAX_TOKENS} tokens'
    if dim > MAX_DIM:
        return f'a head or group has over {MAX_DIM} channels'
    return ''


def _find_problem(backend: str, device: torch.device, dtype: torch.dtype, size_problem: str) -> str:
    """Say why a compiled backend cannot take a call; an empty string if it can."""
    if not library.is_loaded():
        return library.LOAD_PROBLEM
    if device.type != backend:
        return f'the {backend} kernels do not take tensors on {device.type}'
    if backend == 'cuda' and not library.has_cuda_kernels():
        return 'the CUDA kernels were not built; reinstall with DUALATTN_BUILD=cuda, nvcc and a CUDA build of torch'
    if dtype not in DTYPES[backend]:
        return f'there is no {backend} kernel for {dtype}'
    if size_problem:
        return size_problem
    # of the tensor's own device: cards of several generations may stand in one machine
    if backend == 'cuda' and torch.cuda.is_available():
        capability = torch.cuda.get_device_capability(device)
        if capability < MIN_CAPABILITY:
            needed, found = ('.'.join(map(str, pair)) for pair in (MIN_CAPABILITY, capability))
            return f'the CUDA kernels need compute capability {needed}, {device} has {found}'
    return ''


def explain(
    device: torch.device | str, dtype: torch.dtype, size_problem: str = '', forced: str = ''
) -> tuple[str, str]:
    """Choose a backend for one kind of call.

    Args:
        device: the tensors' own; 'cuda' without a number is the current one.
        dtype: in which the operator computes, so the lower one under autocast.
        size_problem: what `find_size_problem` says of the call.
        forced: one of `BACKENDS`, or '' for the fastest that can take the call.

    Returns:
        The backend and the reason for it.

    Raises:
        ValueError: `forced` is no backend.
        RuntimeError: the forced backend cannot take the call.
    """
    if forced and forced not in BACKENDS:
        raise ValueError(f'DUALATTN_BACKEND has to be one of {", ".join(BACKENDS)}, got {forced!r}')
    if forced == 'reference':
        return 'reference', 'DUALATTN_BACKEND'
    device = torch.device(device)
    backend = forced or (device.type if device.type in DTYPES else '')
    if not backend:
        return 'reference', f'there are no kernels for {device.type}'
    problem = _find_problem(backend, device, dtype, size_problem)
    if not problem:
        name = f'{library.cpu_instruction_set()} kernels' if backend == 'cpu' else 'CUDA kernels'
        return backend, f'{name}, DUALATTN_BACKEND' if forced else name
    if forced:
        raise RuntimeError(f'DUALATTN_BACKEND={forced} cannot be met: {problem}')
    return 'reference', problem


@functools.cache
def _choose_and_log(
    operator: str, device: torch.device | str, dtype: torch.dtype, size_problem: str, forced: str
) -> str:
    backend, reason = explain(device, dtype, size_problem, forced)
    logger.info('%s on %s, %s: backend %s (%s)', operator, device, dtype, backend, reason)
    return backend


@torch.compiler.assume_constant_result  # runs as plain Python while torch.compile traces
def choose_backend(operator: str, device: torch.device | str, dtype: torch.dtype, size_problem: str) -> str:
    """Choose as `explain` does, with DUALATTN_BACKEND; the first choice of each kind is logged.

    What is being exported or traced takes the reference: such a graph is to run where dualattn is not installed, and
    tools that count FLOPs read it.
    """
    # is_exporting() here, not in the caller: inside a function that torch.compile traces it is always True
    if is_exportable() or torch.jit.is_tracing() or torch.compiler.is_exporting():
        return 'reference'
    return _choose_and_log(operator, device, dtype, size_problem, os.environ.get('DUALATTN_BACKEND', ''))
