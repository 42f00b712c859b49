"""Networks inside the wrappers of distributed training."""

from mmengine.model import is_model_wrapper
from torch import nn

__all__ = ['unwrap']


def unwrap(module: nn.Module) -> nn.Module:
    """Return what a wrapper of distributed training holds, or the module itself."""
    return getattr(module, 'module') if is_model_wrapper(module) else module  # noqa: B009 (torch: tensor or module)
