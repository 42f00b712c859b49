# MPT Table II: the encoder is ResNet-50; six of its blocks in the place of Color-Attention.
_base_ = ['./mpt_resnet50.py']

model = dict(generator=dict(color_decoder='blocks'))
