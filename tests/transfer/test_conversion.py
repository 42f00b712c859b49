"""KITTI folders that are not KITTI: own classes, frames without objects, test frames, and what is refused."""

import json
import pickle

import numpy as np
import pytest

pytestmark = pytest.mark.mm
pytest.importorskip('mmdet3d')

from mmdet3d.registry import DATASETS, METRICS, TRANSFORMS  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402
from raw_data import make_kitti  # noqa: E402

from dualattn.engine import DataError  # noqa: E402
from transfer.detection3d import conversion  # noqa: E402
from transfer.detection3d.metric import measure_orientation  # noqa: E402

NOBODY = 'DontCare -1 -1 -10 1 1 5 5 -1 -1 -1 -1000 -1000 -1000 -10'


def rewrite(raw, frame, change):
    path = raw / 'training' / 'label_2' / f'{frame}.txt'
    path.write_text(change(path.read_text()))


@pytest.fixture(scope='module')
def own(tmp_path_factory):
    """Three frames: cars called diggers, one without labels, one where nobody looked first; and one to test."""
    raw = make_kitti(tmp_path_factory.mktemp('own'), frames=3)
    for frame in ('000000', '000002'):
        rewrite(raw, frame, lambda text: text.replace('Car ', 'Digger '))
    rewrite(raw, '000001', lambda text: '')
    rewrite(raw, '000002', lambda text: f'{NOBODY}\n\n{text}')
    (raw / 'testing').mkdir()
    for name, suffix in (('calib', 'txt'), ('image_2', 'png'), ('velodyne', 'bin')):
        (raw / 'testing' / name).mkdir()
        source = raw / 'training' / name / f'000001.{suffix}'
        (raw / 'testing' / name / f'000007.{suffix}').write_bytes(source.read_bytes())
    (raw / 'ImageSets' / 'test.txt').write_text('000007\n')
    return raw, conversion.convert_kitti(raw, raw, classes=['Digger'])


def build(root, split, classes, **options):
    folder = 'testing' if split == 'test' else 'training'
    return DATASETS.build(
        dict(
            type='KittiDataset',
            data_root=str(root),
            ann_file=f'kitti_infos_{split}.pkl',
            data_prefix=dict(pts=f'{folder}/velodyne_reduced'),
            metainfo=dict(classes=classes),
            pipeline=[dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=4, use_dim=4)],
            test_mode=True,
            **options,
        )
    )


def test_own_classes_have_numbers_of_their_own(own):
    root, files = own
    assert [path.name for path in files] == [
        'kitti_infos_train.pkl',
        'kitti_infos_val.pkl',
        'kitti_infos_test.pkl',
        'kitti_dbinfos_train.pkl',
    ]
    infos = pickle.loads((root / 'kitti_infos_train.pkl').read_bytes())
    assert infos['metainfo']['categories']['Digger'] == 8
    labels = [[one['bbox_label_3d'] for one in frame['instances']] for frame in infos['data_list']]
    assert labels == [[8, 0, -1], [], [8, 0, -1, -1]]
    dataset = build(root, 'val', ['Digger', 'Pedestrian'])
    assert dataset.get_ann_info(0)['gt_labels_3d'].tolist() == [0, 1]
    assert len(dataset.get_ann_info(1)['gt_labels_3d']) == 0
    database = pickle.loads((root / 'kitti_dbinfos_train.pkl').read_bytes())
    assert {name: len(items) for name, items in database.items()} == {'Digger': 2, 'Pedestrian': 2}


def test_objects_are_measured_for_anchors(own):
    root, _ = own
    sizes = json.loads((root / 'object_sizes.json').read_text())
    assert {name: entry['objects'] for name, entry in sizes.items()} == {'Digger': 2, 'Pedestrian': 2}
    line = next(line for line in (root / 'training/label_2/000000.txt').read_text().splitlines() if 'Digger' in line)
    height, width, length = map(float, line.split()[8:11])
    assert sizes['Digger']['size'] == pytest.approx([length, width, height], abs=0.01)
    boxes = [item['box3d_lidar'] for item in pickle.loads((root / 'kitti_dbinfos_train.pkl').read_bytes())['Digger']]
    assert sizes['Digger']['bottom'] == pytest.approx(np.median([box[2] for box in boxes]), abs=1e-3)


def test_frames_to_test_have_points_and_no_labels(own):
    root, _ = own
    dataset = build(root, 'test', ['Digger'])
    assert len(dataset) == 1 and len(dataset[0]['points'].tensor) > 100
    assert dataset.get_data_info(0)['lidar_path'].endswith('testing/velodyne_reduced/000007.bin')


def test_classes_that_no_frame_knows(own):
    root, _ = own
    with pytest.raises(DataError, match='metainfo.classes names digger, and .*Misc, Digger'):
        build(root, 'val', ['digger'])
    with pytest.raises(DataError, match=r"metainfo.classes is a text, 'Car'"):
        build(root, 'val', 'Car')


def break_label(raw):
    rewrite(raw, '000001', lambda text: text.replace('1.5 1.6 3.9', '1.5 1.6'))


def store_doubles(path):
    np.fromfile(path, np.float32).astype(np.float64).tofile(path)


def remove_objects(raw):
    for frame in ('000000', '000001'):
        rewrite(raw, frame, lambda text: f'{NOBODY}\n')


def rename_frames(raw, name):
    for path in raw.rglob('000001.*'):
        path.rename(path.with_stem(name))
    for split in ('train', 'val'):
        (raw / 'ImageSets' / f'{split}.txt').write_text(f'000000\n{name}\n')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (break_label, r'label_2/000001.txt, line 1 has 14 entries instead of 15 or 16'),
        (lambda raw: rewrite(raw, '000000', lambda t: t.replace('Car ', 'car ')), r'not known: car \(1, is it Car\?\)'),
        (
            lambda raw: rewrite(raw, '000000', lambda t: t.replace('Car ', 'Bus ')),
            r'not known: Bus \(1\).*after --classes',
        ),
        (remove_objects, 'no label in .*label_2 is an object of Pedestrian, Cyclist, Car'),
        (
            lambda raw: rename_frames(raw, 'scene_b'),
            '1 frames for train are not named by six digits.*: scene_b. Rename',
        ),
        (lambda raw: rename_frames(raw, '17'), 'not named by six digits, as 000042: 17'),
        (
            lambda raw: (raw / 'ImageSets/train.txt').write_text('000000\n000000\n'),
            'train names frames more than once: 0',
        ),
        (lambda raw: (raw / 'ImageSets/train.txt').write_text('\n'), 'train names no frames'),
        (
            lambda raw: store_doubles(raw / 'training/velodyne/000001.bin'),
            '000001.bin is no list of float32 numbers, but of float64',
        ),
    ],
)
def test_what_is_refused(tmp_path, change, message):
    raw = make_kitti(tmp_path)
    change(raw)
    with pytest.raises(DataError, match=message):
        conversion.convert_kitti(raw, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_list_for_tests_without_its_frames_is_passed_over(tmp_path, caplog):
    raw = make_kitti(tmp_path, frames=1)
    (raw / 'ImageSets' / 'test.txt').write_text('000000\n')
    conversion.convert_kitti(raw, tmp_path / 'out')
    assert 'no frames for tests' in caplog.text and not (tmp_path / 'out' / 'kitti_infos_test.pkl').exists()


# --- the database


def sample(root, groups, points=5):
    return TRANSFORMS.build(
        dict(
            type='DataBaseSampler',
            data_root=str(root),
            info_path=str(root / 'kitti_dbinfos_train.pkl'),
            rate=1.0,
            prepare=dict(filter_by_difficulty=[-1], filter_by_min_points=dict.fromkeys(groups, points)),
            sample_groups=groups,
            classes=['Pedestrian', 'Cyclist', 'Digger'],
            points_loader=dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=4, use_dim=4),
        )
    )


def test_a_class_that_is_not_there_is_not_pasted(own, monkeypatch):
    root, _ = own
    told = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'warning', told.append)
    sampler = sample(root, dict(Pedestrian=2, Cyclist=3, Digger=2))
    assert 'has no objects of Cyclist' in told[0] and 'Pedestrian, Digger will be pasted' in told[0]
    drawn = sampler.sample_all(np.zeros((0, 7), np.float32), np.zeros(0, int))
    assert set(drawn['gt_labels_3d'].tolist()) <= {0, 2} and len(drawn['gt_labels_3d']) >= 1
    assert sample(root, dict(Pedestrian=2), points=10_000).sample_all(np.zeros((0, 7)), np.zeros(0, int)) is None
    with pytest.raises(DataError, match='sample_groups names Tram'):
        sample(root, dict(Tram=1))
    with pytest.raises(FileNotFoundError, match='no database of objects at'):
        sample(root / 'elsewhere', dict(Pedestrian=1))


# --- the metric


@pytest.mark.slow
@pytest.mark.parametrize('classes', [['Digger', 'Pedestrian'], ['Digger'], ['Pedestrian', 'Car']])
def test_both_precisions_of_any_classes(own, classes):
    """The labels themselves as predictions; the first frame is empty, and the second one has nothing at all."""
    root, _ = own
    dataset = build(root, 'val', classes)
    metric = METRICS.build(dict(type='KittiMetric', ann_file=str(root / 'kitti_infos_val.pkl')))
    metric.dataset_meta = dataset.metainfo
    results = []
    for index in (1, 0, 2):
        truth = dataset.get_ann_info(index)
        boxes = truth['gt_bboxes_3d']
        found = InstanceData(
            bboxes_3d=boxes,
            labels_3d=np.array(truth['gt_labels_3d']),
            scores_3d=np.linspace(0.9, 0.5, len(boxes.tensor)),
        )
        import torch

        found.labels_3d, found.scores_3d = torch.tensor(found.labels_3d), torch.tensor(found.scores_3d)
        results.append(dict(pred_instances_3d=found, pred_instances=InstanceData(), sample_idx=index))
    values = metric.compute_metrics(results)
    for name in set(classes) - {'Car'}:
        for kind in ('AP11', 'AP40'):
            for figure in ('3D', 'AOS'):
                key = f'pred_instances_3d/KITTI/{name}_{figure}_{kind}_moderate_strict'
                assert values[key] > 0, (key, sorted(values))
    with_car = [value for key, value in values.items() if '/Car_' in key]
    assert bool(with_car) == ('Car' in classes)


@pytest.mark.parametrize(('turn', 'share'), [(0, 1), (np.pi / 2, 0.5), (np.pi, 0)])
def test_orientation_is_half_the_precision_at_a_right_angle(turn, share):
    """By its definition: each hit counts (1 + cos(turn)) / 2; a class that KITTI does not rate as well."""
    names = ['Car', 'Digger', 'Pedestrian']

    def label(scores=None, turn=0.0):
        frames = []
        for frame in range(12):
            left = np.array([100.0, 300, 500]) + 10 * frame
            frames.append(
                dict(
                    name=np.array(names),
                    truncated=np.zeros(3),
                    occluded=np.zeros(3, dtype=int),
                    alpha=np.array([0.3, -1.2, 2.0]) + turn,
                    bbox=np.stack([left, np.full(3, 50.0), left + 80, np.full(3, 150.0)], axis=1),
                    dimensions=np.ones((3, 3)),
                    location=np.ones((3, 3)),
                    rotation_y=np.zeros(3),
                    score=np.ones(3) if scores is None else np.full(3, 0.99 - 0.01 * frame),
                )
            )
        return frames

    values = measure_orientation(label(), label(True, turn), names)
    precision = measure_orientation(label(), label(True), names)
    assert len(values) == 18 and not any('Overall' in key for key in values)
    for key, value in values.items():
        assert value == pytest.approx(share * precision[key], abs=1e-3)
        assert 0 < precision[key] <= 100
    rated = measure_orientation(label(), label(True), ['Pedestrian', 'Car'])
    overall = rated['KITTI/Overall_AOS_AP40_hard']
    both = [rated[f'KITTI/{name}_AOS_AP40_hard_strict'] for name in ('Car', 'Pedestrian')]
    assert overall == pytest.approx(np.mean(both), abs=1e-3)
    untold = [{**frame, 'alpha': np.full(3, -10.0)} for frame in label()]
    assert measure_orientation(untold, label(True), names) == {}
