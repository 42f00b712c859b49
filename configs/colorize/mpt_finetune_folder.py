# Your own photographs, starting from the weights that ship with the package. Put colour photographs into
# data/my_photos/train and a few others of the same kind into data/my_photos/val. Thirty are enough for a kind of
# photograph to get its colours, in minutes on a laptop: the encoder stays as it is, the rate falls to nothing, and the
# average of the weights, which is what is kept, lies between before and after: the rest is not forgotten.
# For thousands: --cfg-options train_cfg.max_iters=3000 param_scheduler.1.end=3000 model.ema_momentum=0.001
_base_ = [
    '../_base_/models/mpt_small.py',
    '../_base_/datasets/photos_128.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/runtime/colorize.py',
]

model = dict(
    generator_weights='packaged',
    generator=dict(
        encoder_weights=None,
        palette=None,
        frozen_modules=['conv_stem', 'bn1', *(f'blocks.{i}' for i in range(7))],
    ),
    ema_momentum=0.0025,
)
train_dataloader = dict(
    dataset=dict(
        data_root='data/my_photos/train',
        decode_min_side=192,
        prepare=[dict(type='torchvision/Resize', size=192, antialias=True)],
        augment=[
            dict(type='torchvision/RandomResizedCrop', size=128, scale=(0.3, 1.0), ratio=(0.8, 1.25), antialias=True),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    )
)
val_dataloader = dict(dataset=dict(data_root='data/my_photos/val'))
test_dataloader = val_dataloader
optim_wrapper = dict(generator=dict(optimizer=dict(lr=3e-4)), critic=None)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=20, end=300, eta_min=1e-6),
]
train_cfg = dict(max_iters=300, val_interval=100)
default_hooks = dict(checkpoint=dict(interval=100))
