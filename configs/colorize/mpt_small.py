# The training of the weights that ship with the package, first part: 96 px, a constant rate. The second part, from its
# weights, is mpt_small_finish.py.
_base_ = [
    '../_base_/models/mpt_small.py',
    '../_base_/datasets/photos_pool.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/runtime/colorize.py',
]
optim_wrapper = dict(critic=None)
param_scheduler = [dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=200)]
train_cfg = dict(max_iters=2000, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=250))
