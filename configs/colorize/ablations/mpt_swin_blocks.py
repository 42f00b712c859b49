# MPT Table II: the encoder is Swin-T; six of its blocks in the place of Color-Attention.
_base_ = ['./mpt_swin.py']

model = dict(generator=dict(color_decoder='blocks'))
