"""How well a distribution over the colours of a palette foresees the true colour."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

__all__ = ['PaletteLoss']


@MODELS.register_module()
class PaletteLoss(nn.Module):
    """Cross-entropy between the true colour, shared among near colours of the palette, and the predicted distribution.

    The true ab, averaged over the pixels of one place, belongs to colour k by exp(-|ab - c_k|^2 / (2 sigma^2)), made to
    sum to 1. A place counts 1 / ((1 - mixing) q + mixing / K) by the frequency q of its nearest colour, scaled so that
    the mean over photographs is 1: else gray and brown, which most pixels are, would be all that is learned (the
    rebalancing of Zhang et al. 2016, "Colorful Image Colorization", section 2.2).

    Args:
        sigma: reach of a true colour in Lab units.
        mixing: share of the uniform distribution in the weights; 1 weighs every place alike.
        loss_weight: factor on the loss.

    Raises:
        ValueError: sigma is not above 0, or mixing is outside of (0, 1].
    """

    def __init__(self, sigma: float = 5.0, mixing: float = 0.5, loss_weight: float = 1.0):
        super().__init__()
        if not sigma > 0:
            raise ValueError(f'sigma has to be above 0, got {sigma}')
        if not 0 < mixing <= 1:
            raise ValueError(f'mixing has to be in (0, 1], got {mixing}')
        self.sigma = sigma
        self.mixing = mixing
        self.loss_weight = loss_weight

    def forward(self, scores: Tensor, ab: Tensor, colors: Tensor, frequencies: Tensor) -> Tensor:
        """Compare scores and colours.

        Args:
            scores: (B, K, h, w) float, logits of the distribution.
            ab: (B, 2, H, W) float in Lab units, H and W about s times h and w.
            colors: (K, 2) float, the palette in Lab units.
            frequencies: (K,) float, share of each colour, the sum 1.

        Returns:
            A scalar.
        """
        with torch.no_grad():
            colors, frequencies = colors.float(), frequencies.float()
            ab = F.adaptive_avg_pool2d(ab.float(), scores.shape[-2:])
            places = ab.permute(0, 2, 3, 1).flatten(0, 2)  # (B, 2, h, w) -> (B * h * w, 2)
            distance = torch.cdist(places, colors, compute_mode='donot_use_mm_for_euclid_dist').square()
            target = (-distance / (2 * self.sigma**2)).softmax(dim=1)
            weights = 1 / ((1 - self.mixing) * frequencies + self.mixing / len(frequencies))
            weights = (weights / (weights * frequencies).sum())[distance.argmin(dim=1)]
        scores = scores.float().permute(0, 2, 3, 1).flatten(0, 2)  # (B, K, h, w) -> (B * h * w, K)
        return self.loss_weight * (weights * F.cross_entropy(scores, target, reduction='none')).mean()
