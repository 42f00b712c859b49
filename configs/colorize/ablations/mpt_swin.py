# MPT Table II: the encoder is Swin-T, untrained, in its ImageNet-1k setting; with Color-Attention.
_base_ = ['../mpt_base.py']

model = dict(generator=dict(encoder='swin_tiny_patch4_window7_224'))
