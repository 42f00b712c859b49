"""`data_root` and `classes` among --cfg-options: one word for many entries, and what they refuse."""

import json

import pytest

mmengine = pytest.importorskip('mmengine')
from mmengine.config import Config  # noqa: E402

from dualattn.commands.overrides import merge_options  # noqa: E402
from dualattn.engine import check_options  # noqa: E402


def make_config(**more):
    dataset = dict(type='CocoDataset', data_root='data/coco/', ann_file='train.json', metainfo=dict(palette='coco'))
    sampler = dict(data_root='data/coco/', info_path='data/coco/objects.pkl')
    return Config(
        dict(
            model=dict(
                type='Detector',
                backbone=dict(init_cfg=dict(checkpoint='data/coco/weights.pth')),
                rpn_head=dict(num_classes=1),
                roi_head=dict(bbox_head=[dict(num_classes=80), dict(num_classes=80)], mask_head=dict(num_classes=80)),
            ),
            train_dataloader=dict(
                dataset=dict(type='RepeatDataset', dataset=dict(dataset, pipeline=[dict(type='P', db_sampler=sampler)]))
            ),
            val_dataloader=dict(dataset=dict(dataset)),
            test_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[dict(dataset), dict(dataset)])),
            val_evaluator=[dict(type='CocoMetric', ann_file='data/coco/val.json')],
            test_evaluator=dict(type='CocoMetric', ann_file='data/coco_old/val.json'),
            custom_hooks=[dict(type='ClassCheckHook')],
            work_dir='data/coco/run',
            **more,
        )
    )


@pytest.mark.parametrize('own', [{}, dict(data_root='data/coco/')])
@pytest.mark.parametrize('root', ['elsewhere/mine', '/elsewhere/mine/'])
def test_one_root_moves_all_data_and_nothing_else(own, root):
    cfg = make_config(**own)
    merge_options(cfg, {'data_root': root, 'val_dataloader.dataset.ann_file': 'v.json'})
    root = root.rstrip('/')
    inner = cfg.train_dataloader.dataset.dataset
    assert inner.data_root.rstrip('/') == root and inner.ann_file == 'train.json'
    assert inner.pipeline[0].db_sampler == dict(data_root=f'{root}/', info_path=f'{root}/objects.pkl')
    assert [data.data_root for data in cfg.test_dataloader.dataset.datasets] == [f'{root}/', f'{root}/']
    assert cfg.val_evaluator[0].ann_file == f'{root}/val.json' and cfg.val_dataloader.dataset.ann_file == 'v.json'
    assert cfg.test_evaluator.ann_file == 'data/coco_old/val.json'  # another folder that begins alike
    assert cfg.model.backbone.init_cfg.checkpoint == 'data/coco/weights.pth' and cfg.work_dir == 'data/coco/run'


def test_the_shared_folder_of_data_sets_is_their_root():
    cfg = Config(
        dict(
            model=dict(type='M'),
            train_dataloader=dict(dataset=dict(data_root=['data/a/train', 'data/a/more'])),
            val_dataloader=dict(dataset=dict(data_root='data/a/val')),
        )
    )
    merge_options(cfg, dict(data_root='b'))
    assert cfg.train_dataloader.dataset.data_root == ['b/train', 'b/more']
    assert cfg.val_dataloader.dataset.data_root == 'b/val'


@pytest.mark.parametrize(
    ('given', 'names'),
    [(['nut', 'bolt'], ['nut', 'bolt']), ('nut', ['nut']), ([1, 2, 10], ['1', '2', '10']), (7, ['7'])],
)
def test_classes_name_data_and_heads(given, names):
    cfg = make_config()
    merge_options(cfg, {'classes': given, 'model.roi_head.mask_head.num_classes': 9})
    assert [head.num_classes for head in cfg.model.roi_head.bbox_head] == [len(names)] * 2
    assert cfg.model.roi_head.mask_head.num_classes == 9  # what is named by itself has the last word
    assert cfg.model.rpn_head.num_classes == 1
    for dataset in (
        cfg.train_dataloader.dataset.dataset,
        cfg.val_dataloader.dataset,
        *cfg.test_dataloader.dataset.datasets,
    ):
        assert dataset.metainfo == dict(palette='coco', classes=names)
    assert cfg.custom_hooks[0].new_classes is True


def test_classes_of_a_classifier():
    data = dict(dataset=dict(type='ClassFolder', data_root='d', classes='imagenet-1k'))
    cfg = Config(dict(model=dict(backbone=dict(num_classes=1000)), train_dataloader=data, val_dataloader=data))
    merge_options(cfg, dict(classes=['cat', 'dog']))
    assert cfg.model.backbone.num_classes == 2 and cfg.val_dataloader.dataset.classes == ['cat', 'dog']


def test_options_that_are_refused():
    with pytest.raises(ValueError, match='classes have to be different names'):
        merge_options(make_config(), dict(classes=['a', 'a']))
    with pytest.raises(ValueError, match='clases would have no effect; what is read is .*classes.*data_root'):
        check_options(dict(clases=['a']))
    check_options(dict(classes=['a'], data_root='b'))


def test_configs_that_have_no_room_for_them():
    with pytest.raises(ValueError, match='no part of this model has num_classes'):
        merge_options(Config(dict(model=dict(type='M'))), dict(classes=['a']))
    cfg = Config(dict(model=dict(bbox_head=dict(num_classes=3, anchor_generator=dict(sizes=[[1, 1, 1]])))))
    with pytest.raises(ValueError, match='a config of your own: docs/'):
        merge_options(cfg, dict(classes=['a']))
    data = dict(dataset=dict(data_root='/a/b')), dict(dataset=dict(data_root='c'))
    cfg = Config(dict(model=dict(type='M'), train_dataloader=data[0], val_dataloader=data[1]))
    with pytest.raises(ValueError, match='share no folder'):
        merge_options(cfg, dict(data_root='e'))
    with pytest.raises(ValueError, match='no data set lies below'):
        merge_options(Config(dict(model=dict(type='M'), data_root='x/')), dict(data_root='e'))


# --- detectors in point clouds


def make_detector(root):
    """A detector with anchors for three classes, data in `root`, and a database of objects."""
    names = ['Pedestrian', 'Cyclist', 'Car']
    sampler = dict(
        classes=names,
        sample_groups=dict(Car=12, Pedestrian=6, Cyclist=6),
        prepare=dict(filter_by_min_points=dict(Car=5, Pedestrian=10, Cyclist=10)),
    )
    data = dict(
        data_root=str(root),
        metainfo=dict(classes=names),
        pipeline=[
            dict(type='ObjectSample', db_sampler=sampler),
            dict(type='ObjectNameFilter', classes=names),
        ],
    )
    anchors = dict(
        sizes=[[0.8, 0.6, 1.7], [1.8, 0.6, 1.7], [3.9, 1.6, 1.6]],
        ranges=[[0, -40, z, 70, 40, z] for z in (-0.6, -0.5, -1.8)],
    )
    return Config(
        dict(
            model=dict(
                bbox_head=dict(num_classes=3, anchor_generator=anchors),
                train_cfg=dict(assigner=[dict(pos_iou_thr=value) for value in (0.3, 0.35, 0.6)]),
            ),
            train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=data)),
            val_dataloader=dict(dataset=data),
            custom_hooks=[dict(type='ClassCheckHook')],
        )
    )


def write_sizes(root, text=None):
    content = dict(Digger=dict(objects=9, size=[7, 3, 3.2], bottom=-1.7), Dog=dict(size=[0.7, 0.3, 0.6], bottom=-1.6))
    (root / 'object_sizes.json').write_text(json.dumps(content) if text is None else text)


def test_anchors_go_with_their_classes(tmp_path):
    write_sizes(tmp_path)
    cfg = make_detector(tmp_path)
    merge_options(cfg, dict(classes=['Car', 'Dog', 'Digger', 'Pedestrian']))
    anchors = cfg.model.bbox_head.anchor_generator
    assert anchors.sizes == [[3.9, 1.6, 1.6], [0.7, 0.3, 0.6], [7, 3, 3.2], [0.8, 0.6, 1.7]]
    assert [one[2] for one in anchors.ranges] == [one[5] for one in anchors.ranges] == [-1.8, -1.6, -1.7, -0.6]
    assert {tuple(one[:2] + one[3:5]) for one in anchors.ranges} == {(0, -40, 70, 40)}
    # a dog is assigned as a pedestrian, a digger as a car
    assert [one.pos_iou_thr for one in cfg.model.train_cfg.assigner] == [0.6, 0.3, 0.6, 0.3]
    assert cfg.model.bbox_head.num_classes == 4
    for dataset in (cfg.train_dataloader.dataset.dataset, cfg.val_dataloader.dataset):
        sampler, names = dataset.pipeline[0].db_sampler, dataset.metainfo.classes
        assert names == sampler.classes == dataset.pipeline[1].classes == ['Car', 'Dog', 'Digger', 'Pedestrian']
        assert sampler.sample_groups == dict(Car=12, Dog=6, Digger=6, Pedestrian=6)
        assert sampler.prepare.filter_by_min_points == dict(Car=5, Dog=5, Digger=5, Pedestrian=10)


def test_known_classes_need_no_measures(tmp_path):
    cfg = make_detector(tmp_path)
    merge_options(cfg, dict(classes='Car'))
    assert cfg.model.bbox_head.anchor_generator.sizes == [[3.9, 1.6, 1.6]]
    assert cfg.model.train_cfg.assigner == [dict(pos_iou_thr=0.6)]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (None, 'how large Cow is: .*tells of Digger, Dog. Name them in a config of your own'),
        ('{"Cow": {"size": [1, 2], "bottom": 0}}', 'run it again'),
        ('{"Cow": {"size": [1, 2, -3], "bottom": 0}}', 'run it again'),
        ('{"Cow": {"size": [1, 2, 3]}}', 'run it again'),
        ('[', 'run it again'),
        ('[]', 'how large Cow is'),
    ],
)
def test_sizes_that_nothing_tells(text, message, tmp_path):
    write_sizes(tmp_path, text)
    with pytest.raises(ValueError, match=message):
        merge_options(make_detector(tmp_path), dict(classes=['Car', 'Cow']))


def test_anchors_that_are_not_one_for_each_class(tmp_path):
    cfg = make_detector(tmp_path)
    cfg.model.bbox_head.anchor_generator.sizes.append([1, 1, 1])
    with pytest.raises(ValueError, match='4 anchors of this detector are not those of its 3 classes'):
        merge_options(cfg, dict(classes=['Car']))


def test_tasks_keep_their_groups():
    tasks = [dict(num_class=1, class_names=['car']), dict(num_class=2, class_names=['bus', 'truck'])]
    model = dict(head=dict(tasks=tasks), test_cfg=dict(min_radius=[4, 12]))
    data = dict(dataset=dict(data_root='d'))
    cfg = Config(dict(model=model, train_dataloader=data))
    merge_options(cfg, dict(classes=['truck', 'bus', 'car']))
    assert cfg.model.head.tasks == [
        dict(num_class=2, class_names=['truck', 'bus']),
        dict(num_class=1, class_names=['car']),
    ]
    assert cfg.model.test_cfg.min_radius == [12, 4]
    cfg = Config(dict(model=model, train_dataloader=data))
    merge_options(cfg, dict(classes=['bus', 'car', 'truck']))
    assert [task.class_names for task in cfg.model.head.tasks] == [['bus'], ['car'], ['truck']]
    assert cfg.model.test_cfg.min_radius == [12, 4, 12]
    with pytest.raises(ValueError, match='cow is in none; known are car, bus, truck'):
        merge_options(Config(dict(model=model, train_dataloader=data)), dict(classes=['car', 'cow']))
