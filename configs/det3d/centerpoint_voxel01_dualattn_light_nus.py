# Dual-Attention with smaller MLPs: the variant that is faster than SECOND on a CPU as well.
_base_ = ['centerpoint_voxel01_dualattn_nus.py']

model = dict(pts_backbone=dict(mlp_ratio=1))
