"""Distance of predicted and true colour, pixel by pixel."""

import torch.nn as nn
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

__all__ = ['PixelLoss']


@MODELS.register_module()
class PixelLoss(nn.Module):
    """L1 distance on ab (MPT Eq. 12), the mean over pixels and both channels.

    Args:
        loss_weight: lambda_pix of MPT Eq. 16.
    """

    def __init__(self, loss_weight: float = 0.1):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, pred_ab: Tensor, ab: Tensor) -> Tensor:
        """Compare pred_ab and ab, both (B, 2, H, W) float in Lab units; return a scalar."""
        return self.loss_weight * F.l1_loss(pred_ab.float(), ab.float())
