# Dual-Attention with smaller MLPs: the variant that is faster than SECOND on a CPU as well.
_base_ = ['second_dualattn_kitti_3class.py']

model = dict(backbone=dict(mlp_ratio=1))
