# MPT Table III, row FCA; the first row, FCA-SDA, is mpt_base.py itself.
_base_ = ['../mpt_base.py']

model = dict(generator=dict(encoder_kwargs=dict(attn_types=('fca',))))
