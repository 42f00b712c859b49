# DDColor-large with the losses of DDColor 3.4 and 4.1; what the paper leaves open is that of the public configuration:
# an encoder trained on ImageNet-22k, vgg16_bn before its norms and activations, the discriminator.
model = dict(
    type='GANColorizer',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
    generator=dict(
        type='DDColor',
        encoder='convnext_large.fb_in22k',
        encoder_weights='weights/convnext_large_22k_224.pth',
        num_queries=100,
        depth=9,
    ),
    critic=dict(type='PatchDiscriminator', dim=64),
    pixel_loss=dict(type='PixelLoss', loss_weight=0.1),
    perceptual_loss=dict(
        type='PerceptualLoss',
        trunk='vgg16_bn',
        weights='weights/vgg16_bn-6c64b313.pth',
        # conv1_1 to conv5_1
        layers={
            'features.0': 1 / 16,
            'features.7': 1 / 8,
            'features.14': 1 / 4,
            'features.24': 1 / 2,
            'features.34': 1.0,
        },
        loss_weight=5.0,
    ),
    adversarial_loss=dict(type='GANLoss', gan_type='vanilla', loss_weight=1.0),
    colorfulness_loss=dict(type='ColorfulnessLoss', loss_weight=0.5),
    # colour augmentation, as the public training has it: of the real image that two of the losses see, of no target
    real_saturation=1.2,
)
# a test needs the generator alone
test_overrides = {
    'model.perceptual_loss': None,
    'model.generator.encoder_weights': None,
    'model.generator_weights': None,
}
