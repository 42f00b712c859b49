# MPT Table II: the encoder is ResNet-50, untrained, in its ImageNet-1k setting; with Color-Attention.
_base_ = ['../mpt_base.py']

model = dict(generator=dict(encoder='resnet50'))
