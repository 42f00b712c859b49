# How every classifier runs.
default_scope = 'mmengine'
custom_imports = dict(imports=['dualattn.engine', 'transfer', 'transfer.classification'], allow_failed_imports=False)

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(type='WholeCheckpointHook', interval=1, max_keep_ckpts=3),
)
custom_hooks = [dict(type='ClassCheckHook')]
tta_model = dict(type='AugmentedClassifier')  # dualattn test --tta
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])

env_cfg = dict(cudnn_benchmark=True, dist_cfg=dict(backend='nccl'))  # processes without a GPU use gloo all the same
randomness = dict(seed=0)
load_from = None
resume = False
