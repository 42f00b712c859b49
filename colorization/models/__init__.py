"""Networks that map lightness to colour, and the way to rebuild one from its description."""

from typing import Any

import torch.nn as nn

from colorization.models.critic import Critic
from colorization.models.ddcolor import DDColor
from colorization.models.mpt import MPT
from colorization.models.patch_discriminator import PatchDiscriminator

__all__ = ['MPT', 'NETWORKS', 'Critic', 'DDColor', 'PatchDiscriminator', 'build_network', 'describe_network']

# what a weights file may name as its network
NETWORKS = {'MPT': MPT, 'DDColor': DDColor}
# what a training starts from and how it goes; weights hold what it came to, and the files may be gone
_OF_TRAINING = {'encoder_weights', 'norm_eval', 'frozen_modules', 'palette', 'memory'}


def build_network(config: dict[str, Any]) -> nn.Module:
    """Rebuild a colorization network from its description.

    Args:
        config: `type`, one of `NETWORKS`, and keyword arguments of that class.

    Raises:
        ValueError: `type` is missing or unknown.
        TypeError: a keyword is unknown to the network.
    """
    kwargs = dict(config)
    name = kwargs.pop('type', None)
    if name not in NETWORKS:
        raise ValueError(f'unknown network {name!r}; expected one of {", ".join(NETWORKS)}')
    return NETWORKS[name](**kwargs)


def describe_network(generator: dict[str, Any]) -> dict[str, Any]:
    """Return a training config's `model.generator` without what is for training alone: the description of its network.

    Args:
        generator: `type` and keyword arguments of that class.
    """
    return {name: value for name, value in generator.items() if name not in _OF_TRAINING}
