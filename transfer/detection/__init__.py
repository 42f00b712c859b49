"""What our detection configs need beside mmdet; importing this registers it with mmdet."""

from transfer.detection.dataset import CheckedCocoDataset

__all__ = ['CheckedCocoDataset']
