"""Dual-Attention on a bird's-eye-view map, in the place of the SECOND backbone (MPT IV-G, Fig. 10)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import calculate_drop_path_rates, trunc_normal_
from torch import Tensor

from dualattn.layers import Downsample, DualAttnBlock
from dualattn.layers.blocks import checkpoint_blocks
from dualattn.layers.stem import pad_to_multiple
from transfer.weights import check_init_cfg, load_init_cfg

__all__ = ['DualAttnBEV']


@MODELS.register_module()
class DualAttnBEV(BaseModule):
    """Stages of Dual-Attention blocks with the inputs, outputs and strides of mmdet3d's SECOND backbone.

    Each stage is a convolution with kernel = stride, as between the stages of the image backbone, and blocks of SDA
    before FCA (MPT IV-E). The first convolution takes the place of the image stem. It has no norm before it, unlike the
    others: the map comes normalised, and most of its cells are empty.

    Args:
        in_channels: channels of the map that the sparse encoder makes.
        out_channels: channels of each stage.
        depths: blocks of each stage, each with both attentions.
        strides: stride of each stage, SECOND's `layer_strides`.
        window_size: tokens per side of a dilated window, G.
        head_dim: channels of an attention head and of a channel group.
        mlp_ratio: hidden channels of each MLP over its stage's channels.
        drop_path_rate: largest rate of stochastic depth; rates grow linearly with depth.
        with_cp: recompute the blocks in the backward pass, for less memory.
        init_cfg: None, or `dict(type='Pretrained', checkpoint=PATH, prefix='backbone.')`: weights of this network alone
            (no `prefix`), or the part of a larger model's that `prefix` names. They have to be exactly this network's.

    Raises:
        ValueError: the sequences differ in length, `head_dim` does not divide a stage's channels, or `init_cfg` is
            another.
        FileNotFoundError: see `init_weights`.
        CheckpointError: see `init_weights`.
    """

    is_init: bool  # mmengine's, which tells no types

    def __init__(
        self,
        in_channels: int = 256,
        out_channels: Sequence[int] = (128, 256),
        depths: Sequence[int] = (1, 1),
        strides: Sequence[int] = (1, 2),
        window_size: int = 8,
        head_dim: int = 32,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ):
        check_init_cfg(init_cfg)
        super().__init__(init_cfg=init_cfg)
        if not len(out_channels) == len(depths) == len(strides):
            raise ValueError(
                'out_channels, depths and strides describe the same stages, but have '
                f'{len(out_channels)}, {len(depths)} and {len(strides)} entries'
            )
        self.in_channels = in_channels
        self.strides = tuple(strides)
        self.with_cp = with_cp
        drop_path_rates: Any = calculate_drop_path_rates(drop_path_rate, depths, stagewise=True)
        self.stem = nn.Conv2d(in_channels, out_channels[0], kernel_size=strides[0], stride=strides[0])
        self.downsamples = nn.ModuleList(
            [
                Downsample(chans, dim, stride=stride)
                for chans, dim, stride in zip(out_channels[:-1], out_channels[1:], strides[1:], strict=True)
            ]
        )
        self.stages = nn.ModuleList(
            [
                nn.Sequential(
                    *[
                        DualAttnBlock(
                            dim,
                            attn_types=('sda', 'fca'),
                            window_size=window_size,
                            head_dim=head_dim,
                            mlp_ratio=mlp_ratio,
                            drop_path=rate,
                        )
                        for rate in rates
                    ]
                )
                for dim, rates in zip(out_channels, drop_path_rates, strict=True)
            ]
        )

    def init_weights(self) -> None:
        """Load what `init_cfg` names; without one, initialise as the image backbone does.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it is broken, or its weights are not those of this network.
        """
        if self.is_init:
            return
        if self.init_cfg:
            load_init_cfg(self, self.init_cfg, 'model.backbone')
        else:
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    trunc_normal_(module.weight, std=0.02)
                    nn.init.zeros_(module.bias)
        self.is_init = True

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the map of every stage.

        Args:
            x: (B, in_channels, H, W) float, a bird's-eye view of any size.

        Returns:
            For each stage (B, out_channels[i], ceil(H / s), ceil(W / s)), where s is the product of the strides so far;
            an NCHW view of NHWC memory.

        Raises:
            ValueError: x is no map of `in_channels` channels.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f'expected a map of shape (B, {self.in_channels}, H, W), got {tuple(x.shape)}')
        # the input, the largest map of all, stays as it is: the blocks' NHWC memory begins after the first convolution
        x = self.stem(pad_to_multiple(x, self.strides[0])).permute(0, 2, 3, 1).contiguous()
        outs = []
        for i, blocks in enumerate(self.stages):
            if i > 0:
                x = self.downsamples[i - 1](x)
            x = checkpoint_blocks(blocks, x) if self.with_cp and torch.is_grad_enabled() else blocks(x)
            outs.append(x.permute(0, 3, 1, 2))
        return tuple(outs)
