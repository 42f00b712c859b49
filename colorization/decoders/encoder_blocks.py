"""Blocks of the encoder's own kind in the place of Color-Attention: the right half of MPT Table II."""

from collections.abc import Sequence

import torch.nn as nn
from timm.models import is_model_in_modules
from timm.models.resnet import Bottleneck
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.twins import Block as TwinsBlock
from torch import Tensor

from colorization.encoders.glh import GRIDS, GlobalWindowBlock
from dualattn.layers import DualAttnBlock

__all__ = ['EncoderBlockDecoder']


class _ChannelsLast(nn.Module):
    """Runs a block that takes (B, H, W, C) on (B, C, H, W)."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Tokens(nn.Module):
    """Runs a block that takes (B, H * W, C) and (H, W) on (B, C, H, W)."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        size = tuple(x.shape[-2:])
        return self.block(x.flatten(2).transpose(1, 2), size).transpose(1, 2).unflatten(2, size)


def _make_block(module: str, dim: int, index: int, attn_types: Sequence[str], window_size: int | None) -> nn.Module:
    heads = max(1, dim // 32)
    if module == 'dualattn':
        return _ChannelsLast(DualAttnBlock(dim, attn_types, window_size=window_size or 8, head_dim=dim // heads))
    if module == 'glh' and index % 2 == 0:
        return _ChannelsLast(GlobalWindowBlock(dim, heads, (window_size or 7,) * 2, GRIDS[0]))
    if module in ('swin_transformer', 'glh'):
        window = window_size or 7
        # a resolution of two windows, so that windows are shifted; the mask follows the map that comes
        block = SwinTransformerBlock(
            dim,
            input_resolution=(2 * window, 2 * window),
            num_heads=heads,
            window_size=window,
            shift_size=window // 2 if index % 2 else 0,
            dynamic_mask=True,
        )
        return _ChannelsLast(block)
    if module == 'twins':
        # locally grouped, then global attention on a map reduced 8 times, as the first stage of Twins-SVT
        return _Tokens(TwinsBlock(dim, heads, ws=1 if index % 2 else window_size or 7, sr_ratio=8 if index % 2 else 1))
    return Bottleneck(dim, dim // 4)


class EncoderBlockDecoder(nn.Module):
    """As many blocks of the encoder's kind as Color-Attention has layers (MPT IV-C.1, "w/o Color-Attention").

    The paper does not say where they stand: here they refine the memory, whose maps then take the place of the K colour
    maps. Kinds are those of Table II: Dual-Attention (its `attn_types` included), Swin, Twins-SVT (local and global in
    turn), GLH (windows that see the whole map, and shifted ones, in turn) and ResNet's bottlenecks.

    Args:
        encoder: timm name of the encoder.
        dim: channels C of the memory.
        depth: number of blocks, L5.
        attn_types: attentions of a Dual-Attention block.
        window_size: tokens per side of a window; None takes 8 for Dual-Attention and 7 for the others.

    Raises:
        ValueError: the encoder is of no kind that is known here, or `dim` cannot be shared among its heads.
    """

    KINDS = ('dualattn', 'swin_transformer', 'twins', 'glh', 'resnet')

    def __init__(
        self,
        encoder: str,
        dim: int,
        depth: int,
        attn_types: Sequence[str] = ('fca', 'sda'),
        window_size: int | None = None,
    ):
        super().__init__()
        kind = next((kind for kind in self.KINDS if is_model_in_modules(encoder, {kind})), None)
        if kind is None:
            raise ValueError(
                f'no blocks of the kind of {encoder} are known here; those of {", ".join(self.KINDS)} are, the '
                'encoders of MPT Table II'
            )
        if dim % max(1, dim // 32):
            raise ValueError(f'{dim} channels cannot be shared among {dim // 32} heads')
        self.blocks = nn.Sequential(*(_make_block(kind, dim, i, attn_types, window_size) for i in range(depth)))

    def forward(self, memory: Tensor) -> Tensor:
        """Map memory: (B, C, H, W) float to maps of the same shape."""
        return self.blocks(memory)
