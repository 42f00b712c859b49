"""Detection: annotations that are refused, the detectors of configs/det in each mode, and a whole run."""

import copy
import json
import os
import re
import subprocess
import sys

import pytest
import torch

pytest.importorskip('mmdet')
from mmdet.structures import DetDataSample
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from dualattn.engine import CheckpointError, DataError, StrictRunner, read_checkpoint
from transfer.detection.complexity import TwoStageNetwork
from transfer.detection.dataset import check_annotations
from transfer.detection.inference import ImageDetector

pytestmark = pytest.mark.mm
CLASSES = ('red', 'blue')


# --- annotations


def write(root, content):
    path = root / 'annotations' / 'changed.json'
    path.write_text(json.dumps(content))
    return path


def test_good_annotations(coco):
    root, content = coco
    check_annotations(write(root, content), root / 'train2017', CLASSES)
    # what COCO itself has: images without objects, boxes without height, rounding at the edge, other categories
    content['annotations'] = content['annotations'][2:]
    content['annotations'][0]['bbox'] = [90, 60, 7, 0]
    content['categories'].append(dict(id=9, name='green'))
    content['annotations'].append(dict(content['annotations'][1], id=99, category_id=9))
    check_annotations(write(root, content), root / 'train2017', CLASSES)


def change_images(content):
    for image in content['images'][1:]:
        image['file_name'] = f'gone_{image["id"]}.png'


def change_boxes(content):
    content['annotations'][0]['bbox'] = [70, 8, 30, 26]
    content['annotations'][3]['bbox'] = [-40, 8, 30, 26]
    content['annotations'][4]['bbox'] = [6, 8, -3, 26]
    del content['annotations'][5]['bbox']


def change_categories(content):
    for annotation in content['annotations']:
        annotation['category_id'] -= 3


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (change_images, r'2 images are not in .*train2017: 2 \(gone_2.png\), 3 \(gone_3.png\)$'),
        (
            change_boxes,
            r'4 annotations have a box outside of their image, or none: 10 \(\[70, 8, 30, 26\] in 96 x 64\), '
            r'21 \(.*\), 30 \(.*\), 31 \(None in 96 x 64\)$',
        ),
        (
            change_categories,
            r'6 annotations have a category id that is not among the categories: 10 \(category 0\), '
            r'11 \(category 4\), .*, \.\.\.$',
        ),
        (lambda c: c['annotations'][1].update(image_id=8), r'1 annotations belong to no image: 11 \(image 8\)'),
        (lambda c: c['annotations'][2].update(segmentation=[]), '1 annotations have an empty outline: 20$'),
        (
            lambda c: c['categories'][1].update(name='azure'),
            "1 of the model's classes have no category of that name; set metainfo.classes .*: blue$",
        ),
        (lambda c: c['annotations'].clear(), 'there are no annotations at all'),
        (lambda c: c.pop('images'), 'no COCO annotation file: it has no list of images'),
        (lambda c: c['images'][1].pop('width'), "1 images have no 'width': 2"),
        (lambda c: c['annotations'][1].update(id=10), '1 ids of annotations occur more than once'),
    ],
)
def test_annotations_that_are_refused(coco, change, message):
    root, content = coco
    change(content)
    path = write(root, content)
    with pytest.raises(DataError, match=message) as caught:
        check_annotations(path, root / 'train2017', CLASSES)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_all_faults_at_once(coco):
    root, content = coco
    change_images(content)
    change_categories(content)
    with pytest.raises(DataError, match='2 images are not in .*; 6 annotations have a category id'):
        check_annotations(write(root, content), root / 'train2017', CLASSES)


def test_files_that_are_no_annotations(coco):
    root, _ = coco
    with pytest.raises(FileNotFoundError, match='nowhere.json: set data_root'):
        check_annotations(root / 'nowhere.json', root, CLASSES)
    (root / 'broken.json').write_text('{"images": [')
    with pytest.raises(DataError, match='broken.json is no JSON file'):
        check_annotations(root / 'broken.json', root, CLASSES)


def test_images_without_annotations_are_for_tests_alone(coco):
    """As the files of COCO's test-dev."""
    root, content = coco
    del content['annotations']
    check_annotations(write(root, content), root / 'train2017', CLASSES, for_test=True)
    with pytest.raises(DataError, match='no list of annotations'):
        check_annotations(write(root, content), root / 'train2017', CLASSES)
    content['annotations'] = []
    with pytest.raises(DataError, match='no annotations at all'):
        check_annotations(write(root, content), root / 'train2017', CLASSES, for_test=True)


def test_outlines_are_for_masks(coco):
    root, content = coco
    content['annotations'][2]['segmentation'] = []
    check_annotations(write(root, content), root / 'train2017', CLASSES, with_mask=False)


def test_real_annotations_are_good(data_root):
    init_default_scope('mmdet')
    try:
        for split, number in (('train2017', 128), ('val2017', 80)):
            dataset = DATASETS.build(
                dict(
                    type='CheckedCocoDataset',
                    data_root=str(data_root / 'coco_mini'),
                    pipeline=[],
                    ann_file=f'annotations/instances_{split}.json',
                    data_prefix=dict(img=f'{split}/'),
                )
            )
            assert len(dataset) == number
    finally:
        init_default_scope('mmengine')


def test_data_set_checks_before_training(coco, detector_config):
    root, content = coco
    content['images'][0]['file_name'] = 'gone.png'
    (root / 'annotations' / 'instances_train2017.json').write_text(json.dumps(content))
    cfg = detector_config()
    with pytest.raises(DataError, match='gone.png'):
        StrictRunner.from_cfg(cfg).train()


# --- networks


@pytest.mark.slow
@pytest.mark.parametrize('name', ['mask_rcnn_dualattn_t', 'cascade_mask_rcnn_dualattn_t'])
def test_modes(detector_config, name):
    cfg = detector_config(name, **{'model.test_cfg.rcnn.score_thr': 0.0, 'model.test_cfg.rcnn.max_per_img': 5})
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = next(iter(Runner.build_dataloader(cfg.train_dataloader)))
    losses = model(**model.data_preprocessor(copy.deepcopy(data), training=True), mode='loss')
    total, log = model.parse_losses(losses)
    assert total.isfinite() and {'loss_rpn_cls', 'loss_rpn_bbox'} <= set(losses)
    stages = ['s0.', 's1.', 's2.'] if name.startswith('cascade') else ['']
    assert {f'{stage}loss_{part}' for stage in stages for part in ('cls', 'bbox', 'mask')} <= set(losses)
    total.backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert unused == []

    model.eval()
    data = next(iter(Runner.build_dataloader(cfg.val_dataloader)))
    with torch.no_grad():
        (sample,) = model.test_step(copy.deepcopy(data))
        found = sample.pred_instances
        assert isinstance(sample, DetDataSample) and len(found) == 5
        assert found.masks.shape == (5, 64, 96) and found.bboxes.shape == (5, 4)
        assert found.bboxes.min() >= 0 and (found.bboxes.amax(0) <= torch.tensor([96, 64, 96, 64])).all()
        maps = model.extract_feat(model.data_preprocessor(data)['inputs'])
    assert [tuple(map_.shape[1:]) for map_ in maps] == [(16, 16, 24), (16, 8, 12), (16, 4, 6), (16, 2, 3), (16, 1, 2)]


def test_flops_are_those_of_1000_boxes_and_100_masks(detector_config):
    """The heads' share, counted by hand."""
    from fvcore.nn import FlopCountAnalysis

    cfg = detector_config()
    network = TwoStageNetwork(cfg).eval()
    with torch.no_grad():
        flops = FlopCountAnalysis(network, torch.zeros(1, 3, 64, 96)).unsupported_ops_warnings(False)
        flops = flops.uncalled_modules_warnings(False).by_module()
    # two linear layers, classes and boxes
    assert flops['detector.roi_head.bbox_head'] == 1000 * (16 * 49 * 16 + 16 * 16 + 16 * 3 + 16 * 8)
    # four convolutions, a transposed one that doubles the side, one logit for each class
    assert flops['detector.roi_head.mask_head'] == 100 * (4 * 9 * 16 * 16 * 196 + 4 * 16 * 16 * 196 + 16 * 2 * 784)


# --- whole runs


@pytest.mark.slow
def test_train_validate_resume_and_infer(detector_config, tmp_path, coco):
    """One epoch, then another one from its checkpoint; the result finds its way into picture and JSON."""
    root, _ = coco
    runner = StrictRunner.from_cfg(detector_config(log_level='INFO'))
    runner.train()
    (log,) = (tmp_path / 'run').glob('*/*.log')
    stated = (
        r'CocoMetric is measured on 3 samples: 3 samples of .*/instances_val2017.json in 2 classes, scaled to fit 96'
    )
    assert re.search(stated, log.read_text(encoding='utf-8'))
    first = tmp_path / 'run' / 'epoch_1.pth'
    stored = read_checkpoint(first)
    assert tuple(stored['meta']['dataset_meta']['classes']) == CLASSES

    cfg = detector_config(load_from=str(first), resume=True, **{'train_cfg.max_epochs': 2})
    resumed = StrictRunner.from_cfg(cfg)
    resumed.train()
    assert resumed.epoch == 2 and (tmp_path / 'run' / 'epoch_2.pth').is_file()
    changed = [
        name
        for name, tensor in read_checkpoint(tmp_path / 'run' / 'epoch_2.pth')['state_dict'].items()
        if not torch.equal(tensor, stored['state_dict'][name])
    ]
    assert 'backbone.model.stem.conv.weight' in changed and 'roi_head.mask_head.conv_logits.weight' in changed

    cfg.dump(tmp_path / 'tiny.py')
    with pytest.raises(CheckpointError, match='neck.lateral_convs.0.conv.weight'):
        other = copy.deepcopy(cfg)
        other.merge_from_dict({'model.neck.out_channels': 32})
        other.dump(tmp_path / 'other.py')
        ImageDetector(str(tmp_path / 'other.py'), str(first))
    detector = ImageDetector(str(tmp_path / 'tiny.py'), str(first), score_threshold=0.5)
    result = detector.predict(root / 'val2017' / '0.png')
    # boxes that are known, instead of those of two steps of training
    masks = torch.zeros(3, 64, 96, dtype=torch.bool)
    masks[0, 8:34, 6:36] = masks[1, 8:38, 50:80] = True
    result.pred_instances = InstanceData(
        scores=torch.tensor([0.6, 0.9, 0.4]),
        labels=torch.tensor([0, 1, 0]),
        masks=masks,
        bboxes=torch.tensor([[6.0, 8, 36, 34], [50, 8, 80, 38], [0, 0, 9, 9]]),
    )
    assert detector.save(result, tmp_path / 'a.png', tmp_path / 'a.json') == 2
    saved = json.loads((tmp_path / 'a.json').read_text())
    assert saved['image'].endswith('0.png')
    assert [(one['name'], one['label']) for one in saved['objects']] == [('blue', 1), ('red', 0)]
    assert saved['objects'][0]['bbox'] == [50, 8, 30, 30] and saved['objects'][0]['score'] == pytest.approx(0.9)
    from pycocotools import mask as codes

    assert codes.area(saved['objects'][1]['segmentation']) == 26 * 30
    assert not list(tmp_path.glob('.*'))
    for path, error in ((root / 'gone.png', FileNotFoundError), (tmp_path / 'tiny.py', DataError)):
        with pytest.raises(error, match=path.name):
            detector.predict(path)


@pytest.mark.slow
@pytest.mark.long  # a minute, most of it imports; tests/tools/test_train.py shows two processes with another network
def test_two_processes(detector_config, tmp_path, repo_root):
    """Every parameter is used, and one process goes on with what two have made."""
    cfg = detector_config('cascade_mask_rcnn_dualattn_t', **{'train_dataloader.batch_size': 1})
    assert cfg.sync_bn == 'torch'
    cfg.dump(tmp_path / 'tiny.py')
    environment = {**os.environ, 'PYTHONPATH': str(repo_root), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    run = subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--standalone',
            '--nproc-per-node',
            '2',
            repo_root / 'tools' / 'train.py',
            tmp_path / 'tiny.py',
            '--launcher',
            'pytorch',
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    runner = StrictRunner.from_cfg(
        detector_config(
            'cascade_mask_rcnn_dualattn_t',
            load_from=str(tmp_path / 'run' / 'epoch_1.pth'),
            resume=True,
            **{'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 2},
        )
    )
    runner.train()
    assert runner.iter == 4  # two updates by two processes, two by one
