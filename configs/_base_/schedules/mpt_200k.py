# MPT IV-A: Adam, 1e-4, 200k iterations, halved at 80k, 120k and 160k; the same for generator and critic.
optim_wrapper = dict(
    constructor='PerNetworkOptimWrapperConstructor',
    generator=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999))),
    critic=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999))),
)
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[80000, 120000, 160000], gamma=0.5)]
auto_scale_lr = dict(base_batch_size=16, enable=False)

train_cfg = dict(type='ResumableIterTrainLoop', max_iters=200000, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
