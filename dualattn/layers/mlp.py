"""The MLP of a residual block."""

import torch
from timm.layers import Mlp
from timm.models import register_notrace_module
from torch import Tensor

__all__ = ['PiecewiseMlp']


@register_notrace_module  # the pieces depend on H and W
class PiecewiseMlp(Mlp):
    """timm's Mlp on (..., C) tokens, which a CPU computes piece by piece where no gradient is wanted.

    The hidden map, `mlp_ratio` times as large as the input, then never leaves the cache: on a CPU, writing it costs as
    much time as the matrix products, and it is the largest tensor of an inference. Half precision stays whole: its map
    is half as large, and small products cost it more.
    """

    def __init__(self, in_features: int, hidden_features: int, **kwargs):
        super().__init__(in_features, hidden_features, **kwargs)
        # tokens at a time: 1 MiB of hidden float32 values, which the second-level cache of a core holds
        self.rows = max(1, 2**18 // hidden_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (..., C) float to the same shape."""
        if (
            torch.jit.is_scripting()
            or torch.jit.is_tracing()
            or torch.compiler.is_compiling()
            or torch.is_grad_enabled()
            or x.device.type != 'cpu'
            or x.element_size() < 4
            or x.numel() // x.shape[-1] <= self.rows
        ):
            return self.fc2(self.act(self.fc1(x)))
        return self._forward_pieces(x)

    @torch.jit.ignore
    def _forward_pieces(self, x: Tensor) -> Tensor:
        first, *others = x.reshape(-1, x.shape[-1]).split(self.rows)
        head = self.fc2(self.act(self.fc1(first)))
        # of the first result's kind: under vmap with mapped weights, of an ensemble, it is mapped where x is not
        out = head.new_empty(x.shape[:-1].numel(), head.shape[-1])
        targets = out.split(self.rows)
        targets[0].copy_(head)
        for source, target in zip(others, targets[1:], strict=True):
            target.copy_(self.fc2(self.act(self.fc1(source))))
        return out.view(*x.shape[:-1], head.shape[-1])
