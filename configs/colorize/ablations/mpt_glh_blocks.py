# MPT Table II: the encoder is GLH-Transformer; six of its blocks in the place of Color-Attention.
_base_ = ['./mpt_glh.py']

model = dict(generator=dict(color_decoder='blocks'))
