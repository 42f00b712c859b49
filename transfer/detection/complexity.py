"""What papers count when they give the FLOPs of a two-stage detector."""

import copy

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

__all__ = ['TwoStageNetwork']


class TwoStageNetwork(nn.Module):
    """The networks of a two-stage detector of mmdet, without what chooses and merges boxes between them.

    This is the count of mmdet 2, in which the tables of Swin, DaViT and MPT are given: the box heads see 1000
    proposals, the mask heads 100. mmdet 3 counts a cascade's mask heads on all 1000.

    Args:
        cfg: config of the detector.
        num_proposals: regions that each box head sees.
        num_masks: regions that each mask head sees.
    """

    def __init__(self, cfg: Config, num_proposals: int = 1000, num_masks: int = 100):
        super().__init__()
        init_default_scope(cfg.default_scope)
        model = copy.deepcopy(cfg.model)
        model.backbone.init_cfg = None  # values change no number, and the file may be missing
        self.detector = MODELS.build(model)
        self.num_masks = num_masks
        corners = torch.rand(num_proposals, 2, 2, generator=torch.Generator().manual_seed(0)).sort(dim=1).values
        # (image, x1, y1, x2, y2), the corners in [0, 1]
        rois = torch.cat([torch.zeros(num_proposals, 1), corners.flatten(1)], dim=1)
        self.register_buffer('rois', rois, persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Run everything on images: (1, 3, H, W) float, and regions drawn at random; returns all raw outputs."""
        height, width = images.shape[2:]
        rois = self.rois * self.rois.new_tensor([1, width, height, width, height])
        maps = self.detector.extract_feat(images)
        outputs = [out for outs in self.detector.rpn_head(maps) for out in outs]
        head = self.detector.roi_head
        for stage in range(getattr(head, 'num_stages', 1)):
            args = (stage,) if hasattr(head, 'num_stages') else ()
            boxes = head._bbox_forward(*args, maps, rois)  # mmdet has no public name for one stage
            masks = head._mask_forward(*args, maps, rois[: self.num_masks])
            outputs += [boxes['cls_score'], boxes['bbox_pred'], masks['mask_preds']]
        return outputs
