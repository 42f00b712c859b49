"""The two attention operators of the Dual-Attention block, as functions on NHWC maps.

They run on compiled kernels where those can take the call (`dualattn.ops.backends`), and on plain PyTorch otherwise:
on other devices and dtypes, without the compiled library, and whenever a graph is to be exported, traced or scripted.
`python -m dualattn.ops` prints what runs where and why.
"""

import torch
from timm.models import register_notrace_function
from torch import Tensor

from dualattn.ops import reference
from dualattn.ops.backends import choose_backend, find_size_problem

__all__ = ['factorized_channel_attention', 'separable_dilated_attention']


def _check_map(qkv: Tensor) -> None:
    """Refuse what is no map of tokens, before it reaches any backend."""
    if qkv.dim() != 4:
        raise ValueError(f'qkv has to be (B, H, W, 3C), got {qkv.dim()} dimensions')
    if not qkv.is_floating_point():
        raise TypeError(f'qkv has to be a floating-point tensor, got {qkv.dtype}')
    if qkv.shape[1] == 0 or qkv.shape[2] == 0 or qkv.shape[3] == 0:
        raise ValueError(
            'qkv has to hold at least one token and one channel, '
            f'got (H, W, 3C) = {qkv.shape[1]}, {qkv.shape[2]}, {qkv.shape[3]}'
        )


def _takes_compiled(operator: str, qkv: Tensor, tokens: int, dim: int) -> bool:
    """Tell whether a compiled backend takes this call."""
    device_type, dtype = qkv.device.type, qkv.dtype
    if device_type == 'meta':  # shapes only: nothing to choose, and no autocast to ask about
        return False
    if torch.is_autocast_enabled(device_type) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device_type)
    return choose_backend(operator, qkv.device, dtype, find_size_problem(tokens, dim)) != 'reference'


@register_notrace_function  # the choice depends on device and dtype
def separable_dilated_attention(qkv: Tensor, window_size: tuple[int, int], num_heads: int, scale: float) -> Tensor:
    """Attend inside windows of G x G tokens that are sampled with stride (H/G, W/G) over the whole map.

    MPT Eq. 5 and 6 after the projections: the dilated partition, softmax(Q K^T * scale) V per head, and the reverse.
    Where G does not divide a side, or is larger than it, windows hold fewer tokens: those that lie on the map.

    Args:
        qkv: (B, H, W, 3C) float; queries, keys and values one after the other, heads contiguous inside each.
        window_size: tokens (rows, columns) of a window.
        num_heads: heads that share C evenly.
        scale: factor on Q K^T, usually D ** -0.5.

    Returns:
        (B, H, W, C), the dtype of `qkv`, or that of autocast.

    Raises:
        TypeError: `qkv` holds no floating-point numbers.
        ValueError: `qkv` has another rank or no token, its channels are no multiple of 3 * num_heads, or a window has
            no token.
    """
    _check_map(qkv)
    gh, gw = window_size
    if gh < 1 or gw < 1:
        raise ValueError(f'window_size has to be positive, got {gh} x {gw}')
    if num_heads < 1 or qkv.shape[3] % (3 * num_heads) != 0:
        raise ValueError(f'qkv has to hold 3 * {num_heads} heads of equal width, got {qkv.shape[3]} channels')
    if not torch.jit.is_scripting():  # noqa: SIM102  a script leaves out this block, not a part of a condition
        if _takes_compiled('sda', qkv, gh * gw, qkv.shape[3] // (3 * num_heads)):
            return torch.ops.dualattn.sda(qkv, gh, gw, num_heads, scale)
    return reference.separable_dilated_attention(qkv, window_size, num_heads, scale)


@register_notrace_function  # the choice depends on device and dtype
def factorized_channel_attention(qkv: Tensor, num_groups: int, scale: float) -> Tensor:
    """Attend between the channels of each group, over all tokens of the map.

    MPT Eq. 3 and 4 after the projections: softmax(Q^T K * scale) V^T inside each of C/M groups. The logits sum over
    N = H x W products, more than half precision can hold, so the M x M part is computed in float32 at least.

    Args:
        qkv: (B, H, W, 3C) float; queries, keys and values one after the other, groups contiguous inside each.
        num_groups: groups that share C evenly.
        scale: factor on Q^T K, usually M ** -0.5.

    Returns:
        (B, H, W, C), the dtype of `qkv`, or that of autocast.

    Raises:
        TypeError: `qkv` holds no floating-point numbers.
        ValueError: `qkv` has another rank or no token, or its channels are no multiple of 3 * num_groups.
    """
    _check_map(qkv)
    if num_groups < 1 or qkv.shape[3] % (3 * num_groups) != 0:
        raise ValueError(f'qkv has to hold 3 * {num_groups} groups of equal width, got {qkv.shape[3]} channels')
    if not torch.jit.is_scripting():  # noqa: SIM102  as above
        if _takes_compiled('fca', qkv, 0, qkv.shape[3] // (3 * num_groups)):
            return torch.ops.dualattn.fca(qkv, num_groups, scale)[0]
    return reference.factorized_channel_attention(qkv, num_groups, scale)
