# AdamW with a warm-up and a cosine, for short trainings of the small network.
optim_wrapper = dict(
    constructor='PerNetworkOptimWrapperConstructor',
    generator=dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.99), weight_decay=0.01),
        clip_grad=dict(max_norm=5.0),
        # the encoder has learned to see already
        paramwise_cfg=dict(custom_keys={'encoder.trunk': dict(lr_mult=0.2)}),
    ),
    critic=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999))),
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=200),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=200, end=3000, eta_min=5e-6),
]
auto_scale_lr = dict(base_batch_size=16, enable=False)

train_cfg = dict(type='ResumableIterTrainLoop', max_iters=3000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
