"""Losses of the colorizers, registered with mmengine."""

from colorization.losses.colorfulness import ColorfulnessLoss
from colorization.losses.gan import GANLoss, GradientPenalty
from colorization.losses.palette import PaletteLoss
from colorization.losses.perceptual import PerceptualLoss
from colorization.losses.pixel import PixelLoss

__all__ = ['ColorfulnessLoss', 'GANLoss', 'GradientPenalty', 'PaletteLoss', 'PerceptualLoss', 'PixelLoss']
