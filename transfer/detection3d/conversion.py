"""Info files and ground-truth databases for mmdet3d, by its own converters, from raw KITTI or nuScenes folders."""

import importlib
import json
import logging
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import mmdet3d
import mmengine
import numpy as np
from mmdet3d.utils import register_all_modules
from nuscenes.nuscenes import NuScenes

from dualattn.commands.classes import OBJECT_SIZES
from dualattn.engine import DataError
from dualattn.io.files import list_files, write_json, write_whole
from transfer.detection.headers import read_header
from transfer.detection3d.kitti_labels import DONT_CARE, KITTI_CLASSES, check_calibration, read_labels
from transfer.detection3d.layout import check_layout
from transfer.detection3d.loading import check_points

__all__ = ['convert_kitti', 'convert_nuscenes']

logger = logging.getLogger(__name__)


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


def _check_kitti_frame(folder: Path, name: str, points: str, labelled: bool = True) -> list[str]:
    """Tell what is wrong with one frame, apart from what its labels say."""
    paths = [folder / 'image_2' / f'{name}.png', folder / 'calib' / f'{name}.txt', folder / points / f'{name}.bin']
    if labelled:
        paths.append(folder / 'label_2' / f'{name}.txt')
    faults = [f'{path} is missing' for path in paths if not path.is_file()]
    calib, cloud = paths[1:3]
    if calib.is_file():
        faults += check_calibration(calib)
    header = read_header(paths[0]) if paths[0].is_file() else None
    if isinstance(header, str):
        faults.append(f'{paths[0]} cannot be read: {header}')
    if cloud.is_file():
        try:
            _check_kitti_cloud(cloud)
        except DataError as error:
            faults.append(str(error))
    return faults


def _check_kitti_cloud(cloud: Path) -> None:
    data = cloud.read_bytes()
    size = f'{cloud} has {len(data)} bytes, not a multiple of 16 (4 float32 a point): truncated?'
    if len(data) % 4:
        raise DataError(size)
    try:
        check_layout(data, 4, str(cloud))
    except DataError as error:
        likely = str(error).partition(': set load_dim')
        if likely[1]:
            raise DataError(f"{likely[0]}: write x, y, z and intensity alone, as KITTI's are") from error
        raise
    if len(data) % 16:
        raise DataError(size)
    check_points(np.frombuffer(data, dtype='<f4'), 4, str(cloud))


def _raise_faults(faults: list[str]) -> None:
    if faults:
        more = f' and {len(faults) - 20} more' if len(faults) > 20 else ''
        raise DataError('; '.join(faults[:20]) + more)


def _list_kitti_frames(root: Path, same_frames: bool) -> dict[str, list[str]]:
    """Read the names of the frames of each split."""
    splits = {split: root / 'ImageSets' / f'{split}.txt' for split in ('train', 'val', 'test')}
    test = splits.pop('test')
    if same_frames:
        names = [path.stem for path in list_files(root / 'training' / 'label_2', ('.txt',))]
        if not names:
            raise DataError(f'no labels in {root / "training" / "label_2"}')
        frames = dict.fromkeys(splits, names)
    else:
        for path in splits.values():
            if not path.is_file():
                raise DataError(
                    f'{path} is missing: one frame number a line. The usual lists are those of mmdet3d; '
                    'use --same-frames to train and validate on every frame'
                )
        frames = {split: path.read_text(encoding='utf-8').split() for split, path in splits.items()}
        if test.is_file():
            if (root / 'testing').is_dir():
                frames['test'] = test.read_text(encoding='utf-8').split()
            else:
                logger.warning('%s is there, but %s is not: no frames for tests', test, root / 'testing')
    _check_kitti_names(root, frames)
    if not same_frames and (shared := sorted({*frames['train']} & {*frames['val']})):
        logger.warning('%d frames both train and validate: %s', len(shared), ', '.join(shared[:5]))
    return frames


def _check_kitti_names(root: Path, frames: dict[str, list[str]]) -> None:
    faults = []
    for split, names in frames.items():
        other = [name for name in names if not re.fullmatch('[0-9]{6}', name)]
        if other:
            faults.append(
                f'{len(other)} frames for {split} are not named by six digits, as 000042: {", ".join(other[:5])}. '
                f'Rename their files in {root}, or make links of such names to them'
            )
        doubled = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if doubled:
            faults.append(f'{split} names frames more than once: {", ".join(doubled[:5])}')
        if not names:
            faults.append(f'{split} names no frames')
    _raise_faults(faults)


def _check_kitti_labels(folder: Path, frames: dict[str, list[str]], classes: Sequence[str]) -> None:
    """Read all labels once before anything is written."""
    faults, known = [], 0
    seen: set[str] = set()
    unknown: Counter[str] = Counter()
    for name in sorted({*frames['train'], *frames['val']}):
        path = folder / 'label_2' / f'{name}.txt'
        try:
            names = read_labels(path)['name'].tolist()
        except DataError as error:
            faults.append(str(error))
            continue
        seen |= {*names}
        for one in names:
            known += one in classes
            if one not in (*classes, DONT_CARE):
                unknown[one] += 1
    if unknown:
        cases = {one.casefold(): one for one in classes}
        named = [
            f'{one} ({count}{f", is it {cases[one.casefold()]}?" if one.casefold() in cases else ""})'
            for one, count in unknown.most_common(10)
        ]
        faults.append(
            f'the labels name classes that are not known: {", ".join(named)}. Known are {", ".join(classes)}; name '
            'those of your own after --classes'
        )
    lacking = [one for one in classes if one not in KITTI_CLASSES and one not in seen]
    if lacking:
        logger.warning('no label names %s of --classes', ', '.join(lacking))
    if not faults and not known:
        faults.append(f'no label in {folder / "label_2"} is an object of {", ".join(classes)}')
    _raise_faults(faults)


def convert_kitti(root: Path, out_dir: Path, same_frames: bool = False, classes: Sequence[str] = ()) -> list[Path]:
    """Write kitti_infos_{train,val}.pkl, kitti_dbinfos_train.pkl and the database itself, kitti_infos_test.pkl too.

    The last is for frames without labels, where there are ImageSets/test.txt and testing/. Beside them lies
    object_sizes.json, which `classes=` makes anchors of.

    Args:
        root: holds training/{calib,image_2,label_2} with velodyne, or with velodyne_reduced alone (what the camera
            sees), and ImageSets/{train,val}.txt.
        out_dir: where to write; if it is another folder, links to the raw data are made in it.
        same_frames: do without ImageSets, every frame is for training and validation.
        classes: names in the labels beside the eight of KITTI.

    Returns:
        The files written.

    Raises:
        DataError: files are missing or broken, labels are malformed, of unknown classes, or none; the first of the
            faults are named, and nothing is written.
    """
    root, out_dir = Path(root), Path(out_dir)
    folder = root / 'training'
    if not folder.is_dir():
        raise DataError(f'{folder} is missing: expected the folders calib, image_2, label_2 and velodyne in it')
    if DONT_CARE in classes:
        raise DataError(f'--classes: {DONT_CARE} stands for areas that nobody labelled, and is no class')
    classes = [*KITTI_CLASSES, *(name for name in classes if name not in (*KITTI_CLASSES, DONT_CARE))]
    frames = _list_kitti_frames(root, same_frames)
    folders = {split: root / ('testing' if split == 'test' else 'training') for split in frames}
    points = {
        split: 'velodyne' if (folder / 'velodyne').is_dir() else 'velodyne_reduced' for split, folder in folders.items()
    }
    checked = {(folders[split], name, points[split], split != 'test') for split in frames for name in frames[split]}
    _raise_faults([fault for frame in sorted(checked) for fault in _check_kitti_frame(*frame)])
    _check_kitti_labels(folder, frames, classes)

    out_dir.mkdir(parents=True, exist_ok=True)
    written = []
    with tempfile.TemporaryDirectory(dir=out_dir, prefix='.conversion') as aside:
        for split, names in frames.items():
            written.append(_convert_kitti_split(out_dir, Path(aside), split, names, folders[split], points[split]))
            _name_kitti_classes(written[-1], out_dir, classes)
    database = _make_database('KittiDataset', out_dir, 'kitti')
    _measure_objects(database, out_dir / OBJECT_SIZES)
    return [*written, database]


def _measure_objects(database: Path, path: Path) -> None:
    """Write how large the objects of each class typically are, and how high they stand: what anchors are made of."""
    sizes = {}
    for name, objects in mmengine.load(str(database)).items():
        # x, y, bottom, length, width, height
        boxes = np.array([one['box3d_lidar'] for one in objects], dtype=np.float64)
        if len(boxes):
            middle = np.median(boxes, 0).round(3).tolist()
            sizes[name] = dict(objects=len(boxes), size=middle[3:6], bottom=middle[2])
    write_json(path, sizes)


def _convert_kitti_split(out_dir: Path, aside: Path, split: str, names: list[str], folder: Path, points: str) -> Path:
    """Write the info file of one split, and what the camera sees of its point clouds, by mmdet3d's converter."""
    converter, update = _import_converter('kitti_converter'), _import_converter('update_infos_to_v2')
    reader = _import_converter('kitti_data_utils')
    part = folder.name
    for name in ('calib', 'image_2', *(['label_2'] if split != 'test' else []), points):
        _link(folder / name, out_dir / part / name)
    old, new = aside / 'old', aside / 'new'
    read, reader.get_label_anno = reader.get_label_anno, read_labels
    images, reader.io = reader.io, SimpleNamespace(imread=_read_shape)  # it reads all pixels to know their number
    try:
        infos = converter.get_kitti_image_info(
            str(out_dir),
            training=split != 'test',
            label_info=split != 'test',
            velodyne=False,
            calib=True,
            image_ids=[int(name) for name in names],
            num_worker=1,
        )
    finally:
        reader.get_label_anno = read
        reader.io = images
    for info, name in zip(infos, names, strict=True):
        info['point_cloud']['velodyne_path'] = f'{part}/{points}/{name}.bin'
    if split != 'test':
        _count_points(converter, out_dir, infos)
    path = old / f'kitti_infos_{split}.pkl'
    mmengine.dump(infos, str(path))
    if points == 'velodyne':
        reduced = out_dir / part / 'velodyne_reduced'
        reduced.mkdir(exist_ok=True)
        converter._create_reduced_point_cloud(str(out_dir), str(path), save_path=str(reduced))
    new.mkdir(exist_ok=True)
    update.update_kitti_infos(str(path), str(new))
    with write_whole(out_dir / path.name) as whole:
        os.replace(new / path.name, whole)
    return out_dir / path.name


def _read_shape(path: str) -> SimpleNamespace:
    """Stand in for the image that mmdet3d's converter asks for its shape."""
    header = read_header(path)
    if isinstance(header, str):
        raise DataError(f'{path} cannot be read: {header}')
    return SimpleNamespace(shape=(header.size[1], header.size[0], 3))


def _count_points(converter, out_dir: Path, infos: list[dict]) -> None:
    """Count the points of every object; mmdet3d's converter cannot take a frame without any."""
    filled = [info for info in infos if (info['annos']['name'] != DONT_CARE).any()]
    converter._calculate_num_points_in_gt(str(out_dir), filled, relative_path=True)
    for info in infos:
        info['annos'].setdefault('num_points_in_gt', np.full(len(info['annos']['name']), -1, dtype=np.int32))


def _name_kitti_classes(path: Path, out_dir: Path, classes: Sequence[str]) -> None:
    """Number the objects of further classes, which the converter leaves unnumbered, behind those of KITTI."""
    if len(classes) == len(KITTI_CLASSES):
        return
    content = mmengine.load(str(path))
    content['metainfo']['categories'] = {
        **{name: number for number, name in enumerate(classes)},
        **{name: -1 for name in content['metainfo']['categories'] if name not in classes},
    }
    for frame in content['data_list']:
        if not frame.get('instances'):
            continue
        label = out_dir / 'training' / 'label_2' / f'{Path(frame["lidar_points"]["lidar_path"]).stem}.txt'
        for instance, name in zip(frame['instances'], read_labels(label)['name'].tolist(), strict=True):
            number = classes.index(name) if name in classes else -1
            instance['bbox_label'] = instance['bbox_label_3d'] = number
    with write_whole(path) as aside:
        mmengine.dump(content, str(aside))


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
