# MPT Table II: GLH-Transformer and CM, which is ColorFormer's own pair, within MPT; see mpt_memory.py.
_base_ = ['./mpt_glh.py']

model = dict(generator=dict(color_decoder='memory'))
