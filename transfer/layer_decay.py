"""Learning rates that fall from the head to the stem."""

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

__all__ = ['LayerDecayOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Multiply learning rates by `decay_rate` once for each layer between a parameter and the head.

    mmdet's own constructor knows ConvNeXt alone, by the name of its class; this one asks the backbone, by mmpretrain's
    convention `model.backbone.get_layer_depth(name, prefix) -> (id, number of layers)`. Everything outside the backbone
    trains at the full rate. Biases and norms get no weight decay.

    `paramwise_cfg` takes `decay_rate`, a number in (0, 1], and nothing else.

    Raises:
        ValueError: `paramwise_cfg` is another, or the optimizer has no `lr`.
        TypeError: the model's backbone has no `get_layer_depth`.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        rate = self.paramwise_cfg.get('decay_rate')
        if set(self.paramwise_cfg) != {'decay_rate'} or not 0 < rate <= 1:
            raise ValueError(
                'paramwise_cfg of LayerDecayOptimWrapperConstructor has to be dict(decay_rate=...) with a '
                f'number in (0, 1], got {dict(self.paramwise_cfg)}'
            )
        if self.base_lr is None:
            raise ValueError('layer-wise decay multiplies the learning rate: name one, optim_wrapper.optimizer.lr')

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Append one group of parameters for each layer and weight decay to `params`."""
        backbone = getattr(module, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise TypeError(
                f'layer-wise decay asks model.backbone.get_layer_depth, which {type(module).__name__} with '
                f'the backbone {type(backbone).__name__} lacks'
            )
        groups: dict[tuple[int, float | None], dict] = {}
        for name, param in module.named_parameters():
            if not param.requires_grad:
                continue
            decay = 0.0 if param.ndim <= 1 else self.base_wd
            power = 0
            if name.startswith('backbone.'):
                layer, num_layers = backbone.get_layer_depth(name, prefix='backbone.')
                power = num_layers - 1 - layer
            scale = self.paramwise_cfg['decay_rate'] ** power
            group = groups.setdefault((power, decay), dict(params=[], lr=self.base_lr * scale))
            if decay is not None:  # else the optimizer's own default
                group['weight_decay'] = decay
            group['params'].append(param)
        params.extend(groups.values())
