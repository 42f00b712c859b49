"""One optimizer for each network of a system."""

import torch.nn as nn
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

from dualattn.engine import unwrap

__all__ = ['PerNetworkOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PerNetworkOptimWrapperConstructor:
    """Build `optim_wrapper = dict(constructor=..., generator=dict(...), critic=dict(...))`.

    Each entry is named after a child of the system and takes what a single `optim_wrapper` takes.

    Args:
        optim_wrapper_cfg: the entries; one that is None is left out, so that a config can drop an inherited entry.
        paramwise_cfg: not taken here; it belongs into an entry.

    Raises:
        ValueError: `paramwise_cfg` is given, an entry names no child of the system, or a child that can be trained has
            no entry.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        if paramwise_cfg is not None:
            raise ValueError('paramwise_cfg belongs into the entry of a network: optim_wrapper.generator.paramwise_cfg')
        self.entries = {name: entry for name, entry in optim_wrapper_cfg.items() if entry is not None}

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        """Build the wrappers for the children of `model`."""
        model = unwrap(model)
        wrappers = {}
        for name, entry in self.entries.items():
            network = getattr(model, name, None)
            if network is None:
                raise ValueError(f'optim_wrapper names {name!r}, but the system has no such network')
            wrappers[name] = build_optim_wrapper(network, dict(entry))
        forgotten = [
            name
            for name, child in model.named_children()
            if name not in wrappers and any(parameter.requires_grad for parameter in child.parameters())
        ]
        if forgotten:
            raise ValueError(
                f'the system trains {", ".join(forgotten)}, but optim_wrapper has entries for '
                f'{", ".join(wrappers) or "nothing"} alone'
            )
        return OptimWrapperDict(**wrappers)
