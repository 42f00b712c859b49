# Second stage of the weights that ship with the package: all losses, from the first stage's weights.
_base_ = [
    '../_base_/models/mpt_small.py',
    '../_base_/datasets/photos_128.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/runtime/colorize.py',
]
model = dict(generator_weights='work_dirs/mpt_small_pixel/weights.safetensors')
optim_wrapper = dict(generator=dict(optimizer=dict(lr=1e-4)))
param_scheduler = [dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=50)]
train_cfg = dict(max_iters=1000, val_interval=250)
default_hooks = dict(checkpoint=dict(interval=100))
