"""Image transforms of the data sets: torchvision's own as `torchvision/Resize` etc., and DDColor's colour enhancement.

Each takes and returns a (3, H, W) uint8 RGB tensor.
"""

from collections.abc import Sequence

import torch
from mmengine.registry import TRANSFORMS
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

# Registered with a prefix, as mmpretrain does: mmcv owns `Resize`, `CenterCrop`, ... in the same registry, for NumPy
# images. A dot would not do, since mmengine reads the part in front of it as the name of a library's registry.
for _name, _value in vars(v2).items():
    if isinstance(_value, type) and issubclass(_value, v2.Transform) and _value is not v2.Transform:
        TRANSFORMS.register_module(name=f'torchvision/{_name}', module=_value)


def describe_preparation(steps: Sequence[torch.nn.Module]) -> str:
    """Say in words how images are brought to size, for a log: 'squeezed to 256 x 256 (bilinear, antialiased)'."""
    parts = []
    for step in steps:
        if isinstance(step, v2.Resize):
            mode = getattr(step.interpolation, 'value', step.interpolation)  # a string from torchvision 0.29 on
            how = f'({mode}{", antialiased" if step.antialias else ""})'
            sides = list(step.size)  # torchvision makes a list of an int too: the shorter side
            parts.append(
                f'short side resized to {sides[0]} {how}'
                if len(sides) == 1
                else f'squeezed to {sides[1]} x {sides[0]} {how}'
            )
        elif isinstance(step, v2.CenterCrop):
            height, width = step.size
            parts.append(f'centre crop {width} x {height}')
        else:
            parts.append(str(step))
    return ', '.join(parts) or 'as they are'


@TRANSFORMS.register_module()
class ColorEnhance(torch.nn.Module):
    """Make the colours of a training image more vivid (DDColor, code of the data set: `color_enhance_factor`).

    The image is moved away from its own gray version by `factor`: `factor * rgb + (1 - factor) * gray`, clipped to the
    8-bit range, which is torchvision's saturation adjustment. It counters the desaturation that a regression loss
    brings.

    Args:
        factor: 1 leaves the image as it is, 0 gives gray, 1.2 is DDColor's value.
        prob: probability that an image is changed at all.

    Raises:
        ValueError: `factor` is negative, or `prob` is no probability.
    """

    def __init__(self, factor: float = 1.2, prob: float = 1.0):
        super().__init__()
        if factor < 0:
            raise ValueError(f'ColorEnhance needs factor >= 0, got {factor}.')
        if not 0 <= prob <= 1:
            raise ValueError(f'ColorEnhance needs prob in [0, 1], got {prob}.')
        self.factor = factor
        self.prob = prob

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """Enhance `rgb`: (3, H, W) uint8 in [0, 255] -> the same shape and range."""
        # The number is drawn in any case, so that the draws of later transforms do not depend on `prob`.
        if torch.rand(()) >= self.prob:
            return rgb
        return functional.adjust_saturation(rgb, self.factor)
