# Dual-Attention-S on ImageNet-1K (MPT Tables V and VI).
_base_ = [
    '../_base_/models/imagenet_classifier.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/imagenet_300e.py',
    '../_base_/runtime/classify.py',
]
model = dict(backbone=dict(model_name='dualattn_small', drop_path_rate=0.2))
