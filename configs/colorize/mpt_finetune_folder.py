# Your own photographs, starting from the weights that ship with the package. Put colour photographs into
# data/my_photos/train and a few others into data/my_photos/val; a few hundred give the network a taste of their
# colours, a few thousand its own.
_base_ = [
    '../_base_/models/mpt_small.py',
    '../_base_/datasets/photos_128.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/runtime/colorize.py',
]

model = dict(generator_weights='packaged', generator=dict(encoder_weights=None, palette=None))
train_dataloader = dict(
    num_workers=2, persistent_workers=True, dataset=dict(data_root='data/my_photos/train', cache=False)
)
val_dataloader = dict(dataset=dict(data_root='data/my_photos/val'))
test_dataloader = val_dataloader
optim_wrapper = dict(generator=dict(optimizer=dict(lr=1e-4)), critic=None)
param_scheduler = [dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=50)]
train_cfg = dict(max_iters=5000, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
