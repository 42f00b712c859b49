# What every 3D detector adds to mmdet3d's config of it. Two bases must not have one entry, so what mmdet3d's configs
# have too stands in `detect3d`, from which each config takes it.
custom_imports = dict(imports=['dualattn.engine', 'transfer.detection3d'], allow_failed_imports=False)
custom_hooks = [dict(type='ObjectOrderHook'), dict(type='ClassCheckHook')]
randomness = dict(seed=0)

detect3d = dict(
    default_hooks=dict(
        checkpoint=dict(_delete_=True, type='WholeCheckpointHook', interval=1, max_keep_ckpts=3),
        visualization=dict(_delete_=True, type='BirdEyeViewHook'),
    ),
    # 16 = 8 processes with 2 point clouds each
    train_dataloader=dict(batch_size=2, persistent_workers=False),
    auto_scale_lr=dict(enable=False, base_batch_size=16),
    # one cycle of AdamW: the rate goes 1e-4, 1e-3, 1e-7, the momentum 0.95, 0.85, 0.95
    optim_wrapper=dict(optimizer=dict(lr=1e-4, betas=(0.95, 0.99), weight_decay=0.01)),
)
