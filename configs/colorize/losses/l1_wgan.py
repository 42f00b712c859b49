# The losses of MPT Eq. 16: L1, perceptual, and a critic whose weights are clipped.
_base_ = ['./l1_perceptual.py']
model = dict(
    critic=dict(type='Critic', dims=(32, 64, 128, 256)),
    adversarial_loss=dict(type='GANLoss', gan_type='wgan', loss_weight=0.1),
    weight_clip=0.01,
)
optim_wrapper = dict(
    critic=dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999))),
)
