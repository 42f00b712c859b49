# The embedded default: photographs that scikit-image and scikit-learn carry, from the weights that ship with this
# package, a few minutes on two CPU cores. All of a real training is in it: losses, checkpoints, sheets and curves.
_base_ = ['./mpt_finetune_folder.py']

train_dataloader = dict(
    batch_size=7,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        type='PackagedPhotos',
        cache=True,
        prepare=[dict(type='torchvision/Resize', size=144, antialias=True)],
        augment=[dict(type='torchvision/RandomCrop', size=128), dict(type='torchvision/RandomHorizontalFlip')],
    ),
)
val_dataloader = dict(
    batch_size=7,
    dataset=dict(
        _delete_=True,
        type='PackagedPhotos',
        prepare=[
            dict(type='torchvision/Resize', size=160, antialias=True),
            dict(type='torchvision/CenterCrop', size=160),
        ],
    ),
)
test_dataloader = val_dataloader
optim_wrapper = dict(generator=dict(optimizer=dict(lr=1e-4)))
param_scheduler = [dict(type='LinearLR', by_epoch=False, start_factor=0.1, end=10)]
train_cfg = dict(max_iters=80, val_interval=40)
log_processor = dict(window_size=10)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=40))
# an average over a thousand iterations would hardly have moved
model = dict(ema_momentum=0.05)
