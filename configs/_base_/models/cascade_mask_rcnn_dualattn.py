# mmdet's Cascade Mask R-CNN on Dual-Attention-T, with the heads of Swin's and ConvNeXt's (four convolutions, one linear
# layer, GIoU loss): they are what the parameters of MPT Table VII count.
_base_ = ['mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py']
bbox_head = dict(
    type='ConvFCBBoxHead',
    num_shared_convs=4,
    num_shared_fcs=1,
    in_channels=256,
    conv_out_channels=256,
    fc_out_channels=1024,
    roi_feat_size=7,
    num_classes=80,
    reg_class_agnostic=False,
    reg_decoded_bbox=True,
    norm_cfg=dict(type='BN', requires_grad=True),
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    loss_bbox=dict(type='GIoULoss', loss_weight=10.0),
)
model = dict(
    backbone=dict(
        _delete_=True,
        type='DualAttn',
        model_name='dualattn_tiny',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/dualattn_t_in1k/epoch_300.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
    roi_head=dict(
        bbox_head=[
            dict(
                bbox_head,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder', target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.1, 0.1, 0.2, 0.2]
                ),
            ),
            dict(
                bbox_head,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder', target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.05, 0.05, 0.1, 0.1]
                ),
            ),
            dict(
                bbox_head,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder',
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    target_stds=[0.033, 0.033, 0.067, 0.067],
                ),
            ),
        ]
    ),
    # as Mask R-CNN has it: a photograph shrunk to a tenth may hold no anchor as a whole
    train_cfg=dict(rpn=dict(allowed_border=-1)),
)
del bbox_head  # Runner knows no such entry
# several GPUs norm the boxes of all of them together
sync_bn = 'torch'
