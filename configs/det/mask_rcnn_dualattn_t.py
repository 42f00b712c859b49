# Mask R-CNN on Dual-Attention-T (MPT Table X).
_base_ = [
    '../_base_/models/mask_rcnn_dualattn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detect.py',
]
