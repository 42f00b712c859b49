# SECOND on KITTI: its 2D backbone replaced by Dual-Attention (MPT Table XIII).
_base_ = ['second_second_kitti_3class.py']

model = dict(
    backbone=dict(
        _delete_=True, type='DualAttnBEV', in_channels=256, out_channels=[128, 256], depths=[1, 1], strides=[1, 2]
    )
)
