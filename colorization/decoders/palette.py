"""The palette head: a distribution over fixed colours in place of the last convolution of MPT."""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn as nn
from torch import Tensor

__all__ = ['PaletteHead', 'has_palette', 'require_palette']

MAX_LOSS = 4.0  # of chroma by averaging; beyond it the mean has no hue worth showing


class PaletteHead(nn.Module):
    """Read K colour maps (MPT Eq. 10) as a distribution over K fixed colours, and answer with its mean.

    z = maps / sqrt(C) + b, p = softmax(z / T) over K, ab = gain * f * sum_k p_k c_k. Where Eq. 11 mixes the maps by a
    1x1 convolution, and so learns the mean of all that is plausible, which is brown, this head learns how plausible
    each colour is; the temperature T then decides between their mean (1) and the most plausible one (towards 0).

    The mean of unlike colours is paler than each of them, and f = (sum_k p_k |c_k| / |sum_k p_k c_k|)^recovery, the
    fraction at most 4, gives part of that back: nothing where the network is sure, as of skin, and most where it
    doubts. A temperature above the head's own, which asks for paler colours, takes the recovery back by its ratio.

    Args:
        dim: channels C of the memory and of the kernels whose products the maps are.
        num_colors: number of colours, K.
        temperature: T of `forward`.
        gain: factor on every colour alike.
        recovery: share of the chroma that the mean loses which is given back: 0 none, 1 all.

    Attributes:
        colors: (K, 2) float, the colours c_k in Lab units; zeros until `set_palette` or weights bring them.
        frequencies: (K,) float, share of each colour in photographs, the sum 1.

    Raises:
        ValueError: the temperature or the gain is not a number above 0, or the recovery is outside of [0, 1].
    """

    colors: Tensor
    frequencies: Tensor

    def __init__(self, dim: int, num_colors: int, temperature: float = 1.0, gain: float = 1.0, recovery: float = 0.0):
        super().__init__()
        self.scale = dim**-0.5
        self.temperature = check_positive('temperature', temperature)
        self.gain = check_positive('gain', gain)
        if not 0 <= recovery <= 1:
            raise ValueError(f'the recovery has to be from 0 to 1, got {recovery}')
        self.recovery = float(recovery)
        self.bias = nn.Parameter(torch.zeros(num_colors))
        self.register_buffer('colors', torch.zeros(num_colors, 2))
        self.register_buffer('frequencies', torch.full((num_colors,), 1 / num_colors))

    @torch.no_grad()
    def set_palette(self, colors: Sequence[Sequence[float]], frequencies: Sequence[float]) -> None:
        """Take the colours over, and start each with its frequency: before training, every pixel has the average.

        Args:
            colors: K pairs (a, b) in Lab units.
            frequencies: K shares above 0; their sum is made 1.

        Raises:
            ValueError: their number is not K.
        """
        palette, shares = torch.tensor(colors), torch.tensor(frequencies)
        if palette.shape != self.colors.shape or shares.shape != self.frequencies.shape:
            raise ValueError(
                f'the palette has {len(colors)} colours and {len(frequencies)} frequencies, the head has '
                f'{len(self.colors)}; make num_queries equal to the number of colours'
            )
        self.colors.copy_(palette)
        self.frequencies.copy_(shares / shares.sum())
        self.bias.copy_(self.frequencies.log())

    def score(self, maps: Tensor) -> Tensor:
        """Return z, (B, K, H, W) float32, for maps (B, K, H, W) float."""
        return maps.float() * self.scale + self.bias.float()[:, None, None]

    def mix(self, z: Tensor, temperature: float | None = None) -> Tensor:
        """Return the mean colour (B, 2, H, W) in Lab units of scores z (B, K, H, W), with its chroma recovered.

        Args:
            z: what `score` returns.
            temperature: T; None takes the head's own.

        Raises:
            ValueError: the temperature is not a number above 0.
        """
        temperature = self.temperature if temperature is None else check_positive('temperature', temperature)
        shares, colors = (z / temperature).softmax(dim=1), self.colors.to(z.dtype)
        mean = torch.einsum('bkhw,kc->bchw', shares, colors)
        recovery = self.recovery * min(1.0, self.temperature / temperature)
        if recovery == 0:
            return self.gain * mean
        # squares, since the root of a length has no derivative at gray
        chroma = torch.einsum('bkhw,k->bhw', shares, colors.square().sum(dim=1).sqrt())[:, None]
        loss = chroma.square() / mean.square().sum(dim=1, keepdim=True).clamp_min(1e-4)
        return self.gain * mean * loss.clamp(1, MAX_LOSS**2) ** (recovery / 2)

    def forward(self, maps: Tensor) -> Tensor:
        """Map the colour maps (B, K, H, W) float to ab (B, 2, H, W) in Lab units."""
        return self.mix(self.score(maps))


def check_positive(name: str, value: float) -> float:
    """Return a temperature or gain that can be used.

    Raises:
        ValueError: it is not a number above 0.
    """
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f'the {name} has to be a number above 0, got {value}')
    return float(value)


def has_palette(network: nn.Module) -> bool:
    """Tell whether a network scores the colours of a palette, so that it has a temperature, variants and doubt."""
    return isinstance(getattr(network, 'to_ab', None), PaletteHead)


def require_palette(network: nn.Module) -> PaletteHead:
    """Return the palette head of a network.

    Raises:
        TypeError: it has none.
    """
    if not has_palette(network):
        name = type(network).__name__
        raise TypeError(f'this {name} has no palette head, so that it knows one version alone and tells no doubt')
    return cast(PaletteHead, network.to_ab)
