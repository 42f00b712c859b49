"""Weights from files, of mmengine, timm or safetensors, read without running code; and the models they belong to."""

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dualattn.engine import CheckpointError, check_weights, read_checkpoint

__all__ = ['check_init_cfg', 'load_trained', 'load_weights', 'read_weights', 'select_prefix']

# where training tools keep weights inside their files, the averaged ones first
_NESTS = ('state_dict_ema', 'state_dict', 'model')


def read_weights(path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights of a .pth, .pt or .safetensors file, of mmengine, of timm, or plain.

    Returns:
        Names and tensors; and what the file says about them, such as mmengine's `meta`, empty if nothing.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is broken, holds anything but tensors and plain values, or no weights.
    """
    path = Path(path)
    if path.suffix == '.safetensors':
        if not path.is_file():
            raise FileNotFoundError(f'no checkpoint at {path}')
        try:
            with safe_open(path, framework='pt') as file:
                return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
        except SafetensorError as error:
            raise CheckpointError(f'{path} is broken or truncated ({error})') from error
    with torch.serialization.safe_globals([argparse.Namespace]):  # timm keeps its command line in one
        checkpoint = read_checkpoint(path)
    weights = next((checkpoint[nest] for nest in _NESTS if isinstance(checkpoint.get(nest), dict)), checkpoint)
    others = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if others or not weights:
        raise CheckpointError(
            f'{path} holds no weights that can be found: expected names and tensors, or a dict of '
            f'them under one of {", ".join(_NESTS)}; got {", ".join(map(str, others[:3])) or "none"}'
        )
    meta = checkpoint.get('meta')
    return weights, meta if isinstance(meta, dict) else {}


def select_prefix(weights: dict[str, Tensor], prefix: str, path) -> dict[str, Tensor]:
    """Take the weights whose names begin with a prefix, without it.

    Raises:
        CheckpointError: there are none.
    """
    selected = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    if not selected:
        tops = sorted({name.partition('.')[0] + '.' for name in weights})
        raise CheckpointError(
            f'{path} has no weights whose names begin with {prefix!r}; they begin with {", ".join(tops[:8])}'
        )
    return selected


def check_init_cfg(init_cfg: dict | None) -> None:
    """Check that an `init_cfg` is none, or asks for the weights of a file.

    Raises:
        ValueError: it is anything else.
    """
    if init_cfg is None:
        return
    keys = set(init_cfg)
    if init_cfg.get('type') != 'Pretrained' or 'checkpoint' not in keys or keys - {'type', 'checkpoint', 'prefix'}:
        raise ValueError(
            f"init_cfg has to be None or dict(type='Pretrained', checkpoint=PATH, prefix=...); got {dict(init_cfg)}"
        )


def load_weights(model: nn.Module, checkpoint: str | Path) -> dict:
    """Load the weights of a whole model from a file, all or nothing.

    Returns:
        What the file says about them, see `read_weights`.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is broken or not of this model.
    """
    weights, meta = read_weights(checkpoint)
    _load_strictly(model, weights, checkpoint)
    return meta


def _load_strictly(model: nn.Module, weights: dict[str, Tensor], checkpoint: str | Path) -> None:
    expected = model.state_dict()
    check_weights(checkpoint, weights, expected)
    # spconv turns weights round that do not tell its version, as those of a .safetensors file
    weights = OrderedDict(weights)
    weights._metadata = expected._metadata
    model.load_state_dict(weights)


def load_trained(config: str | Path, checkpoint: str | Path, device: str = 'cpu') -> tuple[nn.Module, Config, dict]:
    """Build the model of a config with the weights of its training, ready to predict.

    Args:
        config: config file of the training.
        checkpoint: weights of that training, .pth or .safetensors.
        device: where the model runs.

    Returns:
        The model in evaluation mode, its config, and what the checkpoint says about its training, empty if nothing.

    Raises:
        FileNotFoundError: there is no such config or checkpoint.
        CheckpointError: the checkpoint is broken or not of this config.
    """
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    weights, meta = read_weights(checkpoint)
    for part in (cfg.model, *cfg.model.values()):  # the weights to begin a training with may be on another machine
        if isinstance(part, dict) and 'init_cfg' in part:
            part['init_cfg'] = None
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    _load_strictly(model, weights, checkpoint)
    return model.to(device).eval(), cfg, meta
