# MPT Table IV: 50 colour queries instead of 150.
_base_ = ['../mpt_base.py']

model = dict(generator=dict(num_queries=50))
