# How every colorizer runs: what is imported, logged, written and made reproducible.
default_scope = 'mmengine'
custom_imports = dict(
    imports=[
        'dualattn.engine',
        'colorization.systems',
        'colorization.data',
        'colorization.metrics',
        'colorization.hooks',
    ],
    allow_failed_imports=False,
)

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    checkpoint=dict(type='WholeCheckpointHook', by_epoch=False, interval=5000, max_keep_ckpts=3),
)
custom_hooks = [
    dict(type='ChromaWatchHook'),
    dict(type='SheetHook'),
    dict(type='LossCurveHook'),
    dict(type='ExportWeightsHook'),
]
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])

# generator and critic are wrapped one by one, because each has its own optimizer
model_wrapper_cfg = dict(type='MMSeparateDistributedDataParallel')
env_cfg = dict(dist_cfg=dict(backend='nccl'))  # processes without a GPU use gloo all the same
randomness = dict(seed=0)
load_from = None
resume = False
