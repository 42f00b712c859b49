"""Metrics of colourised images; importing this registers them with mmengine."""

from colorization.metrics.colorfulness import Colorfulness, MeanChroma, colorfulness
from colorization.metrics.fid import FID
from colorization.metrics.psnr import PSNR, psnr

__all__ = ['FID', 'PSNR', 'Colorfulness', 'MeanChroma', 'colorfulness', 'psnr']
