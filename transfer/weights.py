"""Weights to begin a training with, and trained models from their config and weights."""

from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from dualattn.configs import read_config
from dualattn.io.weights import load_strictly, read_weights, select_prefix

__all__ = ['check_init_cfg', 'load_init_cfg', 'load_trained']


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


def load_init_cfg(
    network: nn.Module,
    init_cfg: dict,
    owner: str,
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> None:
    """Load the weights that an `init_cfg` names, all or nothing.

    Args:
        network: gets the weights.
        init_cfg: passes `check_init_cfg`.
        owner: whose `init_cfg` it is, for messages: 'model' or 'model.backbone'.
        adapt: turns the tensors of the file, without the prefix, into those of the network.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is broken, or its weights are not those of this network.
    """
    path = init_cfg['checkpoint']
    try:
        tensors = read_weights(path).tensors
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{error}, where init_cfg of the {owner.rpartition(".")[2]} expects the weights to begin with: train them '
            f'first, name a file that you have in {owner}.init_cfg.checkpoint, or set {owner}.init_cfg=None to begin '
            'with random ones'
        ) from error
    if init_cfg.get('prefix'):
        tensors = select_prefix(tensors, init_cfg['prefix'], path)
    load_strictly(network, adapt(tensors), path)
    MMLogger.get_current_instance().info(f'{owner}: weights of {path}')


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
    cfg = read_config(config)
    init_default_scope(cfg.default_scope)
    weights = read_weights(checkpoint)
    for part in (cfg.model, *cfg.model.values()):  # the weights to begin a training with may be on another machine
        if isinstance(part, dict) and 'init_cfg' in part:
            part['init_cfg'] = None
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    load_strictly(model, weights.tensors, checkpoint)
    return model.to(device).eval(), cfg, weights.meta
