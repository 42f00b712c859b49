# Cascade Mask R-CNN on Dual-Attention-S (MPT Table VII).
_base_ = [
    '../_base_/models/cascade_mask_rcnn_dualattn.py',
    '../_base_/datasets/coco_instance_896.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detect.py',
]
model = dict(
    backbone=dict(
        model_name='dualattn_small',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='work_dirs/dualattn_s_in1k/epoch_300.pth'),
    )
)
