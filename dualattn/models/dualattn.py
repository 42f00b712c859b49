"""Dual-Attention backbone: Separable Dilated Attention + Factorized Channel Attention, as a timm model.

The backbone of "End-to-End Image Colorization with Multiscale Pyramid Transformer" (MPT III-B, IV-E, Table VIII):
a stem of two convolutions, then four stages that each start with a stride-2 convolution and stack blocks of two
linear-cost attentions. Stages compute on NHWC memory; their results are NCHW.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import (
    ClNormMlpClassifierHead,
    calculate_drop_path_rates,
    get_device_dtype,
    to_2tuple,
    trunc_normal_,
)
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor

from dualattn.layers import ConvStem, DualAttnStage

__all__ = ['DualAttn']


class DualAttn(nn.Module):
    """Pyramid of Dual-Attention stages for images of any size.

    Args:
        in_chans: channels of the image.
        num_classes: classes of the head; 0 leaves the classifier out.
        global_pool: pooling of the head, 'avg', 'max' or 'avgmax'; '' keeps the map.
        depths: blocks of each stage.
        embed_dims: channels of each stage.
        strides: stride of each stage's first convolution.
        stem_dim: channels of the stem, D of S0 in MPT Table VIII.
        stem_stride: stride of the stem's first convolution.
        stem_layer: class called as `stem_layer(in_chans, stem_dim, stride=..., act_layer=..., device=..., dtype=...)`;
            `nn.Identity` for input that already has `stem_dim` channels, as a bird's-eye-view map.
        attn_types: attentions of each block in order, of 'sda', 'da', 'fca', 'ca' (MPT Table III).
        window_size: tokens per side of a dilated window, G, one number or (rows, columns). None derives it from
            `img_size`.
        img_size: side of the images that `window_size=None` is meant for: G = side / total stride (MPT IV-E: 7 at 224,
            12 at 384). Nothing else depends on it; images of any size are taken.
        head_dim: channels of an attention head and of a channel group, M.
        mlp_ratio: hidden channels of each MLP over its stage's channels.
        qkv_bias: bias in the projections of Q, K and V.
        drop_rate: dropout before the classifier.
        drop_path_rate: largest rate of stochastic depth; rates grow linearly with depth.
        norm_layer: normalisation inside the stages.
        act_layer: activation of stem and MLPs.

    Raises:
        ValueError: the sequences differ in length, an attention is unknown, or `head_dim` does not divide a stage.
    """

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = 'avg',
        depths: Sequence[int] = (1, 1, 3, 1),
        embed_dims: Sequence[int] = (96, 192, 384, 768),
        strides: Sequence[int] = (2, 2, 2, 2),
        stem_dim: int = 64,
        stem_stride: int = 2,
        stem_layer: type[nn.Module] = ConvStem,
        attn_types: Sequence[str] = ('sda', 'fca'),
        window_size: int | tuple[int, int] | None = None,
        img_size: int | tuple[int, int] = 224,
        head_dim: int = 32,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_layer: str = 'layernorm',
        act_layer: str = 'gelu',
        device=None,
        dtype=None,
    ):
        super().__init__()
        dd = {'device': device, 'dtype': dtype}
        if not len(depths) == len(embed_dims) == len(strides):
            raise ValueError(
                'depths, embed_dims and strides describe the same stages, but have '
                f'{len(depths)}, {len(embed_dims)} and {len(strides)} entries'
            )
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.drop_rate = drop_rate
        self.num_features = embed_dims[-1]
        self.grad_checkpointing = False
        self.feature_info = []

        reduction = stem_stride
        for stride in strides:
            reduction *= stride
        if window_size is None:
            window_size = tuple(max(1, side // reduction) for side in to_2tuple(img_size))

        self.stem = stem_layer(in_chans, stem_dim, stride=stem_stride, act_layer=act_layer, **dd)
        drop_path_rates = calculate_drop_path_rates(drop_path_rate, depths, stagewise=True)
        stages = []
        chans, reduction = stem_dim, stem_stride
        for i, (depth, dim, stride) in enumerate(zip(depths, embed_dims, strides, strict=True)):
            stages.append(
                DualAttnStage(
                    chans,
                    dim,
                    depth=depth,
                    stride=stride,
                    attn_types=attn_types,
                    window_size=window_size,
                    head_dim=head_dim,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                    drop_path_rates=drop_path_rates[i],
                    norm_layer=norm_layer,
                    act_layer=act_layer,
                    **dd,
                )
            )
            chans, reduction = dim, reduction * stride
            self.feature_info.append(dict(num_chs=dim, reduction=reduction, module=f'stages.{i}'))
        self.stages = nn.Sequential(*stages)

        # the NHWC head, also because torch 2.11 compiles a wrong gradient of adaptive pooling on NHWC memory
        self.head = ClNormMlpClassifierHead(
            self.num_features,
            num_classes,
            pool_type=global_pool,
            drop_rate=drop_rate,
            **dd,
        )
        self.head_hidden_size = self.head.num_features
        self.apply(self._init_weights)

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return the regular expressions that order parameters by depth, for layer-wise decay."""
        return dict(
            stem=r'^stem',
            blocks=r'^stages\.(\d+)'
            if coarse
            else [
                (r'^stages\.(\d+)\.downsample', (0,)),
                (r'^stages\.(\d+)\.blocks\.(\d+)', None),
            ],
        )

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: recompute every block in the backward pass."""
        self.grad_checkpointing = enable
        for stage in self.stages:
            stage.grad_checkpointing = enable

    @torch.jit.ignore
    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Accept the size of the images to come, of which nothing depends: every size is taken as it is.

        Windows keep their G x G tokens and their weights. MPT (IV-E) trains another G for other images, 12 at 384
        pixels: `img_size=384` when the model is created, or a variant `*_384`.

        Args:
            img_size: side, or (height, width), in pixels.

        Raises:
            ValueError: a side is not positive.
        """
        if min(to_2tuple(img_size)) < 1:
            raise ValueError(f'img_size has to be positive, got {img_size}')

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """Return the last linear layer."""
        return self.head.fc

    @torch.jit.ignore
    def reset_classifier(
        self,
        num_classes: int,
        global_pool: str | None = None,
        reset_other: bool = False,
    ) -> None:
        """Replace the classifier.

        Args:
            num_classes: outputs of the new one; 0 removes it.
            global_pool: pooling of the head; '' keeps the map, None what was there.
            reset_other: remove the norm of the head as well.
        """
        self.num_classes = num_classes
        self.head.reset(
            num_classes,
            global_pool,
            reset_other=reset_other,
            in_features=self.num_features,
            **get_device_dtype(self),
        )
        self.head_hidden_size = self.head.num_features

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Compute the features of chosen stages on the way.

        Args:
            x: (B, in_chans, H, W) float, a normalised image.
            indices: last n stages if a number, all if None, the given ones if a list.
            norm: accepted for the timm contract; this network has no norm between its stages and head.
            stop_early: leave out the stages after the last one asked for.
            output_fmt: 'NCHW' only.
            intermediates_only: return the list alone.

        Returns:
            The final (B, C, H/32, W/32) map and the list of (B, C_i, H_i, W_i) maps, or the list alone.

        Raises:
            ValueError: another `output_fmt`.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt has to be 'NCHW', got {output_fmt!r}")
        take_indices, max_index = feature_take_indices(len(self.stages), indices)
        x = self.stem(x)
        stages = self.stages
        if stop_early and not torch.jit.is_scripting():
            stages = stages[: max_index + 1]
        intermediates = []
        for i, stage in enumerate(stages):
            x = stage(x)
            if i in take_indices:
                intermediates.append(x)
        if intermediates_only:
            return intermediates
        return x, intermediates

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove the stages that the given indices do not need.

        Args:
            indices: as in `forward_intermediates`.
            prune_norm: accepted for the timm contract; this network has no norm between its stages and head.
            prune_head: remove the head. It always goes with the stage that it was made for.

        Returns:
            The indices of the stages asked for, counted from 0.
        """
        take_indices, max_index = feature_take_indices(len(self.stages), indices)
        if max_index + 1 < len(self.stages):
            self.stages = self.stages[: max_index + 1]
            self.num_features = self.feature_info[max_index]['num_chs']
            prune_head = True
        if prune_head:
            self.reset_classifier(0, '', reset_other=True)
        return take_indices

    def forward_features(self, x: Tensor) -> Tensor:
        """Map x: (B, in_chans, H, W) float, a normalised image, to its (B, C, H/32, W/32) features."""
        return self.stages(self.stem(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map x: (B, C, H, W) float features to (B, num_classes) logits, or to what the classifier would see.

        Without pooling both keep the map: (B, num_classes, H, W) or (B, C, H, W).
        """
        x = self.head(x.permute(0, 2, 3, 1), pre_logits=pre_logits)
        return x.permute(0, 3, 1, 2) if self.head.pool_type == '' else x

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, in_chans, H, W) float, a normalised image, to (B, num_classes) logits."""
        return self.forward_head(self.forward_features(x))


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """Unwrap the nests in which training tools keep weights and undo the renaming by timm's feature wrappers.

    FeatureListNet calls `stages.0` `stages_0`, FeatureGetterNet puts the network under `model`; native names stay.
    """
    for nest in ('state_dict_ema', 'state_dict', 'model'):
        if isinstance(state_dict.get(nest), dict):
            state_dict = state_dict[nest]
            break
    named = {re.sub(r'^stages_(\d+)\.', r'stages.\1.', k.removeprefix('model.')): v for k, v in state_dict.items()}
    classes = len(named['head.fc.weight']) if 'head.fc.weight' in named else None
    cfg = getattr(model, 'pretrained_cfg', None)
    if cfg and classes == getattr(model, 'num_classes', None):
        cfg['num_classes'] = classes  # else timm, which goes by the variant's 1000, would leave a fitting head random
    return named


def _cfg(**kwargs) -> dict[str, Any]:
    return {
        'url': '',
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'min_input_size': (3, 32, 32),
        'pool_size': (7, 7),
        'crop_pct': 0.95,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.conv',
        'classifier': 'head.fc',
        'license': 'apache-2.0',
        **kwargs,
    }


_WEIGHTS = Path(__file__).resolve().parents[1] / 'weights'  # what travels with the package


def _packaged(variant: str, tag: str, **kwargs) -> dict[str, dict[str, Any]]:
    """Name a variant after its weights in the package, `weights/VARIANT.TAG.safetensors`, or call it untrained."""
    file = _WEIGHTS / f'{variant}.{tag}.safetensors'
    if not file.is_file():
        return {f'{variant}.untrained': _cfg(**kwargs)}
    return {f'{variant}.{tag}': _cfg(file=str(file), **kwargs)}


_SIZE_384 = dict(input_size=(3, 384, 384), pool_size=(12, 12), crop_pct=1.0, crop_mode='squash')

default_cfgs = generate_default_cfgs(
    {
        # without weights; `pretrained_cfg_overlay=dict(file=...)` loads local ones
        'dualattn_tiny.untrained': _cfg(),
        'dualattn_small.untrained': _cfg(),
        'dualattn_base.untrained': _cfg(),
        'dualattn_tiny_384.untrained': _cfg(**_SIZE_384),
        'dualattn_small_384.untrained': _cfg(**_SIZE_384),
        'dualattn_base_384.untrained': _cfg(**_SIZE_384),
        'dualattn_mpt.untrained': _cfg(input_size=(3, 256, 256), pool_size=(8, 8)),
        **_packaged('dualattn_mpt_pico', 'lite2_photos', input_size=(3, 96, 96), pool_size=(3, 3), crop_pct=1.0),
    }
)


def _create_dualattn(variant: str, pretrained: bool = False, **kwargs) -> DualAttn:
    out_indices = kwargs.pop('out_indices', tuple(range(len(kwargs['depths']))))
    try:
        return build_model_with_cfg(
            DualAttn,
            variant,
            pretrained,
            pretrained_filter_fn=checkpoint_filter_fn,
            feature_cfg=dict(flatten_sequential=True, out_indices=out_indices),
            **kwargs,
        )
    except RuntimeError as error:
        published = [f'{name}.{cfg.tags[0]}' for name, cfg in default_cfgs.items() if cfg.default.has_weights]
        known = f'published are those of {", ".join(published) or "no variant yet"}'
        if str(error).startswith('Invalid pretrained tag'):
            raise RuntimeError(
                f'{error} {known[0].upper()}{known[1:]}, and {variant} alone names the network'
            ) from error
        if 'No pretrained weights exist' not in str(error):
            raise
        raise RuntimeError(
            f'there are no published weights of {variant}, so pretrained=True has nothing to load. Weights of your '
            "own: timm.create_model(..., pretrained=True, pretrained_cfg_overlay=dict(file='WEIGHTS')), which adapts "
            f'in_chans and num_classes, or checkpoint_path=WEIGHTS, which does not; random ones: pretrained=False; '
            + known
        ) from error


@register_model
def dualattn_tiny(pretrained: bool = False, **kwargs) -> DualAttn:
    """Dual-Attention-T of MPT Table VIII."""
    model_args = dict(depths=(1, 1, 3, 1), embed_dims=(96, 192, 384, 768), stem_dim=64)
    return _create_dualattn('dualattn_tiny', pretrained=pretrained, **dict(model_args, **kwargs))


@register_model
def dualattn_small(pretrained: bool = False, **kwargs) -> DualAttn:
    """Dual-Attention-S of MPT Table VIII."""
    model_args = dict(depths=(1, 1, 8, 1), embed_dims=(96, 192, 384, 768), stem_dim=64)
    return _create_dualattn('dualattn_small', pretrained=pretrained, **dict(model_args, **kwargs))


@register_model
def dualattn_base(pretrained: bool = False, **kwargs) -> DualAttn:
    """Dual-Attention-B of MPT Table VIII."""
    model_args = dict(depths=(1, 1, 8, 1), embed_dims=(128, 256, 512, 1024), stem_dim=128)
    return _create_dualattn('dualattn_base', pretrained=pretrained, **dict(model_args, **kwargs))


@register_model
def dualattn_tiny_384(pretrained: bool = False, **kwargs) -> DualAttn:
    """Dual-Attention-T for 384 x 384 images: windows of 12 x 12 tokens (MPT Table IX)."""
    model_args = dict(depths=(1, 1, 3, 1), embed_dims=(96, 192, 384, 768), stem_dim=64, img_size=384)
    return _create_dualattn('dualattn_tiny_384', pretrained=pretrained, **dict(model_args, **kwargs))


@register_model
def dualattn_small_384(pretrained: bool = False, **kwargs) -> DualAttn:
    """Dual-Attention-S for 384 x 384 images: windows of 12 x 12 tokens (MPT Table IX)."""
    model_args = dict(depths=(1, 1, 8, 1), embed_dims=(96, 192, 384, 768), stem_dim=64, img_size=384)
    return _create_dualattn('dualattn_small_384', pretrained=pretrained, **dict(model_args, **kwargs))


@register_model
def dualattn_base_384(pretrained: bool = False, **kwargs) -> DualAttn:
    """Dual-Attention-B for 384 x 384 images: windows of 12 x 12 tokens (MPT Table IX)."""
    model_args = dict(depths=(1, 1, 8, 1), embed_dims=(128, 256, 512, 1024), stem_dim=128, img_size=384)
    return _create_dualattn('dualattn_base_384', pretrained=pretrained, **dict(model_args, **kwargs))


@register_model
def dualattn_mpt(pretrained: bool = False, **kwargs) -> DualAttn:
    """The encoder of the Multiscale Pyramid Transformer: FCA before SDA, G = 8, M = 24 (MPT IV-A)."""
    model_args = dict(
        depths=(1, 1, 3, 1),
        embed_dims=(96, 192, 384, 768),
        stem_dim=64,
        attn_types=('fca', 'sda'),
        window_size=8,
        head_dim=24,
    )
    return _create_dualattn('dualattn_mpt', pretrained=pretrained, **dict(model_args, **kwargs))


@register_model
def dualattn_mpt_pico(pretrained: bool = False, **kwargs) -> DualAttn:
    """The encoder of the Multiscale Pyramid Transformer at half the width, 7 M parameters."""
    model_args = dict(
        depths=(1, 1, 3, 1),
        embed_dims=(48, 96, 192, 384),
        stem_dim=32,
        attn_types=('fca', 'sda'),
        window_size=8,
        head_dim=24,
    )
    return _create_dualattn('dualattn_mpt_pico', pretrained=pretrained, **dict(model_args, **kwargs))
