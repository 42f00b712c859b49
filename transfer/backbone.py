"""Our timm model as a backbone of OpenMMLab's libraries."""

import re
from collections.abc import Sequence
from typing import Any

import timm
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d
from timm.models import group_parameters
from torch import Tensor, nn

from dualattn.models.dualattn import checkpoint_filter_fn
from transfer.weights import check_init_cfg, load_init_cfg

__all__ = ['DualAttn']

_OUTPUT_NORM = re.compile(r'norm\d+\.')


@MODELS.register_module()
class DualAttn(BaseModule):
    """Dual-Attention pyramid of feature maps for mmdet and mmdet3d (MPT IV-E, IV-F).

    What describes the network is named as in `dualattn.models.dualattn.DualAttn`; None keeps the variant's own value.

    Args:
        model_name: name of one of our timm models, such as 'dualattn_tiny'.
        in_channels: channels of the image.
        depths: blocks of each stage.
        embed_dims: channels of each stage.
        stem_dim: channels of the stem.
        attn_types: attentions of each block, in order.
        window_size: tokens per side of a dilated window.
        head_dim: channels of an attention head and of a channel group.
        drop_path_rate: largest rate of stochastic depth.
        out_indices: stages whose maps are returned, in ascending order, 0 to 3; later stages are not built.
        output_norm: a LayerNorm over the channels of each returned map, as dense predictors want it; such norms are not
            in a classifier's weights and begin as new ones.
        frozen_stages: -1 trains everything, 0 freezes the stem, n the stem and the first n stages. What is frozen has
            no gradient and no stochastic depth. Norms of the outputs are always trained.
        with_cp: recompute every block in the backward pass, for less memory.
        init_cfg: None, or `dict(type='Pretrained', checkpoint=PATH, prefix='backbone.')`: weights of this network
            alone, of a timm classifier of the same variant (both without `prefix`), or the part of a larger model's
            that `prefix` names. All weights have to be there and fit; only the classifier, later stages and the
            output norms may differ.

    Raises:
        ValueError: an argument has no meaning; the message says which are allowed.
        FileNotFoundError: see `init_weights`.
        CheckpointError: see `init_weights`.
    """

    is_init: bool  # mmengine's, which tells no types

    def __init__(
        self,
        model_name: str = 'dualattn_tiny',
        in_channels: int = 3,
        depths: Sequence[int] | None = None,
        embed_dims: Sequence[int] | None = None,
        stem_dim: int | None = None,
        attn_types: Sequence[str] | None = None,
        window_size: int | None = None,
        head_dim: int | None = None,
        drop_path_rate: float = 0.0,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        output_norm: bool = True,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ):
        check_init_cfg(init_cfg)
        super().__init__(init_cfg)
        names = timm.list_models('dualattn_*')
        if model_name not in names:
            raise ValueError(f'model_name has to be one of {", ".join(names)}; got {model_name!r}')
        self.model = timm.create_model(
            model_name,
            in_chans=in_channels,
            num_classes=0,
            depths=depths,
            embed_dims=embed_dims,
            stem_dim=stem_dim,
            attn_types=attn_types,
            window_size=window_size,
            head_dim=head_dim,
            drop_path_rate=drop_path_rate,
        )
        num_stages = len(self.model.stages)
        if not out_indices or list(out_indices) != sorted(set(out_indices) & set(range(num_stages))):
            raise ValueError(f'out_indices have to ascend from 0 to {num_stages - 1} at most; got {out_indices}')
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(f'frozen_stages has to be -1 (none), 0 (stem) or up to {num_stages}; got {frozen_stages}')
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.model.prune_intermediate_layers(list(self.out_indices), prune_head=True)
        self.model.set_grad_checkpointing(with_cp)
        features = [self.model.feature_info[i] for i in self.out_indices]
        self.out_channels = tuple(feature['num_chs'] for feature in features)
        self.out_strides = tuple(feature['reduction'] for feature in features)
        for i, channels in zip(self.out_indices, self.out_channels, strict=True):
            self.add_module(f'norm{i}', LayerNorm2d(channels) if output_norm else nn.Identity())
        layers = group_parameters(self.model, self.model.group_matcher(), reverse=True)
        self._layer_ids = {f'model.{name}': layer for name, layer in layers.items()}
        self._freeze()

    def init_weights(self) -> None:
        """Load what `init_cfg` names; without one the weights stay random.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it is broken, or its weights are not those of this network.
        """
        if self.init_cfg and not self.is_init:
            load_init_cfg(self, self.init_cfg, 'model.backbone', self._adapt)
        self.is_init = True

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Tell how deep a parameter lies: 0 in the stem, then a layer for each block, the last one for output norms.

        Args:
            param_name: its name in the model.
            prefix: what stands before the names of this backbone, such as 'backbone.'.

        Returns:
            The number of the layer, and how many there are, mmpretrain's convention for layer-wise decay.

        Raises:
            ValueError: the name does not begin with the prefix.
        """
        if not param_name.startswith(prefix):
            raise ValueError(f'{param_name} is no parameter below {prefix}')
        last = max(self._layer_ids.values()) + 1
        return self._layer_ids.get(param_name.removeprefix(prefix), last), last + 1

    def train(self, mode: bool = True):
        """Switch between training and evaluation; frozen stages stay in evaluation."""
        super().train(mode)
        for part in self._frozen_parts():
            part.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map x: (B, in_channels, H, W) float, normalised, to (B, C_i, ceil(H / s_i), ceil(W / s_i)) maps.

        Any size is taken; C_i and s_i stand in `out_channels` and `out_strides`.
        """
        maps = self.model.forward_intermediates(
            x, indices=list(self.out_indices), stop_early=True, intermediates_only=True
        )
        return tuple(getattr(self, f'norm{i}')(map_) for i, map_ in zip(self.out_indices, maps, strict=True))

    def _frozen_parts(self) -> list[nn.Module]:
        model: Any = self.model
        return [model.stem, *model.stages[: self.frozen_stages]] if self.frozen_stages >= 0 else []

    def _freeze(self) -> None:
        for part in self._frozen_parts():
            part.requires_grad_(False)
        self.train(self.training)

    def _adapt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Name weights as this module does, without those of a head or of stages that were not built.

        Output norms that are not among them begin as they are.
        """
        own = self.state_dict()
        given = {name: tensor for name, tensor in own.items() if _OUTPUT_NORM.match(name)}
        num_stages = len(self.model.stages)
        for name, tensor in checkpoint_filter_fn(weights, self.model).items():
            stage = re.match(r'stages\.(\d+)\.', name)
            is_elsewhere = name.startswith('head.') or stage and int(stage[1]) >= num_stages
            if _OUTPUT_NORM.match(name):
                is_elsewhere = name not in own
            else:
                name = f'model.{name}'
            if not is_elsewhere:
                given[name] = tensor
        return given
