"""Networks inside the wrappers of distributed training."""

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

__all__ = ['unwrap']


def unwrap(module: nn.Module) -> nn.Module:
    """Return what wrappers of distributed training and of test-time augmentation hold, or the module itself."""
    while is_model_wrapper(module) or isinstance(module, BaseTTAModel):
        module = getattr(module, 'module')  # noqa: B009 (torch: tensor or module)
    return module
