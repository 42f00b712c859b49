"""3D detection from raw folders to boxes: conversion, training, metrics, resume, prediction, bad input."""

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.mm
pytest.importorskip('mmdet3d')

from mmdet3d.registry import DATASETS, METRICS, TRANSFORMS  # noqa: E402
from mmdet3d.structures import LiDARInstance3DBoxes  # noqa: E402
from mmdet3d.structures.ops.box_np_ops import points_in_rbbox  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402
from PIL import Image  # noqa: E402
from raw_data import fill_boxes, make_kitti, make_nuscenes  # noqa: E402

from dualattn.commands import test  # noqa: E402
from dualattn.engine import DataError, StrictRunner  # noqa: E402
from transfer.commands import create_data  # noqa: E402
from transfer.detection3d import conversion  # noqa: E402
from transfer.detection3d.inference import PointCloudDetector  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'det3d'
CLASSES = ['Pedestrian', 'Cyclist', 'Car']
RANGE = [0, -12.8, -3, 25.6, 12.8, 1]
NUSCENES_CLASSES = [
    'car',
    'truck',
    'construction_vehicle',
    'bus',
    'trailer',
    'barrier',
    'motorcycle',
    'bicycle',
    'pedestrian',
    'traffic_cone',
]


@pytest.fixture(scope='module')
def kitti(tmp_path_factory):
    """A converted KITTI folder of two frames."""
    root = make_kitti(tmp_path_factory.mktemp('kitti'))
    conversion.convert_kitti(root, root)
    return root


@pytest.fixture(scope='module')
def nuscenes(tmp_path_factory):
    """A converted nuScenes folder of two scenes, whose raw data are elsewhere."""
    boxes = np.array([[10, 0, -0.9, 4, 1.8, 1.5, 0.3], [6, 5, -0.9, 0.8, 0.6, 1.7, 0]])
    raw = make_nuscenes(
        tmp_path_factory.mktemp('raw'), fill_boxes(boxes, 100, 5), boxes, ['vehicle.car', 'human.pedestrian.adult']
    )
    out = tmp_path_factory.mktemp('nuscenes')
    conversion.convert_nuscenes(raw, out, version='v1.0-mini')
    return out


def make_config(kitti, work_dir):
    """The configuration for a few frames, on 64 x 64 columns of voxels."""
    cfg = Config.fromfile(CONFIGS / 'second_dualattn_kitti_mini.py')
    cfg.work_dir = str(work_dir)
    cfg.merge_from_dict(
        {
            'model.data_preprocessor.voxel_layer': dict(
                point_cloud_range=RANGE, voxel_size=[0.4, 0.4, 0.1], max_voxels=(4000, 4000)
            ),
            'model.middle_encoder.sparse_shape': [41, 64, 64],
            'model.bbox_head.anchor_generator.ranges': [[0, -12.8, z, 25.6, 12.8, z] for z in (-0.6, -0.6, -1.78)],
            'train_dataloader.dataset.times': 1,
            'train_dataloader.dataset.dataset.data_root': f'{kitti}/',
            'val_dataloader.dataset.data_root': f'{kitti}/',
            'test_dataloader.dataset.data_root': f'{kitti}/',
            'val_evaluator.ann_file': f'{kitti}/kitti_infos_val.pkl',
            'test_evaluator.ann_file': f'{kitti}/kitti_infos_val.pkl',
            'train_cfg': dict(max_epochs=2, val_interval=2),
            'param_scheduler': [],
            'optim_wrapper.optimizer.lr': 1e-3,
        }
    )
    return cfg


# --- conversion


def test_kitti_infos_hold_the_labels(kitti):
    infos = pickle.loads((kitti / 'kitti_infos_train.pkl').read_bytes())
    assert infos['metainfo']['info_version'] == '1.1' and len(infos['data_list']) == 2
    frame = infos['data_list'][0]
    assert frame['lidar_points']['lidar_path'] == '000000.bin'
    assert [item['bbox_label_3d'] for item in frame['instances']] == [2, 0, -1]  # of KITTI's eight classes
    assert [item['num_lidar_pts'] for item in frame['instances']][:2] == [200, 200]


def test_kitti_boxes_are_where_the_points_are(kitti):
    dataset = DATASETS.build(
        dict(
            type='KittiDataset',
            data_root=str(kitti),
            ann_file='kitti_infos_val.pkl',
            metainfo=dict(classes=CLASSES),
            data_prefix=dict(pts='training/velodyne_reduced'),
            test_mode=True,
        )
    )
    boxes = dataset.get_ann_info(0)['gt_bboxes_3d']
    assert torch.allclose(boxes.gravity_center[:2], torch.tensor([[10, 0, -0.9], [8, 3, -0.8]]), atol=1e-3)
    points = np.fromfile(kitti / 'training' / 'velodyne_reduced' / '000000.bin', np.float32).reshape(-1, 4)
    inside = points_in_rbbox(points[:, :3], boxes.tensor.numpy()).sum(0)
    assert inside[:2].tolist() == [200, 200]


def test_kitti_database_holds_the_objects(kitti):
    database = pickle.loads((kitti / 'kitti_dbinfos_train.pkl').read_bytes())
    assert {name: len(items) for name, items in database.items()} == {'Car': 2, 'Pedestrian': 2}
    car = np.fromfile(kitti / database['Car'][0]['path'], np.float32).reshape(-1, 4)
    assert len(car) == 200 and np.abs(car[:, 0]).max() < 3.9 / 2


def test_a_camera_view_alone_will_do_and_the_raw_data_stay_as_they_are(tmp_path):
    raw = make_kitti(tmp_path / 'raw', frames=1, points='velodyne_reduced', lists=False)
    before = sorted(raw.rglob('*'))
    files = conversion.convert_kitti(raw, tmp_path / 'out', same_frames=True)
    assert all(path.is_file() for path in files) and sorted(raw.rglob('*')) == before
    assert not list((tmp_path / 'out').glob('.*'))


def change_cloud(raw, change):
    path = raw / 'training/velodyne/000001.bin'
    change(np.fromfile(path, dtype=np.float32).reshape(-1, 4)).astype(np.float32).tofile(path)


@pytest.mark.parametrize(
    'break_it, message',
    [
        (lambda raw: (raw / 'training/calib/000001.txt').unlink(), r'calib/000001.txt is missing'),
        (lambda raw: (raw / 'training/calib/000000.txt').write_text('P0: 1\n'), 'calib/000000.txt has no P1, P2'),
        (lambda raw: (raw / 'training/velodyne/000001.bin').write_bytes(b'12345'), '000001.bin has 5 bytes'),
        (lambda raw: (raw / 'training/image_2/000001.png').write_bytes(b'no'), '000001.png cannot be read: no image'),
        (
            lambda raw: change_cloud(raw, lambda points: points[:, :3][:-1]),
            "000001.bin seems to hold 3 numbers a point, not 4: write x, y, z and intensity alone, as KITTI's",
        ),
        (
            lambda raw: change_cloud(raw, lambda points: np.vstack([points, [[1, np.nan, 0, 0.5]]])),
            '000001.bin has NaN or infinite values in 1 of 601 points',
        ),
        (lambda raw: (raw / 'ImageSets/val.txt').unlink(), 'ImageSets/val.txt is missing'),
        (lambda raw: shutil.rmtree(raw / 'training'), 'training is missing'),
    ],
)
def test_faults_of_a_kitti_folder_are_named(tmp_path, break_it, message):
    raw = make_kitti(tmp_path)
    break_it(raw)
    with pytest.raises(DataError, match=message):
        conversion.convert_kitti(raw, raw)
    assert not list(raw.glob('*.pkl'))


def test_classes_that_are_none_or_not_there(tmp_path, caplog):
    raw = make_kitti(tmp_path)
    with pytest.raises(DataError, match='--classes: DontCare stands for areas that nobody labelled'):
        conversion.convert_kitti(raw, raw, classes=['DontCare'])
    conversion.convert_kitti(raw, raw, classes=['Digger'])
    assert 'no label names Digger of --classes' in caplog.text


def test_nuscenes_infos_hold_the_labels(nuscenes):
    infos = pickle.loads((nuscenes / 'nuscenes_infos_val.pkl').read_bytes())
    assert infos['metainfo']['version'] == 'v1.0-mini'
    car, pedestrian = infos['data_list'][0]['instances']
    assert (car['bbox_label_3d'], pedestrian['bbox_label_3d']) == (0, 7)
    assert np.allclose(car['bbox_3d'], [10, 0, -0.9, 4, 1.8, 1.5, 0.3], atol=1e-5)
    assert {path.name for path in nuscenes.iterdir() if path.is_symlink()} == {'maps', 'samples', 'v1.0-mini'}


def test_a_nuscenes_folder_without_tables(tmp_path):
    with pytest.raises(DataError, match='v1.0-trainval is missing'):
        conversion.convert_nuscenes(tmp_path, tmp_path)


def test_broken_clouds_of_nuscenes_are_named_together(tmp_path):
    boxes = np.array([[10, 0, -0.9, 4, 1.8, 1.5, 0.3]])
    raw = make_nuscenes(tmp_path / 'raw', fill_boxes(boxes, 100, 5), boxes, ['vehicle.car'])
    clouds = sorted((raw / 'samples' / 'LIDAR_TOP').iterdir())
    clouds[0].write_bytes(b'1234567')
    clouds[1].unlink()
    with pytest.raises(DataError, match=rf'{clouds[0].name} has 7 bytes.*{clouds[1].name} is missing'):
        conversion.convert_nuscenes(raw, tmp_path / 'out', version='v1.0-mini')
    assert not (tmp_path / 'out').exists()


# --- training, metrics, resume, prediction


@pytest.fixture(scope='module')
def trained(kitti, tmp_path_factory):
    """A config file and the work dir of two epochs of two iterations."""
    work_dir = tmp_path_factory.mktemp('work')
    cfg = make_config(kitti, work_dir)
    cfg.dump(work_dir / 'config.py')
    runner = StrictRunner.from_cfg(cfg)
    runner.train()
    return work_dir, runner


def test_training_measures_and_stores(trained):
    work_dir, runner = trained
    assert {path.name for path in work_dir.glob('*.pth')} == {'epoch_1.pth', 'epoch_2.pth'}
    scalars = [json.loads(line) for line in next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert any('Kitti metric/pred_instances_3d/KITTI/Overall_3D_AP11_moderate' in row for row in scalars)
    (log,) = work_dir.glob('*/*.log')
    stated = (
        r'KittiMetric is measured on 2 samples: 2 samples of .*/kitti_infos_val.pkl in 3 classes, points within 0, '
    )
    assert re.search(stated, log.read_text(encoding='utf-8'))


def test_test_draws_truth_and_prediction(trained, tmp_path, monkeypatch):
    """tools/test.py --show-dir writes a picture of each cloud, with the labels in green."""
    work_dir, _ = trained
    monkeypatch.setattr(
        'sys.argv',
        [
            'test.py',
            str(work_dir / 'config.py'),
            str(work_dir / 'epoch_2.pth'),
            '--work-dir',
            str(tmp_path),
            '--show-dir',
            'seen',
        ],
    )
    assert test.main() == 0
    pictures = sorted(tmp_path.glob('*/seen/*'))
    assert [path.name for path in pictures] == ['000000.png', '000001.png']
    for path in pictures:
        pixels = np.asarray(Image.open(path).convert('RGB')).astype(int)
        assert ((pixels[..., 1] > 200) & (pixels[..., ::2].max(axis=2) < 80)).sum() > 50


def test_resumed_training_is_the_uninterrupted_one(trained, kitti, tmp_path):
    work_dir, runner = trained
    cfg = make_config(kitti, tmp_path)
    cfg.load_from, cfg.resume = str(work_dir / 'epoch_1.pth'), True
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    resumed = StrictRunner.from_cfg(cfg)
    resumed.train()
    for (name, a), b in zip(runner.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize('name', ['KittiMetric', 'NuScenesMetric'])
def test_truth_as_prediction_is_perfect(name, kitti, nuscenes):
    """The metrics find each object, and lose those that are moved away."""
    if name == 'KittiMetric':
        dataset = DATASETS.build(
            dict(
                type='KittiDataset',
                data_root=str(kitti),
                ann_file='kitti_infos_val.pkl',
                test_mode=True,
                metainfo=dict(classes=CLASSES),
                data_prefix=dict(pts='training/velodyne_reduced'),
            )
        )
        metric = METRICS.build(dict(type=name, ann_file=str(kitti / 'kitti_infos_val.pkl'), metric='bbox'))
        key = 'Kitti metric/pred_instances_3d/KITTI/Car_3D_AP11_moderate_strict'
    else:
        dataset = DATASETS.build(
            dict(
                type='NuScenesDataset',
                data_root=str(nuscenes),
                ann_file='nuscenes_infos_val.pkl',
                test_mode=True,
                metainfo=dict(classes=NUSCENES_CLASSES, version='v1.0-mini'),
                data_prefix=dict(pts='samples/LIDAR_TOP', img='', sweeps=''),
            )
        )
        metric = METRICS.build(
            dict(type=name, data_root=str(nuscenes), ann_file=str(nuscenes / 'nuscenes_infos_val.pkl'))
        )
        key = 'NuScenes metric/pred_instances_3d_NuScenes/car_AP_dist_0.5'
    metric.dataset_meta = dataset.metainfo

    def measure(shift):
        for index in range(len(dataset)):
            truth = dataset.get_ann_info(index)
            boxes = truth['gt_bboxes_3d'].clone()
            boxes.tensor[:, 0] += shift
            found = dict(
                bboxes_3d=boxes,
                scores_3d=torch.full((len(boxes),), 0.9),
                labels_3d=torch.from_numpy(truth['gt_labels_3d']),
            )
            metric.process({}, [dict(pred_instances_3d=found, pred_instances={}, sample_idx=index)])
        return metric.evaluate(len(dataset))[key]

    best = 100 / 11 if name == 'KittiMetric' else 1  # KITTI's AP fills a recall level of 11 for each 4 objects
    assert measure(0) == pytest.approx(best, abs=best / 100) and measure(6) < best / 10


@pytest.mark.parametrize('system', ['centerpoint_voxel01', 'centerpoint_pillar02'])
def test_centerpoint_learns_and_predicts(system, nuscenes):
    """A training step and a prediction with either encoder, on a part of the range."""
    from mmdet3d.registry import MODELS
    from mmengine.registry import init_default_scope

    cfg = Config.fromfile(CONFIGS / f'{system}_dualattn_nus.py')
    init_default_scope(cfg.default_scope)
    area, voxel = [-12.8, -12.8, -5, 12.8, 12.8, 3], cfg.model.data_preprocessor.voxel_layer.voxel_size
    size = round(25.6 / voxel[0])
    cfg.merge_from_dict(
        {
            'model.data_preprocessor.voxel_layer.point_cloud_range': area,
            'model.data_preprocessor.voxel_layer.max_voxels': (2000, 2000),
            'model.train_cfg.pts.point_cloud_range': area,
            'model.train_cfg.pts.grid_size': [size, size, 40 if 'voxel' in system else 1],
            'model.test_cfg.pts.pc_range': area[:2],
            'model.pts_bbox_head.bbox_coder.pc_range': area[:2],
        }
    )
    if 'voxel' in system:
        cfg.model.pts_middle_encoder.sparse_shape = [41, size, size]
    else:
        cfg.model.pts_voxel_encoder.point_cloud_range = area
        cfg.model.pts_middle_encoder.output_shape = (size, size)
    model = MODELS.build(cfg.model)
    model.init_weights()
    sample = DATASETS.build(
        dict(
            type='NuScenesDataset',
            data_root=str(nuscenes),
            ann_file='nuscenes_infos_train.pkl',
            metainfo=dict(classes=NUSCENES_CLASSES),
            data_prefix=dict(pts='samples/LIDAR_TOP', img='', sweeps=''),
            pipeline=[step for step in cfg.train_pipeline if step['type'] not in ('ObjectSample',)],
        )
    )[0]
    batch = dict(inputs=dict(points=[sample['inputs']['points']]), data_samples=[sample['data_samples']])
    losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    if 'pillar' in system:  # without spconv, bfloat16 is taken
        with torch.autocast('cpu', dtype=torch.bfloat16):
            mixed = model(**model.data_preprocessor(batch, training=True), mode='loss')
        total, mixed_total = (sum(float(value.detach()) for value in found.values()) for found in (losses, mixed))
        assert mixed_total != total and mixed_total == pytest.approx(total, rel=0.05)
        before = [value.grad.clone() for value in model.pts_backbone.parameters()]
        sum(value for name, value in mixed.items() if 'loss' in name).backward()
        grown = [value.grad for value in model.pts_backbone.parameters()]
        assert all(value.isfinite().all() for value in grown)
        assert sum(not torch.equal(a, b) for a, b in zip(before, grown, strict=True)) > len(before) / 2
    assert sum(float(value.detach()) for value in losses.values()) < 200  # thousands without the bias of the heatmaps
    idle = [name for name, value in model.pts_backbone.named_parameters() if not value.grad.abs().sum() > 0]
    assert idle == []
    with torch.no_grad():
        found = model.eval().test_step(batch)[0].pred_instances_3d
    assert found.bboxes_3d.tensor.shape == (len(found.scores_3d), 9)


def test_detector_writes_picture_and_description(trained, kitti, tmp_path):
    work_dir, runner = trained
    detector = PointCloudDetector(str(work_dir / 'config.py'), str(work_dir / 'epoch_2.pth'), score_threshold=0)
    cloud = kitti / 'training' / 'velodyne_reduced' / '000000.bin'
    result = detector.predict(cloud)
    with torch.no_grad():
        runner.model.eval()
        expected = runner.model.test_step(next(iter(runner.val_dataloader)))[0].pred_instances_3d
    assert torch.allclose(result.pred_instances_3d.scores_3d, expected.scores_3d, atol=1e-5)

    box = LiDARInstance3DBoxes(torch.tensor([[10, 0, -1.65, 3.9, 1.6, 1.5, 0.1], [8, 3, -1.6, 0.8, 0.6, 1.7, 0]]))
    result.pred_instances_3d = InstanceData(
        bboxes_3d=box, scores_3d=torch.tensor([0.4, 0.9]), labels_3d=torch.tensor([2, 0])
    )
    assert detector.save(result, tmp_path / 'a.png', tmp_path / 'a.json') == 2
    found = json.loads((tmp_path / 'a.json').read_text())
    assert found['point_cloud'] == str(cloud) and [item['name'] for item in found['objects']] == ['Pedestrian', 'Car']
    assert np.allclose(found['objects'][1]['center'], [10, 0, -0.9], atol=1e-5)
    assert np.allclose([*found['objects'][1]['size'], found['objects'][1]['yaw']], [3.9, 1.6, 1.5, 0.1])
    pixels = np.asarray(Image.open(tmp_path / 'a.png').convert('RGB')).astype(int)
    assert ((pixels[..., 0] > 200) & (pixels[..., 1:].max(axis=2) < 80)).sum() > 50  # red lines
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.json', 'a.png']


# --- bad input


def write_cloud(path, points):
    np.asarray(points, dtype=np.float32).tofile(path)
    return path


@pytest.mark.parametrize('points', [np.zeros((0, 4)), np.full((5, 4), 500.0)], ids=['empty', 'out of range'])
def test_a_cloud_without_points_has_no_objects(trained, tmp_path, points):
    work_dir, _ = trained
    detector = PointCloudDetector(str(work_dir / 'config.py'), str(work_dir / 'epoch_2.pth'), score_threshold=0)
    cloud = write_cloud(tmp_path / 'cloud.bin', points)
    assert detector.save(detector.predict(cloud), tmp_path / 'a.png', tmp_path / 'a.json') == 0
    assert json.loads((tmp_path / 'a.json').read_text())['objects'] == [] and (tmp_path / 'a.png').is_file()


def test_a_frame_without_points_stops_no_evaluation(trained):
    """In a data set such a frame is answered by the network."""
    _, runner = trained
    batch = next(iter(runner.val_dataloader))
    batch['inputs']['points'] = [points[:0] for points in batch['inputs']['points']]
    with torch.no_grad():
        found = runner.model.eval().test_step(batch)[0].pred_instances_3d
    assert found.bboxes_3d.tensor.isfinite().all()


@pytest.mark.parametrize(
    'content, message',
    [
        (np.ones(7, np.float32).tobytes(), 'holds 7 numbers, not a multiple of 4'),
        (b'123456', 'no multiple of 4 bytes'),
        (np.array([1, 1, 1, 1, 1, np.nan, 1, 1], np.float32).tobytes(), 'NaN or infinite .* 1 of 2 points.* point 1'),
        (np.array([np.inf, 1, 1, 1], np.float32).tobytes(), 'NaN or infinite values in 1 of 1 points'),
    ],
)
def test_broken_clouds_are_named(tmp_path, content, message):
    cloud = tmp_path / 'cloud.bin'
    cloud.write_bytes(content)
    load = TRANSFORMS.build(dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=4, use_dim=4))
    with pytest.raises(DataError, match=f'cloud.bin.* {message}'):
        load(dict(lidar_points=dict(lidar_path=str(cloud))))


@pytest.mark.parametrize(
    'infos',
    [
        [dict(image={}, annos={})],
        dict(infos=[], metadata={}),
        dict(metainfo=dict(info_version='1.0'), data_list=[]),
    ],
)
def test_infos_of_another_version_are_named(tmp_path, infos):
    (tmp_path / 'infos.pkl').write_bytes(pickle.dumps(infos))
    with pytest.raises(DataError, match=r'infos.pkl .*1\.1.*dualattn create-data'):
        DATASETS.build(dict(type='KittiDataset', data_root=str(tmp_path), ann_file='infos.pkl'))


def test_missing_infos_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'infos.pkl: make it with `dualattn create-data`'):
        DATASETS.build(dict(type='KittiDataset', data_root=str(tmp_path), ann_file='infos.pkl'))


# --- dualattn create-data


def test_create_data_prints_what_it_wrote_and_names_what_is_missing(tmp_path, capsys):
    assert create_data.main(['kitti', str(tmp_path)]) == 2
    assert re.match(r'DataError: .*training is missing', capsys.readouterr().err)
    make_kitti(tmp_path / 'raw', frames=1, lists=False)
    args = ['kitti', str(tmp_path / 'raw'), '--out-dir', str(tmp_path / 'out'), '--same-frames']
    assert create_data.main(args) == 0
    written = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith('wrote ')]
    assert [Path(path).name for path in written] == [
        'kitti_infos_train.pkl',
        'kitti_infos_val.pkl',
        'kitti_dbinfos_train.pkl',
    ]
    assert all(Path(path).is_file() for path in written)
