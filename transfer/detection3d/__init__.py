"""3D detection from point clouds with mmdet3d; importing this registers what the configs in configs/det3d name."""

from transfer.detection3d import loading, metric, sampling
from transfer.detection3d.bev import DualAttnBEV
from transfer.detection3d.hooks import ObjectOrderHook
from transfer.detection3d.repairs import apply_repairs
from transfer.detection3d.visualization import BirdEyeViewHook
from transfer.operators import warn_of_missing_operators

__all__ = ['BirdEyeViewHook', 'DualAttnBEV', 'ObjectOrderHook', 'apply_repairs', 'loading', 'metric', 'sampling']

apply_repairs()
warn_of_missing_operators()
