# Dual-Attention-S at 384 x 384, from the weights of dualattn_s_in1k.py (MPT Tables VI and IX).
_base_ = [
    '../_base_/models/imagenet_classifier.py',
    '../_base_/datasets/imagenet_384.py',
    '../_base_/schedules/imagenet_finetune_150e.py',
    '../_base_/runtime/classify_ema.py',
]
model = dict(
    backbone=dict(model_name='dualattn_small_384', drop_path_rate=0.2),
    init_cfg=dict(type='Pretrained', checkpoint='work_dirs/dualattn_s_in1k/epoch_300.pth', prefix='backbone.'),
)
