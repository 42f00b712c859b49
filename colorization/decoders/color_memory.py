"""CM, the colour memory of ColorFormer (Ji et al., ECCV 2022), in the place of Color-Attention: MPT Table II."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor

__all__ = ['ColorMemoryDecoder']

LEVELS = 256  # whole numbers that a and b have, from -128 to 127


class ColorMemoryDecoder(nn.Module):
    """A memory of M meanings, each with some colours that photographs have there, which every place reads.

    MPT tells the name alone. This follows the description of ColorFormer's authors, written anew: a place asks by its
    feature, the meanings answer (softmax over M, not scaled), and the mean of their colours is joined to the feature by
    an MLP and a 1x1 convolution. Which of a meaning's colours is taken, the whole image decides, by weights from the
    coarsest map of the encoder. The memory itself is made beforehand by `dualattn memory` and is not trained; until one
    is set or loaded, it is random.

    Args:
        dim: channels C of the map.
        coarse_dim: channels of the encoder's coarsest map.
        num_meanings: entries of the memory, M.
        meaning_dim: numbers that describe a meaning.
        num_colors: colours of each entry.
        embed_dim: channels in which questions and meanings are compared.
        color_dim: channels of an embedded colour.

    Attributes:
        is_random: no memory was set yet.
    """

    meanings: Tensor
    colors: Tensor

    def __init__(
        self,
        dim: int,
        coarse_dim: int,
        num_meanings: int = 512,
        meaning_dim: int = 64,
        num_colors: int = 4,
        embed_dim: int = 512,
        color_dim: int = 256,
    ):
        super().__init__()
        self.is_random = True
        self.register_buffer('meanings', torch.randn(num_meanings, meaning_dim))
        self.register_buffer('colors', 30 * torch.randn(num_colors, num_meanings, 2))
        self.ask_norm = nn.LayerNorm(dim)
        self.ask = nn.Linear(dim, embed_dim)
        self.answer = nn.Linear(meaning_dim, embed_dim)
        self.a_embed, self.b_embed = nn.Embedding(LEVELS, color_dim), nn.Embedding(LEVELS, color_dim)
        self.color_embeds = nn.ModuleList(nn.Linear(2 * color_dim, color_dim) for _ in range(num_colors))
        self.choice = nn.Sequential(nn.LayerNorm(coarse_dim), nn.Linear(coarse_dim, num_colors))
        self.norm1 = nn.LayerNorm(dim + color_dim)
        self.mlp = Mlp(dim + color_dim)
        self.norm2 = nn.LayerNorm(dim + color_dim)
        self.join = nn.Linear(dim + color_dim, dim)

    def set_memory(self, meanings: Tensor, colors: Tensor) -> None:
        """Take a memory.

        Args:
            meanings: (M, meaning_dim) float.
            colors: (num_colors, M, 2) float, a and b in Lab units.

        Raises:
            ValueError: it has other sizes than this decoder.
        """
        for name, value in (('meanings', meanings), ('colors', colors)):
            buffer = getattr(self, name)
            if value.shape != buffer.shape:
                raise ValueError(
                    f'the memory has {name} of {tuple(value.shape)}, the network {tuple(buffer.shape)}: make the '
                    'memory with the same numbers'
                )
            buffer.copy_(value)
        self.is_random = False

    def forward(self, memory: Tensor, coarse: Tensor) -> Tensor:
        """Join colours to a map.

        Args:
            memory: (B, C, H, W) float, Z_memory.
            coarse: (B, coarse_dim, h, w) float, the encoder's coarsest map.

        Returns:
            (B, C, H, W).
        """
        x = memory.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H * W, C)
        shares = self.choice(coarse.mean(dim=(2, 3))).softmax(dim=1)  # (B, num_colors)
        places = (self.colors.round() + LEVELS // 2).clamp(0, LEVELS - 1).long()
        embedded = torch.cat([self.a_embed(places[..., 0]), self.b_embed(places[..., 1])], dim=-1)
        colors = torch.stack([embed(each) for embed, each in zip(self.color_embeds, embedded, strict=True)])
        values = torch.einsum('bn,nmc->bmc', shares.to(colors.dtype), colors)
        keys = self.answer(self.meanings).expand(len(x), -1, -1)
        prior = F.scaled_dot_product_attention(self.ask(self.ask_norm(x)), keys, values, scale=1.0)
        x = self.norm1(torch.cat([x, prior], dim=2))
        x = self.join(self.norm2(x + self.mlp(x)))
        return x.transpose(1, 2).unflatten(2, memory.shape[-2:])
