# MPT with a critic that matters. Clipping at 0.01 holds the gains of the critic's norms as well, and what reaches the
# colours is nearly nothing (docs/training.md has the measurement); a penalty on the critic's slope takes its place.
_base_ = ['./mpt_base.py']

model = dict(weight_clip=None, gradient_penalty=dict(type='GradientPenalty', loss_weight=10.0))
