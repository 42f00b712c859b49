# The palette's cross-entropy under the budget of `dualattn ablate losses`: the recipe of the packaged weights at 64 px,
# on photographs as they are.
_base_ = ['../mpt_small.py']
model = dict(generator=dict(temperature=1.0, gain=1.0, recovery=0.0))
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        degrade=[],
        decode_min_side=96,
        prepare=[dict(type='torchvision/Resize', size=96, antialias=True)],
        augment=[
            dict(type='torchvision/RandomResizedCrop', size=64, scale=(0.35, 1.0), ratio=(0.8, 1.25), antialias=True),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
)
param_scheduler = [dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=100)]
train_cfg = dict(max_iters=1500, val_interval=250)
