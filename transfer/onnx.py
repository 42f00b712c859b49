"""The backbone of a detector, in photographs or in point clouds, and a classifier as ONNX files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ['find_backbone']

# our backbones by their type in a config, with the name of the input and what the file says that it holds
_KINDS = {'DualAttn': ('image', 'detection backbone'), 'DualAttnBEV': ('view', "bird's-eye-view backbone")}
_PLACES = ('backbone', 'pts_backbone')  # of the model of a detector, the latter in mmdet3d's CenterPoint


def find_backbone(
    source: str, weights: str | None
) -> tuple[nn.Module, int, str, list[str], dict[str, Any], float] | None:
    """Build the network that `dualattn export onnx CONFIG --weights WEIGHTS` means.

    Args:
        source: a config with a backbone of type `DualAttn` or `DualAttnBEV`, or of a classifier.
        weights: a checkpoint of the detector or classifier; for a detector None takes what the config's `init_cfg`
            names.

    Returns:
        The network, the channels and name of its input, the names of its outputs, notes, and the largest value of an
        input; None if `source` is of another kind.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the weights cannot be used.
        ValueError: a classifier's config without weights.
    """
    if not source.endswith('.py'):
        return None
    from dualattn.configs import read_config

    model = read_config(source).get('model', {})
    if model.get('type') == 'ImageClassifier':
        return _find_classifier(source, weights)
    place = next((name for name in _PLACES if isinstance(model.get(name), dict)), None)
    if place is None or model[place].get('type') not in _KINDS:
        return None
    from mmengine.registry import MODELS

    import transfer  # noqa: F401  registers the backbone

    backbone = dict(model[place])
    if weights is not None:
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint=weights, prefix=f'{place}.')
    network = MODELS.build(backbone)
    network.init_weights()
    name, kind = _KINDS[backbone['type']]
    channels = network.in_channels if backbone['type'] == 'DualAttnBEV' else backbone.get('in_channels', 3)
    indices = range(len(network.stages)) if backbone['type'] == 'DualAttnBEV' else network.out_indices
    return network, channels, name, [f'map{index}' for index in indices], dict(kind=kind, model=backbone['type']), 1.0


def _find_classifier(source: str, weights: str | None) -> tuple[nn.Module, int, str, list[str], dict[str, Any], float]:
    if weights is None:
        raise ValueError(f'{source} describes a classifier; --weights names its weights')
    from transfer.weights import load_trained

    classifier, cfg, _ = load_trained(source, weights)
    backbone: Any = classifier.backbone
    notes = dict(kind='classifier', model=cfg.model.backbone.model_name)
    return backbone, backbone.pretrained_cfg['input_size'][0], 'image', ['logits'], notes, 1.0
