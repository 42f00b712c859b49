# CenterPoint, PointPillars encoder: the SECOND backbone replaced by Dual-Attention (MPT Tables XI and XII).
_base_ = ['centerpoint_pillar02_second_nus.py']

model = dict(
    pts_backbone=dict(
        _delete_=True,
        type='DualAttnBEV',
        in_channels=64,
        out_channels=[64, 128, 256],
        depths=[1, 1, 1],
        strides=[2, 2, 2],
    )
)
