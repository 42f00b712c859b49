"""The semantic encoder: the maps at strides 4, 8, 16 and 32 of any timm model."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from timm.models import is_model_in_modules
from timm.utils import freeze
from torch import Tensor

from colorization.encoders.trunks import create_trunk

__all__ = ['PYRAMID_STRIDES', 'PyramidEncoder']

PYRAMID_STRIDES = (4, 8, 16, 32)
# families that timm builds for one size unless told otherwise
_FIXED_SIZE = {'swin_transformer', 'swin_transformer_v2', 'glh'}
# families that round sizes down, or refuse those that their stem does not divide, and that take a padded image instead
_PADDED = {*_FIXED_SIZE, 'twins'}


class PyramidEncoder(nn.Module):
    """A timm feature pyramid with a norm on each of its four maps (MPT Eq. 1, DDColor 3.1).

    Swin and Twins see an image padded to multiples of 32 by its last row and column, and their maps are cropped, so
    that they take any size as the others do.

    Args:
        name: a timm model name: dualattn_*, convnext_*, swin_*, ...
        in_chans: channels of the input.
        weights: a file of classification weights, or `package:NAME`; None leaves the trunk untrained.
        norm_eval: keep the trunk's batch norms at their running statistics while training, as small batches need it.
        frozen_modules: parts of the trunk that are not trained, by timm's names (`conv_stem`, `blocks.0`): what has
            learned enough costs no backward pass.
        trunk_kwargs: keyword arguments of the timm model, for example `attn_types` or `drop_path_rate`; one that the
            model does not know raises there.

    Attributes:
        chans: channels of the four maps, finest first.

    Raises:
        AttributeError: the trunk has no module of a frozen name.
        ValueError: the model has no map at one of the four strides.
    """

    def __init__(
        self,
        name: str,
        in_chans: int = 1,
        weights: str | None = None,
        norm_eval: bool = False,
        frozen_modules: Sequence[str] = (),
        trunk_kwargs: dict | None = None,
    ):
        super().__init__()
        self.name = name
        self.norm_eval = norm_eval
        trunk_kwargs = dict(trunk_kwargs or {})
        if is_model_in_modules(name, _FIXED_SIZE):
            trunk_kwargs.setdefault('strict_img_size', False)
        self.multiple = PYRAMID_STRIDES[-1] if is_model_in_modules(name, _PADDED) else 1
        self.trunk = create_trunk(name, weights, in_chans=in_chans, **trunk_kwargs)
        if frozen_modules:  # timm takes no names for all; its frozen batch norm would rename the tensors
            freeze(self.trunk, list(frozen_modules), include_bn_running_stats=False)
        feature_info: Any = self.trunk.feature_info
        reductions = feature_info.reduction()
        missing = [stride for stride in PYRAMID_STRIDES if stride not in reductions]
        if missing:
            raise ValueError(f'an encoder needs maps at strides {PYRAMID_STRIDES}; {name} has {reductions}')
        self.indices = [reductions.index(stride) for stride in PYRAMID_STRIDES]
        self.chans = [feature_info.channels()[i] for i in self.indices]
        # Swin and its like hand out NHWC; everything behind this class is NCHW
        self.channels_last_trunk = getattr(self.trunk, 'output_fmt', 'NCHW') == 'NHWC'
        self.norms = nn.ModuleList(LayerNorm2d(chans) for chans in self.chans)

    def train(self, mode: bool = True) -> 'PyramidEncoder':
        """Switch the mode, but leave batch norms in evaluation mode under `norm_eval`."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.trunk.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map an image to its pyramid.

        Args:
            x: (B, in_chans, H, W) float.

        Returns:
            Four (B, chans[i], ceil(H / stride), ceil(W / stride)) maps, finest first.

        Raises:
            ValueError: the model rounds sizes down, and one of the strides does not divide H or W.
        """
        height, width = x.shape[-2:]
        if self.multiple > 1:
            right, below = ((self.multiple - side % self.multiple) % self.multiple for side in (width, height))
            x = F.pad(x, (0, right, 0, below), mode='replicate')
        features = self.trunk(x)
        features = [features[i] for i in self.indices]
        if self.channels_last_trunk:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        if self.multiple > 1:
            features = [
                feature[..., : (height + stride - 1) // stride, : (width + stride - 1) // stride]
                for feature, stride in zip(features, PYRAMID_STRIDES, strict=True)
            ]
        if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):  # sizes may be symbols there
            for feature, stride in zip(features, PYRAMID_STRIDES, strict=True):
                # a map that leaves pixels out would be stretched over them
                if tuple(feature.shape[-2:]) != tuple(-(-side // stride) for side in (height, width)):
                    raise ValueError(
                        f'{self.name} maps {height} x {width} pixels to {feature.shape[-2]} x '
                        f'{feature.shape[-1]} at stride {stride}; pad to multiples of {PYRAMID_STRIDES[-1]} for it'
                    )
        return [norm(feature) for norm, feature in zip(self.norms, features, strict=True)]
