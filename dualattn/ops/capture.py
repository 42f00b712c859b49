"""Whether a graph is being made that has to serve maps of other sizes than the example it is made from.

A decision that depends on a side of the map, as whether it needs padding, would be frozen into such a graph. In
TorchScript, which keeps decisions, there is nothing to ask.
"""

import torch

__all__ = ['is_exporting', 'serves_any_size']


@torch.compiler.assume_constant_result  # inside a function that torch.compile traces, torch's is always True
def is_exporting() -> bool:
    """Tell whether torch.export is at work, alone or for torch.onnx; a side may then be a symbol."""
    return torch.compiler.is_exporting()


def serves_any_size() -> bool:
    """Tell whether torch.jit.trace, torch.export or an ONNX exporter is at work: what pads then pads always."""
    if not torch.jit.is_scripting():
        return torch.jit.is_tracing() or is_exporting()
    return False
