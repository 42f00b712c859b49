# How a network learns from another one: by iterations, with an average over time, checked by nearest neighbours.
default_scope = 'mmengine'
custom_imports = dict(
    imports=['dualattn.engine', 'transfer', 'transfer.classification', 'transfer.pretraining'],
    allow_failed_imports=False,
)

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    checkpoint=dict(type='WholeCheckpointHook', by_epoch=False, interval=250, max_keep_ckpts=3),
)
custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.002),
    dict(type='StudentExportHook'),
]
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])

env_cfg = dict(dist_cfg=dict(backend='nccl'))  # processes without a GPU use gloo all the same
randomness = dict(seed=0)
load_from = None
resume = False
