# A classifier whose weights are averaged over time by 0.9999 (MPT Table VI): the average is tested and stored.
_base_ = ['./classify.py']
custom_hooks = [
    dict(type='ClassCheckHook'),
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=1e-4),
]
