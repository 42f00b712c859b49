"""The Dual-Attention backbone in OpenMMLab; importing this registers it with mmengine as `DualAttn`.

A config of mmdet or mmdet3d names it with `custom_imports = dict(imports=['transfer'], allow_failed_imports=False)`.
"""

from transfer.backbone import DualAttn
from transfer.layer_decay import LayerDecayOptimWrapperConstructor

__all__ = ['DualAttn', 'LayerDecayOptimWrapperConstructor']
