"""What a colorization network sees with: feature pyramids of timm models, with weights from files."""

from colorization.encoders.pyramid import PYRAMID_STRIDES, PyramidEncoder

__all__ = ['PYRAMID_STRIDES', 'PyramidEncoder']
