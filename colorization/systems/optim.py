"""One optimizer for each network of a system."""

from typing import Optional

import torch.nn as nn
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

__all__ = ['PerNetworkOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PerNetworkOptimWrapperConstructor:
    """Build `optim_wrapper = dict(constructor=..., generator=dict(...), critic=dict(...))`.

    Each entry is named after a child of the system and takes what a single `optim_wrapper` takes.

    Args:
        optim_wrapper_cfg: the entries.
        paramwise_cfg: not taken here; it belongs into an entry.

    Raises:
        ValueError: `paramwise_cfg` is given, or an entry names no trainable child of the system.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None):
        if paramwise_cfg is not None:
            raise ValueError('paramwise_cfg belongs into the entry of a network: optim_wrapper.generator.paramwise_cfg')
        self.entries = dict(optim_wrapper_cfg)

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        """Build the wrappers for the children of `model`."""
        model = model.module if is_model_wrapper(model) else model
        wrappers = {}
        for name, entry in self.entries.items():
            network = getattr(model, name, None)
            if network is None:
                raise ValueError(f'optim_wrapper names {name!r}, but the system has no such network')
            wrappers[name] = build_optim_wrapper(network, dict(entry))
        return OptimWrapperDict(**wrappers)
