"""DDColor's color decoder: learned queries gather colours from maps at several scales."""

import math
from collections.abc import Sequence

import torch
import torch.nn as nn
from timm.layers import Mlp
from torch import Tensor

__all__ = ['ColorQueryDecoder', 'ColorQueryLayer', 'QueryAttention', 'sine_positions']

ATTN_TYPES = ('cross', 'self')


def sine_positions(height: int, width: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Encode the position of each pixel of a map as sines and cosines of geometric wavelengths, as DETR does.

    Rows and columns are counted from 1 and scaled to (0, 2 pi], so that maps of other sizes cover the same range.

    Args:
        height: rows of the map.
        width: columns of the map.
        dim: channels, a multiple of 4: the first half tells the row, the second the column.
        device: where the result is made.

    Returns:
        (height * width, dim) float32.

    Raises:
        ValueError: `dim` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f'positions need a multiple of 4 channels, got {dim}')
    exponent = torch.arange(0, dim // 2, 2, dtype=torch.float32, device=device) / (dim // 2)
    frequency = 10000**-exponent  # (dim / 4,)

    def encode(length: int) -> Tensor:
        position = torch.arange(1, length + 1, dtype=torch.float32, device=device) * (2 * math.pi / (length + 1e-6))
        angle = position[:, None] * frequency
        return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)  # sine and cosine alternate

    rows = encode(height)[:, None].expand(-1, width, -1)
    columns = encode(width)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)  # (H, W, dim) -> (H * W, dim)


class QueryAttention(nn.Module):
    """Attention of the queries to a map ('cross', DDColor Eq. 1) or to each other ('self', Eq. 2), residual, norm.

    Args:
        attn_type: 'cross' or 'self'.
        dim: channels of queries and map.
        num_heads: heads.
    """

    def __init__(self, attn_type: str, dim: int, num_heads: int):
        super().__init__()
        self.attn_type = attn_type
        self.attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def forward(self, z: Tensor, query_embed: Tensor, keys: Tensor | None, values: Tensor | None) -> Tensor:
        """Refine the colour embeddings.

        Args:
            z: (B, K, C) float, the colour embeddings so far.
            query_embed: (K, C) float, what tells the queries apart; added to them, not to the result.
            keys: (B, H * W, C) float, the map with positions; unused by 'self'.
            values: (B, H * W, C) float, the map; unused by 'self'.

        Returns:
            (B, K, C).
        """
        queries = z + query_embed
        if self.attn_type == 'self':
            keys, values = queries, z
        return self.norm(z + self.attn(queries, keys, values, need_weights=False)[0])


class ColorQueryLayer(nn.Module):
    """Color decoder block: attentions in the given order, then an MLP (DDColor Eq. 1 to 4).

    The norms follow the residuals, as in the released network; the paper writes them in front.

    Args:
        dim: channels of queries and maps.
        num_heads: heads of the attentions.
        mlp_ratio: hidden channels of the MLP over `dim`.
        attn_types: the attentions, each 'cross' or 'self' (DDColor Table 2c).
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, attn_types: Sequence[str]):
        super().__init__()
        self.attentions = nn.ModuleList(QueryAttention(attn_type, dim, num_heads) for attn_type in attn_types)
        self.mlp = Mlp(dim, hidden_features=int(dim * mlp_ratio), act_layer=nn.ReLU)
        self.norm = nn.LayerNorm(dim)

    def forward(self, z: Tensor, query_embed: Tensor, keys: Tensor | None, values: Tensor | None) -> Tensor:
        """Refine the colour embeddings z: (B, K, C); see `QueryAttention` for the arguments."""
        for attention in self.attentions:
            z = attention(z, query_embed, keys, values)
        return self.norm(z + self.mlp(z))


class ColorQueryDecoder(nn.Module):
    """Color decoder: blocks that visit maps of several scales in turn (DDColor 3.2.2, Eq. 5).

    Args:
        in_chans: channels of the maps; as many maps as entries.
        dim: channels C of the colour embeddings.
        num_queries: number of colour queries, K.
        depth: number of blocks, 3M in the paper; block i reads map i modulo the number of maps.
        num_heads: heads of the attentions.
        mlp_ratio: hidden channels of the MLPs over `dim`.
        attn_types: the attentions of each block, in their order; without 'cross' the maps are not read at all.
        learn_query_features: the embeddings start from learned values, as in the released network, instead of the
            zeros of the paper.

    Raises:
        ValueError: no map, or an attention that is neither 'cross' nor 'self'.
    """

    def __init__(
        self,
        in_chans: Sequence[int],
        dim: int = 256,
        num_queries: int = 100,
        depth: int = 9,
        num_heads: int = 8,
        mlp_ratio: float = 8.0,
        attn_types: Sequence[str] = ('cross', 'self'),
        learn_query_features: bool = True,
    ):
        super().__init__()
        if not attn_types or any(attn_type not in ATTN_TYPES for attn_type in attn_types):
            raise ValueError(f"attn_types takes 'cross' and 'self', got {list(attn_types)}")
        if not in_chans:
            raise ValueError('the color decoder needs at least one map')
        self.query_embed = nn.Parameter(torch.randn(num_queries, dim))
        self.register_parameter(
            'query_features', nn.Parameter(torch.randn(num_queries, dim)) if learn_query_features else None
        )
        # nothing that stays without a gradient, which distributed training would wait for
        self.reads_maps = 'cross' in attn_types
        if self.reads_maps:
            self.level_embed = nn.Parameter(torch.randn(len(in_chans), dim))
            self.projections = nn.ModuleList(nn.Conv2d(chans, dim, kernel_size=1) for chans in in_chans)
        self.layers = nn.ModuleList(ColorQueryLayer(dim, num_heads, mlp_ratio, attn_types) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self._init_weights()

    def _init_weights(self) -> None:
        for parameter in self.layers.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        if self.reads_maps:
            for projection in self.projections:
                nn.init.kaiming_uniform_(projection.weight, a=1)
                nn.init.zeros_(projection.bias)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map maps: (B, in_chans[i], H_i, W_i) float to the colour embeddings E_c (B, K, C)."""
        z = torch.zeros_like(self.query_embed) if self.query_features is None else self.query_features
        z = z.expand(maps[0].shape[0], -1, -1)
        memories = self._embed(maps) if self.reads_maps else [(None, None)]
        for i, layer in enumerate(self.layers):
            keys, values = memories[i % len(memories)]
            z = layer(z, self.query_embed, keys, values)
        return self.head(self.norm(z))

    def _embed(self, maps: list[Tensor]) -> list[tuple]:
        """Return keys and values (B, H_i * W_i, C) of each map."""
        memories = []
        for x, projection, level in zip(maps, self.projections, self.level_embed, strict=True):
            values = projection(x).flatten(2).transpose(1, 2) + level  # (B, C, H, W) -> (B, H * W, C)
            height, width = x.shape[-2:]
            positions = sine_positions(height, width, values.shape[-1], values.device)
            memories.append((values + positions.to(values.dtype), values))
        return memories
