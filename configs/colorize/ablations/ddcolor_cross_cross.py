# DDColor Table 2c: each block of the color decoder has cross-attention, then cross-attention.
_base_ = ['../ddcolor_large_val5k.py']

model = dict(generator=dict(attn_types=('cross', 'cross')))
