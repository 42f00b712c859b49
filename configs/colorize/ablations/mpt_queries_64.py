# MPT IV-A, "K is set to 64": 64 colour queries instead of 150.
_base_ = ['../mpt_base.py']

model = dict(generator=dict(num_queries=64))
