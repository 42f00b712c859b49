"""Models that register themselves with timm."""

from dualattn.models.dualattn import DualAttn

__all__ = ['DualAttn']
