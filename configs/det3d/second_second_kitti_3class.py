# SECOND on KITTI with 3 classes, as mmdet3d has it, with the schedule of MPT IV-G.
_base_ = ['mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py', '../_base_/runtime/detect3d.py']

default_hooks = _base_.detect3d.default_hooks
train_dataloader = _base_.detect3d.train_dataloader
auto_scale_lr = _base_.detect3d.auto_scale_lr
optim_wrapper = _base_.detect3d.optim_wrapper
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=16, eta_min_ratio=10, end=16, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=24, eta_min_ratio=1e-3, begin=16, end=40, convert_to_iter_based=True),
    dict(type='CosineAnnealingMomentum', T_max=16, eta_min=0.85, end=16, convert_to_iter_based=True),
    dict(type='CosineAnnealingMomentum', T_max=24, eta_min=0.95, begin=16, end=40, convert_to_iter_based=True),
]
train_cfg = dict(val_interval=5)
