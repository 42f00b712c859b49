# DDColor Table 3: 500 colour queries.
_base_ = ['../ddcolor_large.py']

model = dict(generator=dict(num_queries=500))
