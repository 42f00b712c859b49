"""The critic of the adversarial loss."""

from collections.abc import Sequence

import torch.nn as nn
from torch import Tensor

__all__ = ['Critic']


class Critic(nn.Module):
    """Strided convolutions that score how real an image looks, D_w of MPT Eq. 14.

    Instance norm instead of the batch norm of DCGAN: scores must not depend on the other images of a batch, or the
    gradient penalty and training on several machines would change their meaning.

    Args:
        in_chans: channels of the image.
        dims: channels of the strided convolutions.
    """

    def __init__(self, in_chans: int = 3, dims: Sequence[int] = (64, 128, 256, 512)):
        super().__init__()
        layers = [nn.Conv2d(in_chans, dims[0], kernel_size=4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for chans, dim in zip(dims[:-1], dims[1:], strict=True):
            layers += [
                nn.Conv2d(chans, dim, kernel_size=4, stride=2, padding=1),
                nn.InstanceNorm2d(dim, affine=True),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(dims[-1], 1, kernel_size=3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, rgb: Tensor) -> Tensor:
        """Map rgb: (B, 3, H, W) float, sRGB in [0, 1], to scores (B, 1, H/16, W/16), one for each patch."""
        return self.layers(rgb * 2 - 1)
