"""Convolutions that lower the resolution, and the one rule for sides that a stride does not divide."""

import torch.nn as nn
import torch.nn.functional as F
from timm.layers import get_act_layer, get_norm_layer
from timm.models import register_notrace_function
from torch import Tensor

from dualattn.ops.capture import serves_any_size

__all__ = ['ConvStem', 'Downsample', 'pad_to_multiple']


@register_notrace_function  # the padding depends on H and W
def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Append zeros below and on the right until both sides are multiples of a number.

    Args:
        x: (B, C, H, W) float.
        multiple: divisor of both sides of the result.

    Returns:
        (B, C, ceil(H / multiple) * multiple, ceil(W / multiple) * multiple)
    """
    h, w = x.shape[-2:]
    pad_h, pad_w = (h + multiple - 1) // multiple * multiple - h, (w + multiple - 1) // multiple * multiple - w
    if serves_any_size() or pad_h > 0 or pad_w > 0:
        x = F.pad(x, (0, pad_w, 0, pad_h))
    return x


class ConvStem(nn.Module):
    """Two 3x3 convolutions, the first with the stride (S0 of MPT Table VIII).

    Args:
        in_chans: channels of the image.
        out_chans: channels of the result, D of S0.
        stride: stride of the first convolution.
        norm_layer: NCHW normalisation between the two convolutions.
        act_layer: activation between the two convolutions.
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        stride: int = 2,
        norm_layer: str = 'layernorm2d',
        act_layer: str = 'gelu',
        device=None,
        dtype=None,
    ):
        super().__init__()
        dd = {'device': device, 'dtype': dtype}
        self.conv = nn.Conv2d(in_chans, out_chans, kernel_size=3, stride=stride, padding=1, **dd)
        self.norm = get_norm_layer(norm_layer)(out_chans, **dd)
        self.act = get_act_layer(act_layer)()
        self.conv2 = nn.Conv2d(out_chans, out_chans, kernel_size=3, padding=1, **dd)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, in_chans, H, W) float to (B, out_chans, ceil(H / stride), ceil(W / stride))."""
        # NHWC memory from the first convolution on: the normalisation and all that follows would copy otherwise. Not by
        # `memory_format`, which vmap does not take.
        x = self.conv(x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2))
        return self.conv2(self.act(self.norm(x)))


class Downsample(nn.Module):
    """Normalise, then convolve with kernel = stride: the entry of each stage (MPT IV-E).

    Args:
        in_chans: channels of the input.
        out_chans: channels of the output.
        stride: 1 changes the channels alone, as a bird's-eye-view backbone needs it.
        norm_layer: normalisation of the last dimension.
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        stride: int = 2,
        norm_layer: str = 'layernorm',
        device=None,
        dtype=None,
    ):
        super().__init__()
        dd = {'device': device, 'dtype': dtype}
        self.stride = stride
        self.norm = get_norm_layer(norm_layer)(in_chans, **dd)
        self.conv = nn.Conv2d(in_chans, out_chans, kernel_size=stride, stride=stride, **dd)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, H, W, in_chans) float to (B, ceil(H / stride), ceil(W / stride), out_chans)."""
        x = pad_to_multiple(self.norm(x).permute(0, 3, 1, 2), self.stride)
        return self.conv(x).permute(0, 2, 3, 1)
