# DDColor Table 2c: each block of the color decoder has self-attention, then self-attention.
_base_ = ['../ddcolor_large.py']

model = dict(generator=dict(attn_types=('self', 'self')))
