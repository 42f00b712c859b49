# DDColor-tiny, tested on val5k.
_base_ = ['./ddcolor_large_val5k.py']

model = dict(generator=dict(encoder='convnext_tiny.fb_in22k', encoder_weights='weights/convnext_tiny_22k_224.pth'))
