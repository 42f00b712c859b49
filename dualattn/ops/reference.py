"""Plain PyTorch definitions of both attentions: the meaning that every faster backend has to reproduce.

Letters: B batch, H x W map, C channels, D channels of a head, M channels of a group, G x G tokens of a dilated window.
"""

import torch
import torch.nn.functional as F
from timm.models import register_notrace_function
from torch import Tensor

from dualattn.ops.capture import is_exporting, serves_any_size

__all__ = ['factorized_channel_attention', 'separable_dilated_attention']


def _real_keys(h: int, w: int, grid: tuple[int, int], device: torch.device) -> Tensor:
    """Tell which tokens of each dilated window lie on the map and which on its padding.

    Returns:
        (n_windows, 1, 1, G * G) bool, True for a real token, in the window order of `separable_dilated_attention`.
    """
    gh, gw = grid
    sh, sw = (h + gh - 1) // gh, (w + gw - 1) // gw
    rows = torch.arange(gh * sh, device=device) < h
    cols = torch.arange(gw * sw, device=device) < w
    real = rows[:, None] & cols[None, :]
    # (gh * sh, gw * sw) -> (sh * sw, 1, 1, gh * gw)
    return real.view(gh, sh, gw, sw).permute(1, 3, 0, 2).reshape(sh * sw, 1, 1, gh * gw)


def _attend_by_index(qkv: Tensor, window_size: tuple[int, int], num_heads: int, scale: float) -> Tensor:
    """Compute `separable_dilated_attention` by looking tokens up instead of padding and reshaping.

    For torch.export, which cannot see that a padded side, a symbol rounded up to a multiple of G, splits into G parts.
    """
    _, h, w, c3 = qkv.shape
    gh, gw = window_size
    sh, sw = (h + gh - 1) // gh, (w + gw - 1) // gw

    def count(stop: int) -> Tensor:
        return torch.arange(stop, device=qkv.device)

    rows = count(gh)[:, None] * sh + count(sh)  # (gh, sh), of which map row each row of each window is
    cols = count(gw)[:, None] * sw + count(sw)
    qkv = qkv.contiguous()[:, rows.clamp(max=h - 1)][:, :, :, cols.clamp(max=w - 1)]
    # (B, gh, sh, gw, sw, 3 * heads * D) -> (3, B, heads, sh, sw, gh * gw, D); symbols stand together, so that torch
    # can follow them through a matrix product
    qkv = qkv.unflatten(-1, (3, num_heads, c3 // (3 * num_heads))).permute(5, 0, 6, 2, 4, 1, 3, 7).flatten(5, 6)
    q, k, v = qkv.unbind(0)
    attn = (q * scale) @ k.transpose(-2, -1)
    real = (rows < h)[:, :, None, None] & (cols < w)
    real = real.permute(1, 3, 0, 2).flatten(2).unsqueeze(2)  # (sh, sw, 1, gh * gw)
    out = attn.masked_fill(~real, float('-inf')).softmax(dim=-1) @ v
    # (B, heads, sh, sw, gh * gw, D) -> (B, gh, sh, gw, sw, C) -> (B, H, W, C)
    out = out.unflatten(4, (gh, gw)).permute(0, 4, 2, 5, 3, 1, 6).flatten(5)
    row, col = count(h) // sh, count(w) // sw
    return out[:, row, count(h) - row * sh][:, :, col, count(w) - col * sw]


@register_notrace_function  # the padding depends on H and W
def separable_dilated_attention(qkv: Tensor, window_size: tuple[int, int], num_heads: int, scale: float) -> Tensor:
    """Attend inside windows of G x G tokens that are sampled with stride (H/G, W/G) over the whole map.

    MPT Eq. 5 and 6 after the projections: the dilated partition, softmax(Q K^T * scale) V per head, and the reverse.
    A side that G does not divide is padded at its end; padded tokens are masked out of every softmax. Each window
    keeps at least one real token, because a stride never exceeds the side of the map.

    Args:
        qkv: (B, H, W, 3C) float; queries, keys and values one after the other, heads contiguous inside each.
        window_size: tokens (rows, columns) of a window.
        num_heads: heads that share C evenly.
        scale: factor on Q K^T, usually D ** -0.5.

    Returns:
        (B, H, W, C), the dtype of `qkv`.

    Raises:
        ValueError: the channels of `qkv` are no multiple of 3 * num_heads.
    """
    b, h, w, c3 = qkv.shape
    if c3 % (3 * num_heads) != 0:
        raise ValueError(f'qkv has to hold 3 * {num_heads} heads of equal width, got {c3} channels')
    d = c3 // (3 * num_heads)
    if not torch.jit.is_scripting():  # noqa: SIM102  a script leaves out this block, not a part of a condition
        if is_exporting():
            return _attend_by_index(qkv, window_size, num_heads, scale)
    gh, gw = window_size
    sh, sw = (h + gh - 1) // gh, (w + gw - 1) // gw
    pad_h, pad_w = gh * sh - h, gw * sw - w
    padded = serves_any_size() or pad_h > 0 or pad_w > 0
    if padded:
        qkv = F.pad(qkv, (0, 0, 0, pad_w, 0, pad_h))

    # (B, gh * sh, gw * sw, 3 * heads * D) -> (3, B, sh * sw, heads, gh * gw, D)
    qkv = qkv.reshape(b, gh, sh, gw, sw, 3, num_heads, d).permute(5, 0, 2, 4, 6, 1, 3, 7)
    q, k, v = qkv.reshape(3, b, sh * sw, num_heads, gh * gw, d).unbind(0)
    attn = (q * scale) @ k.transpose(-2, -1)
    if padded:
        attn = attn.masked_fill(~_real_keys(h, w, (gh, gw), attn.device), float('-inf'))
    out = attn.softmax(dim=-1) @ v

    # (B, sh * sw, heads, gh * gw, D) -> (B, gh * sh, gw * sw, heads * D)
    out = out.reshape(b, sh, sw, num_heads, gh, gw, d).permute(0, 4, 1, 5, 2, 3, 6)
    out = out.reshape(b, gh * sh, gw * sw, num_heads * d)
    return out[:, :h, :w] if padded else out


def _channel_logits(q: Tensor, k: Tensor) -> Tensor:
    """Multiply (B, groups, N, M) queries and keys to Q^T K: (B, groups, M, M), in float32 for half precision."""
    if q.dtype != torch.float16 and q.dtype != torch.bfloat16:
        return q.transpose(-2, -1) @ k
    q, k = q.float(), k.float()
    if torch.jit.is_scripting():  # TorchScript takes a constant device in autocast alone
        return q.transpose(-2, -1) @ k
    with torch.autocast(device_type=q.device.type, enabled=False):
        return q.transpose(-2, -1) @ k


def attend_between_channels(qkv: Tensor, num_groups: int, scale: float) -> tuple[Tensor, Tensor]:
    """Compute `factorized_channel_attention` and give its weights as well, as the compiled operator does.

    Returns:
        (B, H, W, C), the dtype of `qkv`; and the softmax (B, groups, M, M), key channel first, float32 at least.
    """
    b, h, w, c3 = qkv.shape
    if c3 % (3 * num_groups) != 0:
        raise ValueError(f'qkv has to hold 3 * {num_groups} groups of equal width, got {c3} channels')
    m = c3 // (3 * num_groups)
    # (B, H, W, 3 * groups * M) -> (3, B, groups, N, M)
    q, k, v = qkv.reshape(b, h * w, 3, num_groups, m).permute(2, 0, 3, 1, 4).unbind(0)
    attn = (_channel_logits(q, k) * scale).softmax(dim=-1)
    out = v @ attn.to(qkv.dtype).transpose(-2, -1)
    # (B, groups, N, M) -> (B, H, W, groups * M)
    return out.permute(0, 2, 1, 3).reshape(b, h, w, num_groups * m), attn.transpose(-2, -1)


@register_notrace_function  # reshapes with H and W
def factorized_channel_attention(qkv: Tensor, num_groups: int, scale: float) -> Tensor:
    """Attend between the channels of each group, over all tokens of the map.

    MPT Eq. 3 and 4 after the projections: softmax(Q^T K * scale) V^T inside each of C/M groups. The logits sum over
    N = H x W products, more than half precision can hold, so the M x M part is computed in float32 at least.

    Args:
        qkv: (B, H, W, 3C) float; queries, keys and values one after the other, groups contiguous inside each.
        num_groups: groups that share C evenly.
        scale: factor on Q^T K, usually M ** -0.5.

    Returns:
        (B, H, W, C), the dtype of `qkv`.

    Raises:
        ValueError: the channels of `qkv` are no multiple of 3 * num_groups.
    """
    return attend_between_channels(qkv, num_groups, scale)[0]
