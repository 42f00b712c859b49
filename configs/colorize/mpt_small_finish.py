# The training of the weights that ship with the package, second part: 112 px, and the rate falls to nothing.
_base_ = ['./mpt_small.py']
load_from = 'work_dirs/mpt_small/iter_2000.pth'
model = dict(generator=dict(encoder_weights=None))
train_dataloader = dict(
    dataset=dict(
        augment=[
            dict(type='torchvision/RandomResizedCrop', size=112, scale=(0.5, 1.0), ratio=(0.8, 1.25), antialias=True),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
        degrade=[dict(type='OldPhoto', prob=0.5)],
    )
)
optim_wrapper = dict(
    generator=dict(
        optimizer=dict(lr=8e-4),
        paramwise_cfg=dict(custom_keys={'encoder.trunk': dict(lr_mult=0.25)}),
    )
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=3400, eta_min=2e-6),
]
train_cfg = dict(max_iters=3400, val_interval=500)
