"""GLH-Transformer, the encoder of ColorFormer (Ji et al., ECCV 2022), as a timm model: MPT Table II.

MPT tells its name alone. This follows the description of ColorFormer's authors: a Swin-T whose first, third, ... block
of each stage does not shift its windows but lets each of them see the whole map as well, averaged to a grid of 8 x 8,
4 x 4, 2 x 2 or 1 x 1 tokens, coarser in each stage. It is written anew upon timm's Swin; names of tensors are timm's,
not theirs, and no weights of theirs are read.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.swin_transformer import (
    SwinTransformer,
    SwinTransformerBlock,
    WindowAttention,
    window_partition,
    window_reverse,
)
from torch import Tensor

__all__ = ['GLHTransformer', 'GlobalWindowBlock']

GRIDS = (8, 4, 2, 1)


class GlobalWindowAttention(WindowAttention):
    """Attention of the tokens of a window to each other and to averages over the whole map.

    Keys and values of the averages have a norm and projections of their own. The relative positions bias the tokens of
    the window alone: an average has no place.

    Args:
        dim: channels.
        num_heads: heads.
        window_size: tokens per side of a window.
        grid: averages per side of the map.
    """

    def __init__(self, dim: int, num_heads: int, window_size: tuple[int, int], grid: int):
        super().__init__(dim, num_heads, window_size=window_size)
        self.grid = grid
        self.norm = nn.LayerNorm(dim)
        self.kv = nn.Linear(dim, 2 * dim)

    def attend(self, windows: Tensor, whole: Tensor) -> Tensor:
        """Attend.

        Args:
            windows: (B * W, N, C) float, the windows of each image in turn.
            whole: (B, H, W, C) float, the maps that the windows are of.

        Returns:
            (B * W, N, C).
        """
        count, tokens, dim = windows.shape
        batch, heads = len(whole), self.num_heads
        averages = F.adaptive_avg_pool2d(whole.permute(0, 3, 1, 2), self.grid).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(windows).reshape(count, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
        shared = self.kv(self.norm(averages)).reshape(batch, self.grid**2, 2, heads, -1).permute(2, 0, 3, 1, 4)
        shared = shared.repeat_interleave(count // batch, dim=1)  # every window of an image sees the same averages
        k, v = (torch.cat(pair, dim=2) for pair in zip((k, v), shared, strict=True))
        bias = F.pad(self._get_rel_pos_bias(), (0, self.grid**2))
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.proj_drop(self.proj(x.transpose(1, 2).reshape(count, tokens, dim)))


class GlobalWindowBlock(SwinTransformerBlock):
    """A block of Swin whose windows see averages over the whole map instead of being shifted.

    Takes and returns (B, H, W, C) float.

    Args:
        dim: channels.
        num_heads: heads.
        window_size: tokens per side of a window.
        grid: averages per side of the map.
        mlp_ratio: hidden channels of the MLP over `dim`.
        drop_path: rate of stochastic depth.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: tuple[int, int] = (7, 7),
        grid: int = 8,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ):
        # a resolution of one window: the size of the map that comes decides
        super().__init__(dim, window_size, num_heads, window_size=window_size, mlp_ratio=mlp_ratio, drop_path=drop_path)
        attention: Any = GlobalWindowAttention(dim, num_heads, window_size, grid)
        self.attn = attention

    def _attn(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        rows, columns = self.window_size
        below, right = -height % rows, -width % columns
        padded = F.pad(x, (0, 0, 0, right, 0, below))
        windows = window_partition(padded, self.window_size).flatten(1, 2)  # (B * W, rows * columns, C)
        attention: Any = self.attn
        windows = attention.attend(windows, x).unflatten(1, self.window_size)
        return window_reverse(windows, self.window_size, height + below, width + right)[:, :height, :width]


class GLHTransformer(SwinTransformer):
    """Swin with every other block turned into a `GlobalWindowBlock`, the first of each stage among them.

    Args:
        grids: averages per side of the map in each stage.
        kwargs: see timm's `SwinTransformer`.

    Raises:
        ValueError: there is not a grid for each stage.
    """

    def __init__(self, grids: Sequence[int] = GRIDS, **kwargs: Any):
        super().__init__(**kwargs)
        stages: Any = self.layers
        if len(grids) != len(stages):
            raise ValueError(f'expected a grid for each of {len(stages)} stages, got {tuple(grids)}')
        for stage, grid in zip(stages, grids, strict=True):
            for index in range(0, len(stage.blocks), 2):
                block = stage.blocks[index]
                stage.blocks[index] = GlobalWindowBlock(
                    block.dim,
                    block.attn.num_heads,
                    block.window_size,
                    grid,
                    block.mlp_ratio,
                    getattr(block.drop_path1, 'drop_prob', 0.0),
                )
        self.init_weights()


default_cfgs = generate_default_cfgs(
    {
        'glh_tiny.untrained': dict(
            url='',
            num_classes=1000,
            input_size=(3, 224, 224),
            pool_size=(7, 7),
            crop_pct=0.9,
            interpolation='bicubic',
            fixed_input_size=True,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            first_conv='patch_embed.proj',
            classifier='head.fc',
        )
    }
)


@register_model
def glh_tiny(pretrained: bool = False, **kwargs: Any) -> GLHTransformer:
    """GLH-Transformer as in ColorFormer: the widths, depths and heads of Swin-T."""
    args: dict[str, Any] = dict(
        patch_size=4, window_size=7, embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)
    )
    args.update(kwargs)
    out_indices = args.pop('out_indices', (0, 1, 2, 3))
    return build_model_with_cfg(
        GLHTransformer,
        'glh_tiny',
        pretrained,
        feature_cfg=dict(flatten_sequential=True, out_indices=out_indices),
        **args,
    )
