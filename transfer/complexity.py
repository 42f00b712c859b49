"""What is counted of a classifier, a two-stage detector, or a 3D detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

__all__ = ['count_recognizer']


def count_recognizer(cfg: Config, name: str) -> tuple[nn.Module, list[int], str] | None:
    """Build the network of a classifier's, a two-stage detector's or a 3D detector's config.

    A classifier is counted at the size of its test images, a detector at MPT's Table X's, a cascade at Table VII's; a
    3D detector on its map as seen from above, see `BirdsEyeNetwork`.

    Returns:
        The network, the shape (C, H, W) of its input, and its name in the papers; None if `cfg` is of another kind.
    """
    model = cfg.get('model', {})
    if model.get('type') == 'ImageClassifier':
        import timm

        backbone = model.backbone.to_dict()
        size = cfg.test_dataloader.dataset.transform.input_size
        return timm.create_model(**{**backbone, 'pretrained': False}), [3, size, size], backbone['model_name']
    if cfg.get('default_scope') == 'mmdet' and {'rpn_head', 'roi_head'} <= set(model):
        from transfer.detection.complexity import TwoStageNetwork

        size = (896, 896) if 'Cascade' in model.type else (800, 1280)
        return TwoStageNetwork(cfg), [3, *size], name
    if cfg.get('default_scope') == 'mmdet3d' and {'middle_encoder', 'pts_middle_encoder'} & set(model):
        from transfer.detection3d.complexity import BirdsEyeNetwork

        network = BirdsEyeNetwork(cfg)
        return network, list(network.map_shape), name
    return None
