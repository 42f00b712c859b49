# MPT Table II: the encoder is ColorFormer's GLH-Transformer, untrained; with Color-Attention.
_base_ = ['../mpt_base.py']

model = dict(generator=dict(encoder='glh_tiny'))
