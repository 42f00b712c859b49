# MPT Table IV: 500 colour queries instead of 150.
_base_ = ['../mpt_base.py']

model = dict(generator=dict(num_queries=500))
