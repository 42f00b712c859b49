# DDColor Table 2b: the color decoder reads the map at 1/8 alone.
_base_ = ['../ddcolor_large_val5k.py']

model = dict(generator=dict(scales=(8,)))
