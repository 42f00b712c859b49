# DDColor Table 2a, row 2: without the color decoder.
_base_ = ['../ddcolor_large_val5k.py']

model = dict(generator=dict(use_color_decoder=False))
