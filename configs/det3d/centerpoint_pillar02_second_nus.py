# CenterPoint with the PointPillars encoder on nuScenes, as mmdet3d has it, with the schedule of MPT IV-G.
_base_ = [
    'mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_head-circlenms_8xb4-cyclic-20e_nus-3d.py',
    '../_base_/runtime/detect3d.py',
    '../_base_/schedules/one_cycle_20e.py',
]

default_hooks = _base_.detect3d.default_hooks
train_dataloader = _base_.detect3d.train_dataloader
auto_scale_lr = _base_.detect3d.auto_scale_lr
optim_wrapper = _base_.detect3d.optim_wrapper
param_scheduler = _base_.one_cycle
