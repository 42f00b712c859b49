"""Objects of several views of an image, flipped and at other sizes, merged into one result."""

import torch
from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_flip
from mmengine.structures import InstanceData

__all__ = ['AugmentedDetector']

_FLIPPED_AXES = dict(horizontal=(-1,), vertical=(-2,), diagonal=(-2, -1))


@MODELS.register_module()
class AugmentedDetector(DetTTAModel):
    """mmdet's DetTTAModel, with masks: each object that is kept has the mask of the view in which it was found.

    Takes the arguments of mmdet's.
    """

    def _merge_single_sample(self, data_samples: list[DetDataSample]) -> DetDataSample:
        views = [_undo_flip(sample) for sample in data_samples]
        merged = InstanceData.cat(views)
        result = data_samples[0]
        if len(merged):
            boxes, kept = batched_nms(merged.bboxes, merged.scores, merged.labels, self.tta_cfg['nms'])
            merged = merged[kept][: self.tta_cfg['max_per_img']]
            merged.scores = boxes[: len(merged), -1]
        result.pred_instances = merged
        return result


def _undo_flip(sample: DetDataSample) -> InstanceData:
    found = sample.pred_instances
    if sample.metainfo.get('flip'):
        direction = sample.flip_direction
        found.bboxes = bbox_flip(found.bboxes, sample.ori_shape, direction)
        if 'masks' in found:
            found.masks = torch.flip(found.masks, _FLIPPED_AXES[direction])
    return found
