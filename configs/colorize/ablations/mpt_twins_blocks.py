# MPT Table II: the encoder is Twins-S (SVT); six of its blocks in the place of Color-Attention.
_base_ = ['./mpt_twins.py']

model = dict(generator=dict(color_decoder='blocks'))
