# The palette with a critic that matters.
_base_ = ['./palette.py']
model = dict(
    critic=dict(type='Critic', dims=(32, 64, 128, 256)),
    adversarial_loss=dict(type='GANLoss', gan_type='wgan', loss_weight=0.02),
    gradient_penalty=dict(type='GradientPenalty', loss_weight=10.0),
)
optim_wrapper = dict(
    critic=dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999))),
)
