# The training of the weights that ship with the package: an hour on one CPU core, with --amp. The pixel loss alone,
# because in that hour the other losses gain nothing (docs/results.md).
_base_ = [
    '../_base_/models/mpt_small.py',
    '../_base_/datasets/photos_128.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/runtime/colorize.py',
]
model = dict(critic=None, perceptual_loss=None, adversarial_loss=None, weight_clip=None)
optim_wrapper = dict(critic=None)
default_hooks = dict(checkpoint=dict(interval=250))
