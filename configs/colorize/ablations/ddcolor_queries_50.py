# DDColor Table 3: 50 colour queries.
_base_ = ['../ddcolor_large.py']

model = dict(generator=dict(num_queries=50))
