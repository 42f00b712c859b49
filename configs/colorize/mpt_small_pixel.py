# First stage of the weights that ship with the package: the pixel loss alone, because on two CPU cores the other
# losses cost twice the time of all that is trained.
_base_ = [
    '../_base_/models/mpt_small.py',
    '../_base_/datasets/photos_128.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/runtime/colorize.py',
]
model = dict(critic=None, perceptual_loss=None, adversarial_loss=None, weight_clip=None)
optim_wrapper = dict(critic=None)
default_hooks = dict(checkpoint=dict(interval=250))
