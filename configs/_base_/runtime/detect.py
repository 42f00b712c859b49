# How every detector runs: mmdet's own runtime, with whole checkpoints, reproducible iterations and a stop on NaN.
_base_ = ['mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['dualattn.engine', 'transfer', 'transfer.detection'], allow_failed_imports=False)

default_hooks = dict(checkpoint=dict(type='WholeCheckpointHook', max_keep_ckpts=3))
custom_hooks = [dict(type='ClassCheckHook')]
tta_model = dict(type='AugmentedDetector')  # dualattn test --tta
randomness = dict(seed=0)
