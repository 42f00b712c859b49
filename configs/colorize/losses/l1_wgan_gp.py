# The same with a critic that matters: a penalty on its slope in place of clipping.
_base_ = ['./l1_wgan.py']
model = dict(weight_clip=None, gradient_penalty=dict(type='GradientPenalty', loss_weight=10.0))
