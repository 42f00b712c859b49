# The training of the weights that ship with the package, last part, from those of the third: 192 px, near the size at
# which photographs are colorized, and the rate falls to nothing.
_base_ = ['./mpt_small_128.py']
load_from = 'work_dirs/mpt_small_128/iter_5400.pth'
model = dict(generator_weights=None)
train_dataloader = dict(
    dataset=dict(
        augment=[
            dict(type='torchvision/RandomResizedCrop', size=192, scale=(0.5, 1.0), ratio=(0.8, 1.25), antialias=True),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    )
)
optim_wrapper = dict(generator=dict(optimizer=dict(lr=2e-4)))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=1200, eta_min=1e-6),
]
train_cfg = dict(max_iters=1200, val_interval=400)
randomness = dict(seed=2)
