"""What our detection configs need beside mmdet; importing this registers it with mmdet."""

from transfer.detection.augmentation import AugmentedDetector
from transfer.detection.dataset import CheckedCocoDataset, CheckedCocoMetric
from transfer.detection.loading import CheckedLoadImageFromFile
from transfer.operators import warn_of_missing_operators

__all__ = ['AugmentedDetector', 'CheckedCocoDataset', 'CheckedCocoMetric', 'CheckedLoadImageFromFile']

warn_of_missing_operators()
