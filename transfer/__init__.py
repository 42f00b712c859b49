"""The Dual-Attention backbone in OpenMMLab; importing this registers it with mmengine as `DualAttn`.

A config of mmdet or mmdet3d names it with `custom_imports = dict(imports=['transfer'], allow_failed_imports=False)`.
Where mmengine is not loaded yet, it is registered at the moment that it is: see dualattn/registration.py.
"""

from typing import Any

from dualattn.registration import register_with

__all__ = ['DualAttn', 'LayerDecayOptimWrapperConstructor']

register_with(
    'mmengine',
    ['transfer.backbone', 'transfer.layer_decay'],
    through=[
        f'transfer.{name}'
        for name in (
            'backbone',
            'classification',
            'detection',
            'detection3d',
            'layer_decay',
            'operators',
            'weights',
        )
    ],
)


def __getattr__(name: str) -> Any:
    if name == 'DualAttn':
        from transfer.backbone import DualAttn

        return DualAttn
    if name == 'LayerDecayOptimWrapperConstructor':
        from transfer.layer_decay import LayerDecayOptimWrapperConstructor

        return LayerDecayOptimWrapperConstructor
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
