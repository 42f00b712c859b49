"""What is counted of a 3D detector: the parameters of all of it, and the FLOPs of its dense part."""

import copy

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

__all__ = ['BirdsEyeNetwork']


class BirdsEyeNetwork(nn.Module):
    """A 3D detector seen from its bird's-eye-view map on: backbone, neck and head.

    What comes before, the encoders of voxels and the sparse convolutions, computes only where points are; no number of
    the network alone. Its parameters count.

    Args:
        cfg: config of a detector of mmdet3d that makes such a map (VoxelNet, PointPillars, SECOND, CenterPoint).

    Attributes:
        map_shape: channels, rows and columns of the map.

    Raises:
        ValueError: the detector makes no such map.
    """

    counted = 'backbone, neck and head on the map as seen from above; the parameters are those of the whole detector'

    def __init__(self, cfg: Config):
        super().__init__()
        init_default_scope(cfg.default_scope)
        model = copy.deepcopy(cfg.model)
        self.prefix = 'pts_' if 'pts_backbone' in model else ''
        missing = [name for name in ('middle_encoder', 'backbone', 'neck') if self.prefix + name not in model]
        if missing:
            raise ValueError(f'{model.type} has no {" and no ".join(missing)}: it makes no map as seen from above')
        model[f'{self.prefix}backbone'].pop('init_cfg', None)  # values change no number, and the file may be missing
        self.detector = MODELS.build(model)
        self.map_shape = self._find_map_shape(model[f'{self.prefix}middle_encoder'], model[f'{self.prefix}backbone'])

    @staticmethod
    def _find_map_shape(encoder: dict, backbone: dict) -> tuple[int, int, int]:
        if 'output_shape' in encoder:  # pillars are scattered to a map of this size
            rows, columns = encoder['output_shape']
        else:  # SparseEncoder: three convolutions of stride 2
            rows, columns = (side // 8 for side in encoder['sparse_shape'][1:])
        return backbone['in_channels'], rows, columns

    def forward(self, bev: Tensor) -> list[Tensor]:
        """Run on a map: (1, C, rows, columns) float; returns all raw outputs of the head."""
        maps = getattr(self.detector, f'{self.prefix}backbone')(bev)
        maps = getattr(self.detector, f'{self.prefix}neck')(maps)
        head = getattr(self.detector, 'pts_bbox_head' if self.prefix else 'bbox_head')
        return list(_flatten(head(list(maps))))


def _flatten(outputs):
    if isinstance(outputs, torch.Tensor):
        yield outputs
    elif isinstance(outputs, dict):
        yield from _flatten(list(outputs.values()))
    elif outputs is not None:
        for output in outputs:
            yield from _flatten(output)
