# DDColor Table 2b: the color decoder reads the map at 1/4 alone.
_base_ = ['../ddcolor_large.py']

model = dict(generator=dict(scales=(4,)))
