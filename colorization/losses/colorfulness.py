"""Reward for colourful pictures."""

import torch
import torch.nn as nn
from mmengine.registry import MODELS
from torch import Tensor

from colorization.metrics.colorfulness import colorfulness

__all__ = ['ColorfulnessLoss']


@MODELS.register_module()
class ColorfulnessLoss(nn.Module):
    """One minus a hundredth of the colourfulness of each picture (DDColor Eq. 8), the mean over the batch.

    The public code differs in two factors: its colourfulness is that of RGB in [0, 1], divided by 1 instead of 100, and
    it adds up the pictures of a GPU, four in the published training. So its gradient was 100 / 255 * 4 = 1.6 times this
    one's.

    Args:
        loss_weight: lambda_col of DDColor Eq. 9.
        absolute: the variant of colourfulness of the public code and of the papers' tables; False takes the definition,
            see `colorization.metrics.colorfulness`.
    """

    def __init__(self, loss_weight: float = 0.5, absolute: bool = True):
        super().__init__()
        self.loss_weight = loss_weight
        self.absolute = absolute

    def forward(self, pred_rgb: Tensor) -> Tensor:
        """Evaluate pred_rgb: (B, 3, H, W) float, sRGB in [0, 1]; return a scalar. A gray picture has no gradient."""
        with torch.autocast(pred_rgb.device.type, enabled=False):
            return self.loss_weight * (1 - colorfulness(pred_rgb, self.absolute).float() / 100).mean()
