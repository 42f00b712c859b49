# The training of the weights that ship with the package, second part: 128 px, the rate falls to nothing.
_base_ = ['./mpt_small.py']
model = dict(generator_weights='work_dirs/mpt_small/weights.safetensors', generator=dict(encoder_weights=None))
train_dataloader = dict(
    dataset=dict(
        augment=[
            dict(type='torchvision/RandomResizedCrop', size=128, scale=(0.5, 1.0), ratio=(0.8, 1.25), antialias=True),
            dict(type='torchvision/RandomHorizontalFlip'),
        ]
    )
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=2000, eta_min=2e-6),
]
train_cfg = dict(max_iters=2000, val_interval=500)
