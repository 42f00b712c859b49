# Dual-Attention with smaller MLPs and, at 256 x 256 cells, a convolution alone: faster than SECOND on a CPU as well.
_base_ = ['centerpoint_pillar02_dualattn_nus.py']

model = dict(pts_backbone=dict(depths=[0, 1, 1], mlp_ratio=1))
