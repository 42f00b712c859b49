"""Adversarial losses as one family, and the gradient penalty."""

from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

__all__ = ['GANLoss', 'GradientPenalty']


@MODELS.register_module()
class GANLoss(nn.Module):
    """What critic and generator minimise, given the critic's scores.

    `wgan` is MPT Eq. 14 and 15 (the critic maximises Eq. 14, so its negative is returned), `vanilla` the cross-entropy
    of DDColor 3.4, `hinge` and `lsgan` the usual alternatives.

    Args:
        gan_type: 'wgan', 'vanilla', 'hinge' or 'lsgan'.
        loss_weight: lambda_g of MPT Eq. 16; the critic's own loss is never weighted.

    Raises:
        ValueError: `gan_type` is unknown.
    """

    TYPES = ('wgan', 'vanilla', 'hinge', 'lsgan')

    def __init__(self, gan_type: str = 'wgan', loss_weight: float = 1.0):
        super().__init__()
        if gan_type not in self.TYPES:
            raise ValueError(f'unknown gan_type {gan_type!r}; expected one of {", ".join(self.TYPES)}')
        self.gan_type = gan_type
        self.loss_weight = loss_weight

    def critic_loss(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the critic's loss, a scalar, for scores (B, ...) of true and of generated images."""
        real, fake = real_scores.float(), fake_scores.float()
        if self.gan_type == 'wgan':
            return fake.mean() - real.mean()
        if self.gan_type == 'vanilla':
            return F.softplus(-real).mean() + F.softplus(fake).mean()
        if self.gan_type == 'hinge':
            return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        return (real - 1).square().mean() + fake.square().mean()

    def generator_loss(self, fake_scores: Tensor) -> Tensor:
        """Return the generator's weighted loss, a scalar, for scores (B, ...) of generated images."""
        fake = fake_scores.float()
        if self.gan_type == 'vanilla':
            loss = F.softplus(-fake).mean()
        elif self.gan_type == 'lsgan':
            loss = (fake - 1).square().mean()
        else:
            loss = -fake.mean()
        return self.loss_weight * loss


@MODELS.register_module()
class GradientPenalty(nn.Module):
    """Hold the critic's slope between true and generated images at one (Gulrajani et al. 2017).

    An alternative to the weight clipping of the paper that MPT cites. Computed in float32: a squared gradient norm
    overflows half precision.

    Args:
        loss_weight: factor on (norm - 1) squared.
    """

    def __init__(self, loss_weight: float = 10.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
        """Evaluate the penalty.

        Args:
            critic: maps (B, 3, H, W) images to scores (B, ...).
            real: (B, 3, H, W) float32, sRGB in [0, 1].
            fake: like `real`, detached from the generator.

        Returns:
            A scalar.
        """
        with torch.autocast(real.device.type, enabled=False):
            alpha = torch.rand(real.shape[0], 1, 1, 1, device=real.device)
            mixed = torch.lerp(real.float(), fake.float(), alpha).requires_grad_()
            scores = critic(mixed).flatten(1).mean(dim=1)
            (gradient,) = torch.autograd.grad(scores.sum(), mixed, create_graph=True)
            norm = gradient.flatten(1).norm(dim=1)
            return self.loss_weight * (norm - 1).square().mean()
