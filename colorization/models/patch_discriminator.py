"""The PatchGAN discriminator of the released DDColor."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ['PatchDiscriminator']


class PositionAttention(nn.Module):
    """Self-attention between all positions of a map, added with a gain that starts at zero (SAGAN, Zhang et al. 2019).

    Args:
        dim: channels of the map; queries and keys have an eighth of them.
    """

    def __init__(self, dim: int):
        super().__init__()

        def project(out_chans: int) -> nn.Module:
            conv = nn.Conv1d(dim, out_chans, kernel_size=1, bias=False)
            nn.init.kaiming_normal_(conv.weight)
            return spectral_norm(conv)

        self.query, self.key, self.value = project(dim // 8), project(dim // 8), project(dim)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, dim, H, W) float to the same shape."""
        flat = x.flatten(2)
        query, key, value = (  # (B, C, N) -> (B, 1, N, C)
            layer(flat).transpose(1, 2)[:, None] for layer in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.gain * attended[:, 0].transpose(1, 2).reshape(x.shape)


class PatchDiscriminator(nn.Module):
    """Strided convolutions under spectral norm that judge patches of an image (DDColor 3.4; Isola et al. 2017).

    The structure is the released one: four halvings with plain convolutions between them, ReLU, and self-attention at
    a quarter of the resolution.

    Args:
        in_chans: channels of the image.
        dim: channels after the first halving; each further one doubles them.
        num_blocks: halvings behind the first.
    """

    def __init__(self, in_chans: int = 3, dim: int = 64, num_blocks: int = 3):
        super().__init__()

        def conv(chans: int, out_chans: int, kernel_size: int, **kwargs) -> nn.Module:
            layer = nn.Conv2d(chans, out_chans, kernel_size, **kwargs)
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            return spectral_norm(layer)

        layers = [conv(in_chans, dim, 4, stride=2, padding=1), nn.ReLU()]
        for block in range(num_blocks):
            layers += [conv(dim, dim, 3, padding=1), nn.ReLU(), conv(dim, 2 * dim, 4, stride=2, padding=1), nn.ReLU()]
            dim *= 2
            if block == 0:
                layers.append(PositionAttention(dim))
        layers += [conv(dim, dim, 3, padding=1), nn.ReLU(), conv(dim, 1, 4, bias=False)]
        self.layers = nn.Sequential(*layers)

    def forward(self, rgb: Tensor) -> Tensor:
        """Map rgb: (B, 3, H, W) float, sRGB in [0, 1], to scores (B, 1, H/16 - 3, W/16 - 3), one for each patch."""
        return self.layers(rgb)
