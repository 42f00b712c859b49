"""The backbone of a detector as an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ['find_backbone']


def find_backbone(
    source: str, weights: str | None
) -> tuple[nn.Module, int, str, list[str], dict[str, Any], float] | None:
    """Build the backbone of the detector that `dualattn export onnx CONFIG --weights WEIGHTS` means.

    Args:
        source: a config with a backbone of type `DualAttn`.
        weights: a checkpoint of the detector; None takes what the config's `init_cfg` names.

    Returns:
        The network, the channels and name of its input, the names of its outputs, notes, and the largest value of an
        input; None if `source` is of another kind.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the weights cannot be used.
    """
    if not source.endswith('.py'):
        return None
    from mmengine.registry import MODELS

    import transfer  # noqa: F401  registers the backbone
    from dualattn.configs import read_config

    backbone = read_config(source).get('model', {}).get('backbone')
    if not isinstance(backbone, dict) or backbone.get('type') != 'DualAttn':
        return None
    backbone = dict(backbone)
    if weights is not None:
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint=weights, prefix='backbone.')
    network = MODELS.build(backbone)
    network.init_weights()
    outputs = [f'map{index}' for index in network.out_indices]
    channels = backbone.get('in_channels', 3)
    return network, channels, 'image', outputs, dict(kind='detection backbone', model=network.__class__.__name__), 1.0
