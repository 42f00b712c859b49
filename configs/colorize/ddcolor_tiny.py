# DDColor-tiny: the training of DDColor-large with a ConvNeXt-T.
_base_ = ['./ddcolor_large.py']

model = dict(generator=dict(encoder='convnext_tiny.fb_in22k', encoder_weights='weights/convnext_tiny_22k_224.pth'))
