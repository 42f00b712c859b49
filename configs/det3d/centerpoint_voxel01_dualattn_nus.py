# CenterPoint, VoxelNet encoder: the SECOND backbone replaced by Dual-Attention (MPT Tables XI and XII).
_base_ = ['centerpoint_voxel01_second_nus.py']

model = dict(
    pts_backbone=dict(
        _delete_=True, type='DualAttnBEV', in_channels=256, out_channels=[128, 256], depths=[1, 1], strides=[1, 2]
    )
)
