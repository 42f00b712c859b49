"""Info files and ground-truth databases for mmdet3d, by its own converters, from raw KITTI or nuScenes folders."""

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

import mmdet3d
import mmengine
from mmdet3d.utils import register_all_modules
from nuscenes.nuscenes import NuScenes

from dualattn.engine import DataError
from dualattn.io.files import list_files, write_whole

__all__ = ['convert_kitti', 'convert_nuscenes']

_CALIBRATION_LINES = ('P0', 'P1', 'P2', 'P3', 'R0_rect', 'Tr_velo_to_cam', 'Tr_imu_to_velo')


def _import_converter(name: str):
    """Import a module of the scripts that mmdet3d installs beside its package."""
    folder = Path(mmdet3d.__file__).parent / '.mim' / 'tools'
    if not (folder / 'dataset_converters').is_dir():
        raise FileNotFoundError(f'no converters at {folder / "dataset_converters"}: install mmdet3d 1.4 from its wheel')
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return importlib.import_module(f'dataset_converters.{name}')


def _link(source: Path, target: Path) -> None:
    """Make a link to raw data, unless it is there already."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.resolve(), target_is_directory=True)


def _make_database(dataset: str, out_dir: Path, prefix: str) -> Path:
    """Cut the points of every labelled object out of the training frames; the list of them is written last."""
    register_all_modules(init_default_scope=True)
    path = out_dir / f'{prefix}_dbinfos_train.pkl'
    with write_whole(path) as aside:
        _import_converter('create_gt_database').create_groundtruth_database(
            dataset, str(out_dir), prefix, f'{prefix}_infos_train.pkl', db_info_save_path=str(aside)
        )
    return path


# --- KITTI


def _check_kitti_frame(folder: Path, name: str, points: str) -> list[str]:
    """Tell what is wrong with one frame."""
    paths = [
        folder / 'image_2' / f'{name}.png',
        folder / 'label_2' / f'{name}.txt',
        folder / 'calib' / f'{name}.txt',
        folder / points / f'{name}.bin',
    ]
    faults = [f'{path} is missing' for path in paths if not path.is_file()]
    calib, cloud = paths[2:]
    if calib.is_file():
        found = {line.split(':')[0] for line in calib.read_text().splitlines()}
        lacking = [entry for entry in _CALIBRATION_LINES if entry not in found]
        if lacking:
            faults.append(f'{calib} has no {", ".join(lacking)}')
    if cloud.is_file() and cloud.stat().st_size % 16:
        faults.append(f'{cloud} has {cloud.stat().st_size} bytes, not a multiple of 16 (4 float32 a point): truncated?')
    return faults


def _raise_faults(faults: list[str]) -> None:
    if faults:
        more = f' and {len(faults) - 20} more' if len(faults) > 20 else ''
        raise DataError('; '.join(faults[:20]) + more)


def _list_kitti_frames(root: Path, same_frames: bool) -> dict[str, list[str]]:
    """Read the names of the frames of each split."""
    splits = {split: root / 'ImageSets' / f'{split}.txt' for split in ('train', 'val')}
    if same_frames:
        names = [path.stem for path in list_files(root / 'training' / 'label_2', ('.txt',))]
        if not names:
            raise DataError(f'no labels in {root / "training" / "label_2"}')
        return dict.fromkeys(splits, names)
    for path in splits.values():
        if not path.is_file():
            raise DataError(
                f'{path} is missing: one frame number a line. The usual lists are those of mmdet3d; '
                'use --same-frames to train and validate on every frame'
            )
    return {split: path.read_text().split() for split, path in splits.items()}


def convert_kitti(root: Path, out_dir: Path, same_frames: bool = False) -> list[Path]:
    """Write kitti_infos_{train,val}.pkl, kitti_dbinfos_train.pkl and the database itself.

    Args:
        root: holds training/{calib,image_2,label_2} with velodyne, or with velodyne_reduced alone (what the camera
            sees), and ImageSets/{train,val}.txt.
        out_dir: where to write; if it is another folder, links to the raw data are made in it.
        same_frames: do without ImageSets, every frame is for training and validation.

    Returns:
        The files written.

    Raises:
        DataError: files are missing or broken; the first of them are named, and nothing is written.
    """
    folder = root / 'training'
    if not folder.is_dir():
        raise DataError(f'{folder} is missing: expected the folders calib, image_2, label_2 and velodyne in it')
    points = 'velodyne' if (folder / 'velodyne').is_dir() else 'velodyne_reduced'
    frames = _list_kitti_frames(root, same_frames)
    _raise_faults(
        [
            fault
            for name in sorted({*frames['train'], *frames['val']})
            for fault in _check_kitti_frame(folder, name, points)
        ]
    )

    converter, update = _import_converter('kitti_converter'), _import_converter('update_infos_to_v2')
    for name in ('calib', 'image_2', 'label_2', points):
        _link(folder / name, out_dir / 'training' / name)
    written = []
    with tempfile.TemporaryDirectory(dir=out_dir, prefix='.conversion') as aside:
        old, new = Path(aside, 'old'), Path(aside, 'new')
        for split, names in frames.items():
            infos = converter.get_kitti_image_info(
                str(out_dir), velodyne=False, calib=True, image_ids=[int(name) for name in names], num_worker=1
            )
            for info, name in zip(infos, names, strict=True):
                info['point_cloud']['velodyne_path'] = f'training/{points}/{name}.bin'
            converter._calculate_num_points_in_gt(str(out_dir), infos, relative_path=True)
            path = old / f'kitti_infos_{split}.pkl'
            mmengine.dump(infos, str(path))
            if points == 'velodyne':
                reduced = out_dir / 'training' / 'velodyne_reduced'
                reduced.mkdir(exist_ok=True)
                converter._create_reduced_point_cloud(str(out_dir), str(path), save_path=str(reduced))
            new.mkdir(exist_ok=True)
            update.update_kitti_infos(str(path), str(new))
            written.append(out_dir / path.name)
            with write_whole(written[-1]) as aside:
                os.replace(new / path.name, aside)
    return [*written, _make_database('KittiDataset', out_dir, 'kitti')]


# --- nuScenes


def _check_nuscenes_clouds(root: Path, version: str) -> list[str]:
    """Say which lidar files of the tables are missing or truncated."""
    table = root / version / 'sample_data.json'
    if not table.is_file():
        return [f'{table} is missing']
    faults = []
    for entry in json.loads(table.read_text(encoding='utf-8')):
        cloud = root / entry['filename']
        if not entry['filename'].startswith(('samples/LIDAR_TOP/', 'sweeps/LIDAR_TOP/')):
            continue
        if not cloud.is_file():
            faults.append(f'{cloud} is missing')
        elif cloud.stat().st_size % 20:
            faults.append(
                f'{cloud} has {cloud.stat().st_size} bytes, not a multiple of 20 (5 float32 a point): truncated?'
            )
    return faults


def convert_nuscenes(root: Path, out_dir: Path, version: str = 'v1.0-trainval', max_sweeps: int = 10) -> list[Path]:
    """Write nuscenes_infos_{train,val}.pkl, nuscenes_dbinfos_train.pkl and the database; for a test set, its infos.

    Args:
        root: holds the tables in a folder named as the version, samples/ and sweeps/.
        out_dir: where to write; if it is another folder, links to the raw data are made in it.
        version: 'v1.0-trainval', 'v1.0-mini' or 'v1.0-test'.
        max_sweeps: earlier sweeps to list for each key frame.

    Returns:
        The files written.

    Raises:
        DataError: tables or folders are missing, or point clouds are missing or truncated; the first of them are named,
            and nothing is written.
    """
    for folder in (root / version, root / 'samples' / 'LIDAR_TOP'):
        if not folder.is_dir():
            raise DataError(
                f'{folder} is missing: expected the tables in {root / version}, key frames in '
                f'{root / "samples"} and sweeps in {root / "sweeps"}'
            )
    _raise_faults(_check_nuscenes_clouds(root, version))
    converter, update = _import_converter('nuscenes_converter'), _import_converter('update_infos_to_v2')
    out_dir.mkdir(parents=True, exist_ok=True)
    for path in root.iterdir():
        if path.is_dir() and path.name in (version, 'samples', 'sweeps', 'maps'):
            _link(path, out_dir / path.name)
    written = []
    with tempfile.TemporaryDirectory(dir=out_dir, prefix='.conversion') as aside:
        old, new = Path(aside, 'old'), Path(aside, 'new')
        for path in (out_dir / name for name in (version, 'samples', 'sweeps', 'maps')):
            if path.exists():
                _link(path, old / path.name)
        new.mkdir()
        converter.create_nuscenes_infos(str(old), 'nuscenes', version=version, max_sweeps=max_sweeps)
        # the converter reads the tables again, from a folder that it takes for granted
        update.NuScenes = lambda version, dataroot, verbose: NuScenes(version, dataroot=str(old), verbose=verbose)
        try:
            for path in sorted(old.glob('nuscenes_infos_*.pkl')):
                update.update_nuscenes_infos(str(path), str(new))
                written.append(out_dir / path.name)
                with write_whole(written[-1]) as aside:
                    os.replace(new / path.name, aside)
        finally:
            update.NuScenes = NuScenes
    if version == 'v1.0-test':
        return written
    return [*written, _make_database('NuScenesDataset', out_dir, 'nuscenes')]
