"""Readers of point clouds and info files that say what is wrong with which file.

Each takes the name of mmdet3d's own in its registry, so that every pipeline and converter reads with it.
"""

import logging
from pathlib import Path
from pickle import UnpicklingError

import mmengine
import numpy as np
from mmdet3d.datasets import Det3DDataset, KittiDataset, NuScenesDataset
from mmdet3d.datasets.transforms import LoadPointsFromFile, LoadPointsFromMultiSweeps
from mmdet3d.models.data_preprocessors import Det3DDataPreprocessor
from mmdet3d.registry import DATASETS, MODELS, TRANSFORMS
from torch import Tensor

from dualattn.engine import DataError
from transfer.detection3d.clouds import is_named, read_columns
from transfer.detection3d.layout import check_layout
from transfer.protocol import StatedProtocol

__all__ = [
    'CheckedDet3DDataPreprocessor',
    'CheckedKittiDataset',
    'CheckedLoadPointsFromFile',
    'CheckedLoadPointsFromMultiSweeps',
    'CheckedNuScenesDataset',
    'check_points',
]

logger = logging.getLogger(__name__)

_COLORS = [(60 * i % 256, 90 * i % 256, 150 * i % 256) for i in range(1, 65)]  # of further classes in pictures
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
    """Reads a file of float32 numbers, or a .pcd or .ply, for a transform of mmdet3d with `load_dim`."""

    check_layout = False

    load_dim: int
    backend_args: dict | None

    def _load_points(self, pts_filename: str) -> np.ndarray:
        if self.backend_args is not None or not Path(pts_filename).is_file():
            values = super()._load_points(pts_filename)  # type: ignore[misc]  # of the transform beside this class
            return check_points(values, self.load_dim, pts_filename)
        data = Path(pts_filename).read_bytes()
        if is_named(pts_filename, data):
            points, left_out = read_columns(data, self.load_dim, pts_filename)
            if left_out:
                logger.warning('%s: %d points without coordinates are left out', pts_filename, left_out)
            return points.reshape(-1)
        if self.check_layout:
            check_layout(data, self.load_dim, pts_filename)
        elif len(data) % 4:
            raise DataError(f'{pts_filename} is truncated: its size is no multiple of 4 bytes')
        return check_points(np.frombuffer(data, dtype=np.float32).copy(), self.load_dim, pts_filename)


@TRANSFORMS.register_module(name='LoadPointsFromFile', force=True)
class CheckedLoadPointsFromFile(_CheckedReader, LoadPointsFromFile):
    """mmdet3d's LoadPointsFromFile, which refuses what is not laid out as `load_dim` says, and reads .pcd and .ply.

    Takes the arguments of mmdet3d's.

    Args:
        check_layout: let the numbers of the file tell whether `load_dim` of them make a point.
    """

    def __init__(self, *args, check_layout: bool = True, **kwargs):
        super().__init__(*args, **kwargs)
        self.check_layout = check_layout


@TRANSFORMS.register_module(name='LoadPointsFromMultiSweeps', force=True)
class CheckedLoadPointsFromMultiSweeps(_CheckedReader, LoadPointsFromMultiSweeps):
    """mmdet3d's LoadPointsFromMultiSweeps, with `check_points`; the layout of sweeps is that of the key frame."""


class _CheckedInfos(StatedProtocol, Det3DDataset):
    """Reads an info file, for a data set of mmdet3d.

    Raises:
        FileNotFoundError: there is no info file.
        DataError: it is none, or of another version, or `metainfo` names classes that the data set does not know.
    """

    METAINFO: dict

    def __init__(self, *args, metainfo: dict | None = None, **kwargs):
        wanted = (metainfo or {}).get('classes')
        if isinstance(wanted, str):
            raise DataError(f'metainfo.classes is a text, {wanted!r}, not a list of names: write [{wanted!r}] for one')
        known = self.METAINFO['classes']
        unknown = [str(name) for name in wanted or () if name not in known]
        if unknown:
            raise DataError(
                f'metainfo.classes names {", ".join(unknown)}, and {kwargs.get("ann_file")} knows {", ".join(known)}'
            )
        super().__init__(*args, metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        make = 'make it with `dualattn create-data`'
        try:
            infos = super().load_data_list()
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
    """mmdet3d's KittiDataset, with a check of its info file, which may name further classes than those of KITTI.

    Takes the arguments of mmdet3d's. A frame without labels, as all of KITTI's testing split, has no objects.
    """

    def __init__(self, data_root: str, ann_file: str, *args, metainfo: dict | None = None, **kwargs):
        classes = _read_categories(Path(data_root or '', ann_file))
        if classes is not None and classes != list(self.METAINFO['classes']):
            palette = [*self.METAINFO['palette'], *_COLORS[: len(classes) - len(self.METAINFO['palette'])]]
            self.METAINFO = dict(classes=tuple(classes), palette=palette)
            metainfo = {**self.METAINFO, **(metainfo or {})}
        super().__init__(data_root, ann_file, *args, metainfo=metainfo, **kwargs)

    def parse_data_info(self, info: dict) -> dict:
        """Complete the description of a frame, see mmdet3d."""
        info.setdefault('instances', [])
        return super().parse_data_info(info)


def _read_categories(path: Path) -> list[str] | None:
    """Read the classes that an info file of KITTI numbers, in order; None if it is none, which mmdet3d finds out."""
    try:
        categories = mmengine.load(str(path))['metainfo']['categories']
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, EOFError, UnpicklingError):
        return None
    numbered = sorted((number, name) for name, number in categories.items() if number >= 0)
    return [name for _, name in numbered] if [number for number, _ in numbered] == list(range(len(numbered))) else None


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
