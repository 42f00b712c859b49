# mmdet's Mask R-CNN on Dual-Attention-T, which begins with the weights that configs/cls/dualattn_t_in1k.py makes.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='DualAttn',
        model_name='dualattn_tiny',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/dualattn_t_in1k/epoch_300.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
