# CenterPoint with the PointPillars encoder on nuScenes, as mmdet3d has it, with the schedule of MPT IV-G.
_base_ = ['mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_head-circlenms_8xb4-cyclic-20e_nus-3d.py']

custom_imports = dict(imports=['dualattn.engine', 'transfer.detection3d'], allow_failed_imports=False)
default_hooks = dict(
    checkpoint=dict(_delete_=True, type='WholeCheckpointHook', interval=1, max_keep_ckpts=3),
    visualization=dict(_delete_=True, type='BirdEyeViewHook'),
)
custom_hooks = [
    dict(type='SeedIterationHook'),
    dict(type='ObjectOrderHook'),
    dict(type='MeanLossHook'),
    dict(type='StopOnNaNHook'),
]
randomness = dict(seed=0)

# 16 = 8 processes with 2 point clouds each
train_dataloader = dict(batch_size=2, persistent_workers=False)
auto_scale_lr = dict(enable=False, base_batch_size=16)

# one cycle of AdamW: the rate goes 1e-4, 1e-3, 1e-7, the momentum 0.95, 0.85, 0.95
optim_wrapper = dict(optimizer=dict(lr=1e-4, betas=(0.95, 0.99), weight_decay=0.01))
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=8, eta_min_ratio=10, end=8, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=12, eta_min_ratio=1e-3, begin=8, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingMomentum', T_max=8, eta_min=0.85, end=8, convert_to_iter_based=True),
    dict(type='CosineAnnealingMomentum', T_max=12, eta_min=0.95, begin=8, end=20, convert_to_iter_based=True),
]
