# DDColor Table 2a, row 1: without the color decoder and without the colorfulness loss.
_base_ = ['../ddcolor_large_val5k.py']

model = dict(generator=dict(use_color_decoder=False), colorfulness_loss=None)
