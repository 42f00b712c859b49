# DDColor Table 3: 100 colour queries, as published.
_base_ = ['../ddcolor_large_val5k.py']

model = dict(generator=dict(num_queries=100))
