# The training of the weights that ship with the package, fourth part, from those of the third: the rate falls to
# nothing, and the average follows faster.
_base_ = ['./mpt_small_128.py']
load_from = 'work_dirs/mpt_small_128/iter_3500.pth'
model = dict(generator_weights=None, ema_momentum=0.002)
optim_wrapper = dict(generator=dict(optimizer=dict(lr=3.6e-4)))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=30),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=30, end=1200, eta_min=1e-6),
]
train_cfg = dict(max_iters=1200, val_interval=400)
randomness = dict(seed=2)
