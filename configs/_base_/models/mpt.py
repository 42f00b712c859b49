# Multiscale Pyramid Transformer with the losses of MPT III-D and IV-A.
model = dict(
    type='GANColorizer',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
    generator=dict(type='MPT', encoder='dualattn_mpt', decoder_dims=(384, 192, 256), num_queries=150, depth=6),
    critic=dict(type='Critic'),
    pixel_loss=dict(type='PixelLoss', loss_weight=0.1),
    perceptual_loss=dict(type='PerceptualLoss', trunk='vgg19', weights='weights/vgg19-dcbb9e9d.pth', loss_weight=5.0),
    adversarial_loss=dict(type='GANLoss', gan_type='wgan', loss_weight=1.0),
    weight_clip=0.01,
    critic_steps=1,
)
# a test needs the generator alone
test_overrides = {'model.perceptual_loss': None, 'model.generator_weights': None}
