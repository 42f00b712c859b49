# Cascade Mask R-CNN on Dual-Attention-T (MPT Table VII).
_base_ = [
    '../_base_/models/cascade_mask_rcnn_dualattn.py',
    '../_base_/datasets/coco_instance_896.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detect.py',
]
