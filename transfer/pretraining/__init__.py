"""Networks that learn to see without labels, from another network; importing this registers it with mmengine."""

from transfer.pretraining.distillation import FeatureDistiller
from transfer.pretraining.export import StudentExportHook
from transfer.pretraining.neighbors import NeighborAccuracy
from transfer.pretraining.photographs import UnlabelledPhotographs

__all__ = ['FeatureDistiller', 'NeighborAccuracy', 'StudentExportHook', 'UnlabelledPhotographs']
