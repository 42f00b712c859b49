# DDColor Table 2a, row 3: without the colorfulness loss.
_base_ = ['../ddcolor_large.py']

model = dict(colorfulness_loss=None)
