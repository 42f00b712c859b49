# The training of the weights that shipped with version 0.1: an hour on one CPU core, with --amp. The pixel loss alone,
# which learns the mean of what is plausible, and that is brown.
_base_ = [
    '../_base_/models/mpt_small_l1.py',
    '../_base_/datasets/photos_128.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/runtime/colorize.py',
]
model = dict(critic=None, perceptual_loss=None, adversarial_loss=None, weight_clip=None)
optim_wrapper = dict(critic=None)
default_hooks = dict(checkpoint=dict(interval=250))
