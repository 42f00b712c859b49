# MPT as published (MPT IV-A): 256 px, batch 16, 200k iterations on ImageNet.
_base_ = [
    '../_base_/models/mpt.py',
    '../_base_/datasets/imagenet_256.py',
    '../_base_/schedules/mpt_200k.py',
    '../_base_/runtime/colorize.py',
]
