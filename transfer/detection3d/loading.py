"""Readers of point clouds and info files that say what is wrong with which file.

Each takes the name of mmdet3d's own in its registry, so that every pipeline and converter reads with it.
"""

import numpy as np
from mmdet3d.datasets import KittiDataset, NuScenesDataset
from mmdet3d.datasets.transforms import LoadPointsFromFile, LoadPointsFromMultiSweeps
from mmdet3d.models.data_preprocessors import Det3DDataPreprocessor
from mmdet3d.registry import DATASETS, MODELS, TRANSFORMS
from torch import Tensor

from dualattn.engine import DataError

__all__ = [
    'CheckedDet3DDataPreprocessor',
    'CheckedKittiDataset',
    'CheckedLoadPointsFromFile',
    'CheckedLoadPointsFromMultiSweeps',
    'CheckedNuScenesDataset',
    'check_points',
]

_INFO_VERSION = '1.1'  # what mmdet3d 1.4 writes and reads


def check_points(values: np.ndarray, columns: int, path: str) -> np.ndarray:
    """Check the float32 numbers of a point cloud's file, (points * columns,), and return them.

    Raises:
        DataError: the last point is cut off, or there are NaN or infinite values.
    """
    if values.size % columns:
        raise DataError(
            f'{path} holds {values.size} numbers, not a multiple of {columns}: it is truncated, or its '
            f'points have not {columns} float32 each'
        )
    bad = ~np.isfinite(values)
    if bad.any():
        points = np.unique(bad.nonzero()[0] // columns)
        raise DataError(
            f'{path} has NaN or infinite values in {len(points)} of {values.size // columns} points, the '
            f'first at point {points[0]}: remove these points'
        )
    return values


class _CheckedReader:
    """Reads a file of float32 numbers, for a transform of mmdet3d with `load_dim`."""

    load_dim: int

    def _load_points(self, pts_filename: str) -> np.ndarray:
        try:
            values = super()._load_points(pts_filename)  # type: ignore[misc]  # of the transform beside this class
        except ValueError as error:
            raise DataError(f'{pts_filename} is truncated: its size is no multiple of 4 bytes') from error
        return check_points(values, self.load_dim, pts_filename)


@TRANSFORMS.register_module(name='LoadPointsFromFile', force=True)
class CheckedLoadPointsFromFile(_CheckedReader, LoadPointsFromFile):
    """mmdet3d's LoadPointsFromFile, with `check_points`."""


@TRANSFORMS.register_module(name='LoadPointsFromMultiSweeps', force=True)
class CheckedLoadPointsFromMultiSweeps(_CheckedReader, LoadPointsFromMultiSweeps):
    """mmdet3d's LoadPointsFromMultiSweeps, with `check_points`."""


class _CheckedInfos:
    """Reads an info file, for a data set of mmdet3d.

    Raises:
        FileNotFoundError: there is no info file.
        DataError: it is none, or of another version.
    """

    ann_file: str
    metainfo: dict

    def load_data_list(self) -> list[dict]:
        make = 'make it with tools/create_data.py'
        try:
            infos = super().load_data_list()  # type: ignore[misc]  # of the data set beside this class
        except FileNotFoundError as error:
            raise FileNotFoundError(f'no info file at {self.ann_file}: {make}') from error
        except (TypeError, ValueError, KeyError) as error:
            raise DataError(f'{self.ann_file} is no info file of version {_INFO_VERSION}: {make} ({error})') from error
        version = self.metainfo.get('info_version')
        if version != _INFO_VERSION:
            raise DataError(f'{self.ann_file} is of version {version}, expected {_INFO_VERSION}: {make}')
        return infos


@DATASETS.register_module(name='KittiDataset', force=True)
class CheckedKittiDataset(_CheckedInfos, KittiDataset):
    """mmdet3d's KittiDataset, with a check of its info file."""


@DATASETS.register_module(name='NuScenesDataset', force=True)
class CheckedNuScenesDataset(_CheckedInfos, NuScenesDataset):
    """mmdet3d's NuScenesDataset, with a check of its info file."""


@MODELS.register_module(name='Det3DDataPreprocessor', force=True)
class CheckedDet3DDataPreprocessor(Det3DDataPreprocessor):
    """mmdet3d's Det3DDataPreprocessor, for which a cloud may be empty or out of range.

    A batch without any voxel would end in an error deep inside the sparse encoder. It gets one voxel, with one point of
    zeros, so that the network answers what it has learned about an empty scene.
    """

    def voxelize(self, points: list[Tensor], data_samples: list) -> dict[str, Tensor]:
        """Voxelize the points of a batch, (N_i, C) float each; takes and returns what mmdet3d's method does."""
        voxels = super().voxelize(points, data_samples)
        if self.voxel_type == 'hard' and not len(voxels['voxels']):
            shapes = dict(voxels=(1, *voxels['voxels'].shape[1:]), coors=(1, 4), num_points=(1,), voxel_centers=(1, 3))
            voxels.update({name: voxels[name].new_zeros(shape) for name, shape in shapes.items()})
            voxels['num_points'] += 1
        return voxels
