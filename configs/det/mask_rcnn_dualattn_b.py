# Mask R-CNN on Dual-Attention-B (MPT Table X).
_base_ = [
    '../_base_/models/mask_rcnn_dualattn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detect.py',
]
model = dict(
    backbone=dict(
        model_name='dualattn_base',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='work_dirs/dualattn_b_in1k/epoch_300.pth'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
