# The training of the weights that ship with the package, fifth part, from those of the fourth: the rate rises once
# more and then falls to nothing: 300,000 samples in all. The packaged weights are those at its end.
_base_ = ['./mpt_small_128.py']
load_from = 'work_dirs/mpt_small_anneal/iter_1200.pth'
model = dict(generator_weights=None)
optim_wrapper = dict(generator=dict(optimizer=dict(lr=6e-4)))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=8650, eta_min=1e-6),
]
train_cfg = dict(max_iters=8650, val_interval=1500)
randomness = dict(seed=3)
