"""Color-Attention: learned queries turn into colour kernels for one image."""

import torch
import torch.nn as nn
from timm.layers import Mlp
from torch import Tensor

__all__ = ['ColorAttentionDecoder', 'ColorAttentionLayer']


class ColorAttentionLayer(nn.Module):
    """Self-attention between queries, cross-attention to the memory, MLP: one repetition of MPT Eq. 8 and 9.

    Residuals and norms follow the standard transformer decoder. The learned queries are added to the queries of the
    cross-attention as well: with Z_0 = 0 and the values of Eq. 8 alone, all K kernels would stay equal for ever.

    Args:
        dim: channels C of queries and memory.
        num_heads: heads of both attentions.
        mlp_ratio: hidden channels of the MLP over `dim`.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden_features=int(dim * mlp_ratio))
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, z: Tensor, queries: Tensor, memory: Tensor) -> Tensor:
        """Refine the kernels.

        Args:
            z: (B, K, C) float, the kernels so far (Z_{L-1}).
            queries: (B, K, C) float, the learned queries (Q_learn).
            memory: (B, H * W, C) float, the upsampled features (Z_memory).

        Returns:
            (B, K, C), Z_L.
        """
        q = z + queries
        z = self.norm1(z + self.self_attn(q, q, z, need_weights=False)[0])
        z = self.norm2(z + self.cross_attn(z + queries, memory, memory, need_weights=False)[0])
        return self.norm3(z + self.mlp(z))


class ColorAttentionDecoder(nn.Module):
    """Stack of Color-Attention layers that builds K colour kernels from the memory (MPT III-C.2).

    Args:
        dim: channels C of the memory.
        num_queries: number of colour kernels, K.
        depth: repetitions of Eq. 8 and 9, L5.
        num_heads: heads of the attentions.
        mlp_ratio: hidden channels of each MLP over `dim`.
    """

    def __init__(
        self,
        dim: int = 256,
        num_queries: int = 150,
        depth: int = 6,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
    ):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_queries, dim))
        self.layers = nn.ModuleList(ColorAttentionLayer(dim, num_heads, mlp_ratio) for _ in range(depth))

    def forward(self, memory: Tensor) -> Tensor:
        """Map memory: (B, C, H, W) float to the colour kernels (B, K, C)."""
        queries = self.queries.expand(memory.shape[0], -1, -1)
        memory = memory.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H * W, C)
        z = queries.new_zeros(queries.shape)  # Z_0
        for layer in self.layers:
            z = layer(z, queries, memory)
        return z
