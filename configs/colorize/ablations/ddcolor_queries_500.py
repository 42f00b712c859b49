# DDColor Table 3: 500 colour queries.
_base_ = ['../ddcolor_large_val5k.py']

model = dict(generator=dict(num_queries=500))
