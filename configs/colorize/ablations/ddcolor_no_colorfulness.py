# DDColor Table 2a, row 3: without the colorfulness loss.
_base_ = ['../ddcolor_large_val5k.py']

model = dict(colorfulness_loss=None)
