"""What papers count when they give the FLOPs of a colorizer: its generator, on a lightness map of 256 x 256."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

__all__ = ['count_colorizer']


def count_colorizer(cfg: Config, name: str) -> tuple[nn.Module, list[int], str] | None:
    """Build the network of a colorizer's config.

    Returns:
        The network, the shape (C, H, W) of its input, and its name in the papers; None if `cfg` is of another kind.
    """
    if 'generator' not in cfg.get('model', {}):
        return None
    from colorization.models import build_network, describe_network

    return build_network(describe_network(cfg.model.generator.to_dict())), [1, 256, 256], name
