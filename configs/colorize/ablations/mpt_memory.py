# MPT Table II: ColorFormer's CM in the place of Color-Attention. `dualattn ablate mpt-2` makes its memory; for a
# training by itself: dualattn memory CONFIG -o FILE, then --cfg-options model.generator.memory=FILE.
_base_ = ['../mpt_base.py']

model = dict(generator=dict(color_decoder='memory'))
