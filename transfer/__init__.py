"""The Dual-Attention backbone in OpenMMLab; importing this registers it with mmengine as `DualAttn`.

A config of mmdet or mmdet3d names it with `custom_imports = dict(imports=['transfer'], allow_failed_imports=False)`.
Where mmengine is not loaded yet, it is registered at the moment that it is: see dualattn/registration.py.
"""

from typing import Any

from dualattn.registration import register_with

__all__ = ['ClassCheckHook', 'DualAttn', 'LayerDecayOptimWrapperConstructor']

register_with(
    'mmengine',
    ['transfer.backbone', 'transfer.classes', 'transfer.layer_decay'],
    # dualattn.engine loads mmengine while it is half there itself, and what is registered needs the whole of it
    through=['dualattn.engine']
    + [
        f'transfer.{name}'
        for name in (
            'backbone',
            'classes',
            'classification',
            'detection',
            'detection3d',
            'layer_decay',
            'main_process',
            'operators',
            'photographs',
            'pretraining',
            'weights',
        )
    ],
)


def __getattr__(name: str) -> Any:
    if name == 'ClassCheckHook':
        from transfer.classes import ClassCheckHook

        return ClassCheckHook
    if name == 'DualAttn':
        from transfer.backbone import DualAttn

        return DualAttn
    if name == 'LayerDecayOptimWrapperConstructor':
        from transfer.layer_decay import LayerDecayOptimWrapperConstructor

        return LayerDecayOptimWrapperConstructor
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
