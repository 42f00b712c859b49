"""How many batches make one update."""

from mmengine.optim import OptimWrapper, OptimWrapperDict

__all__ = ['list_accumulation']


def list_accumulation(optim_wrapper: OptimWrapper | OptimWrapperDict) -> list[tuple[OptimWrapper, int]]:
    """List each optimizer's wrapper with the number of batches whose gradients one of its updates averages."""
    wrappers = optim_wrapper.values() if isinstance(optim_wrapper, OptimWrapperDict) else [optim_wrapper]
    return [(wrapper, wrapper._accumulative_counts) for wrapper in wrappers]  # mmengine has no public name for it
