"""What our detection configs need beside mmdet; importing this registers it with mmdet."""

from transfer.detection.dataset import CheckedCocoDataset
from transfer.operators import warn_of_missing_operators

__all__ = ['CheckedCocoDataset']

warn_of_missing_operators()
