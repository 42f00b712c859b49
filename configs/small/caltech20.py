# 20 classes of Caltech-101 at 96 x 96 (320 images to train on, 100 to test), from the weights of
# pretrain/dualattn_mpt_pico_lite2.py: what a pretraining is worth. Beside it: _scratch from random weights, _davit and
# _davit_scratch the same of DaViT; three seeds are randomness.seed=0, 1 and 2.
_base_ = ['../_base_/runtime/classify.py']
classes = [
    'Faces',
    'Leopards',
    'Motorbikes',
    'accordion',
    'airplanes',
    'anchor',
    'ant',
    'barrel',
    'bass',
    'beaver',
    'binocular',
    'bonsai',
    'brain',
    'brontosaurus',
    'buddha',
    'butterfly',
    'camera',
    'cannon',
    'ceiling_fan',
    'cellphone',
]
model = dict(
    type='ImageClassifier',
    backbone=dict(model_name='dualattn_mpt_pico', num_classes=20, drop_path_rate=0.05),
    smoothing=0.1,
    init_cfg=dict(type='Pretrained', checkpoint='work_dirs/dualattn_mpt_pico_lite2/student.safetensors'),
)
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ClassFolder',
        data_root='data/caltech/train',
        classes=classes,
        others='leave',
        transform=dict(
            input_size=96, is_training=True, scale=(0.4, 1.0), color_jitter=0.3, interpolation='bicubic', re_prob=0.25
        ),
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ClassFolder',
        data_root='data/caltech/val',
        classes=classes,
        others='leave',
        transform=dict(input_size=96, interpolation='bicubic', crop_pct=1.0, crop_mode='center'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='TopKAccuracy', topk=(1, 5))
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, begin=0, end=3, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=3, end=60, eta_min=1e-6, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=32, enable=False)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=60, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=20))
