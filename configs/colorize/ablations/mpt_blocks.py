# MPT Table II: six Dual-Attention blocks in the place of Color-Attention.
_base_ = ['../mpt_base.py']

model = dict(generator=dict(color_decoder='blocks'))
