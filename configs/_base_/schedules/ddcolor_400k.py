# DDColor 4.1: AdamW, 1e-4, 400k iterations at batch 16, halved at 80k and every 40k after it; the discriminator's
# optimizer is that of the public configuration.
optim_wrapper = dict(
    constructor='PerNetworkOptimWrapperConstructor',
    generator=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01)),
    critic=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.99))),
)
param_scheduler = [
    dict(
        type='MultiStepLR',
        by_epoch=False,
        gamma=0.5,
        milestones=[80000, 120000, 160000, 200000, 240000, 280000, 320000, 360000],
    ),
]
auto_scale_lr = dict(base_batch_size=16, enable=False)

train_cfg = dict(type='ResumableIterTrainLoop', max_iters=400000, val_interval=10000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
