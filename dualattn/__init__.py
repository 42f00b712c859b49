"""Dual-Attention backbones for timm: `import dualattn` registers every `dualattn_*` model."""

from dualattn import models  # registers with timm

__version__ = '0.1.0'

__all__ = ['models', '__version__']
