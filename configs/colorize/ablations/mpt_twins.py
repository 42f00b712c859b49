# MPT Table II: the encoder is Twins-S (SVT), untrained, in its ImageNet-1k setting; with Color-Attention.
_base_ = ['../mpt_base.py']

model = dict(generator=dict(encoder='twins_svt_small'))
