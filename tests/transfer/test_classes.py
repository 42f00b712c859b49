"""Classes of data, heads and checkpoints: where they have to agree, and what begins anew where they may not."""

import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

pytest.importorskip('mmdet')
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope

from dualattn.engine import CheckpointError, DataError, StrictRunner
from transfer.classes import check_heads, find_heads, read_stored_classes

pytestmark = pytest.mark.mm


class Part(nn.Module):
    """A stand-in with the attributes that heads have."""

    def __init__(self, **attributes):
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


# --- heads


def test_heads_are_found_and_checked():
    model = Part(
        backbone=Part(num_classes=0),
        rpn_head=Part(num_classes=1),
        roi_head=Part(
            bbox_head=nn.ModuleList([Part(num_classes=3, loss=Part(num_classes=3)), Part(num_classes=3)]),
            mask_head=Part(num_classes=80, class_agnostic=True),
        ),
    )
    assert list(find_heads(model)) == ['roi_head.bbox_head.0', 'roi_head.bbox_head.1']
    check_heads(model, ['a', 'b', 'c'], 'training data')
    with pytest.raises(
        DataError, match=r'test data has 2 classes, the model has 3: set model.roi_head.bbox_head.0.num_'
    ):
        check_heads(model, ['a', 'b'], 'test data')


def test_tasks_need_the_names_in_order():
    model = Part(pts_bbox_head=Part(num_classes=[1, 2], class_names=[['car'], ['truck', 'bus']]))
    check_heads(model, ['car', 'truck', 'bus'], 'training data')
    for classes in (['truck', 'car', 'bus'], ['car', 'truck'], ['car', 'truck', 'van']):
        with pytest.raises(DataError, match='the tasks of model.pts_bbox_head name car, truck, bus, but training data'):
            check_heads(model, classes, 'training data')


@pytest.mark.parametrize(('sizes', 'assigners'), [(3, 2), (2, 3), (3, 3)])
def test_anchors_are_one_for_each_class(sizes, assigners):
    def make(sizes, assigners):
        generator = SimpleNamespace(sizes=[[1, 1, 1]] * sizes)
        return Part(bbox_head=Part(num_classes=2, prior_generator=generator, bbox_assigner=[None] * assigners))

    check_heads(make(2, 2), ['a', 'b'], 'training data')
    with pytest.raises(DataError, match=f'has 2 classes, {sizes} sizes of anchors and {assigners} assigners'):
        check_heads(make(sizes, assigners), ['a', 'b'], 'training data')


@pytest.mark.parametrize(
    ('meta', 'classes'),
    [
        (dict(dataset_meta=dict(classes=('a', 'b'))), ['a', 'b']),
        (dict(dataset_meta=dict(CLASSES=['a', 'b'])), ['a', 'b']),
        (dict(CLASSES=('a', 'b')), ['a', 'b']),
        (dict(dataset_meta=dict(classes='a')), ['a']),
        (dict(dataset_meta={}), None),
        (None, None),
    ],
)
def test_classes_of_checkpoints_of_several_versions(meta, classes):
    assert read_stored_classes(meta) == classes


# --- whole runs


@pytest.fixture
def heard(monkeypatch, caplog):
    """Let pytest hear the log of the runs."""
    caplog.set_level(logging.WARNING)

    def build(runner, *args, **kwargs):
        logger = logging.getLogger('heard')
        return logger

    monkeypatch.setattr(StrictRunner, 'build_logger', build)
    monkeypatch.setattr(MMLogger, 'get_current_instance', lambda: logging.getLogger('heard'))
    return caplog


@pytest.fixture
def begin(detector_config, tmp_path):
    """Function that starts a training of two classes, without an iteration, from weights of others."""

    def begin(classes, change=None, **options):
        options = {'train_cfg.max_epochs': 0, **options}
        cfg = detector_config()
        init_default_scope('mmdet')
        model = cfg.model.copy()
        model.roi_head.bbox_head.num_classes = model.roi_head.mask_head.num_classes = len(classes)
        torch.manual_seed(7)
        weights = MODELS.build(model).state_dict()
        if change is not None:
            change(weights)
        path = tmp_path / 'other.pth'
        torch.save(dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=classes))), path)
        runner = StrictRunner.from_cfg(detector_config(load_from=str(path), **options))
        runner.train()
        return weights, runner.model.state_dict()

    return begin


CLASS_LAYERS = {
    f'roi_head.{layer}.{kind}'
    for layer in ('bbox_head.fc_cls', 'bbox_head.fc_reg', 'mask_head.conv_logits')
    for kind in ('weight', 'bias')
}


def compare(before, after):
    """The names of the weights that a training did not begin with."""
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_load_from_names_what_it_leaves_out(begin, heard):
    before, after = begin(['a', 'b', 'c', 'd', 'e'])
    assert compare(before, after) == CLASS_LAYERS
    (message,) = (record.message for record in heard.records if record.message.startswith('load_from: '))
    assert 'trained on 5 classes, and this data has 2' in message and all(name in message for name in CLASS_LAYERS)
    weight = after['roi_head.bbox_head.fc_cls.weight']
    assert weight.shape[0] == 3 and 0.005 < weight.std() < 0.02  # as mmdet begins this layer


@pytest.mark.slow
def test_load_from_carries_classes_of_the_same_name(begin, heard):
    before, after = begin(['blue', 'b', 'c'])  # this data has red and blue
    assert compare(before, after) == CLASS_LAYERS
    for layer, rows in (('bbox_head.fc_cls', 1), ('bbox_head.fc_reg', 4), ('mask_head.conv_logits', 1)):
        for kind in ('weight', 'bias'):
            old, new = (side[f'roi_head.{layer}.{kind}'] for side in (before, after))
            assert torch.equal(new[rows : 2 * rows], old[:rows])
    for kind in ('weight', 'bias'):
        old, new = (side[f'roi_head.bbox_head.fc_cls.{kind}'] for side in (before, after))
        assert torch.equal(new[2], old[3])  # the background
    (message,) = (record.message for record in heard.records if record.message.startswith('load_from: '))
    assert 'Carried over for the classes of the same name (blue), in: ' in message and 'red begins anew' in message


def test_as_many_other_classes_have_to_be_meant(begin, heard):
    with pytest.raises(DataError, match="checkpoint's training data and training data have different classes"):
        begin(['red', 'green'])
    with pytest.raises(DataError, match='their order differs'):
        begin(['blue', 'red'])
    before, after = begin(['red', 'green'], **{'custom_hooks.0.new_classes': True})
    assert compare(before, after) == CLASS_LAYERS


def test_what_else_does_not_fit_is_an_error(begin, heard):
    with pytest.raises(CheckpointError, match='1 missing .neck'):
        begin(['a', 'b', 'c'], lambda weights: weights.pop('neck.fpn_convs.0.conv.bias'))
    with pytest.raises(CheckpointError, match='1 misshapen .roi_head.bbox_head.shared_fcs.0.weight'):
        begin(
            ['a', 'b', 'c'],
            lambda weights: weights.update({'roi_head.bbox_head.shared_fcs.0.weight': torch.zeros(16, 8)}),
        )


@pytest.mark.slow
def test_detectors_refuse_data_of_other_classes(detector_config, coco):
    root, _ = coco
    names = dict(classes=('red',))
    with pytest.raises(
        DataError, match='training data has 1 classes, the model has 2: set model.roi_head.bbox_head.num'
    ):
        StrictRunner.from_cfg(
            detector_config(**{'train_cfg.max_epochs': 0, 'train_dataloader.dataset.metainfo': names})
        ).train()
    with pytest.raises(DataError, match=r'training data and validation data have different classes \(2 and 1\): blue'):
        StrictRunner.from_cfg(
            detector_config(**{'train_cfg.max_epochs': 0, 'val_dataloader.dataset.metainfo': names})
        ).train()
    with pytest.raises(DataError, match=r'training data and test data have different classes \(2 and 1\): blue'):
        StrictRunner.from_cfg(
            detector_config(**{'train_cfg.max_epochs': 0, 'test_dataloader.dataset.metainfo': names})
        ).train()
    other = str(root / 'annotations' / 'instances_train2017.json')
    with pytest.raises(DataError, match='val_evaluator measures by .*train2017.json: set val_evaluator.ann_file'):
        StrictRunner.from_cfg(detector_config(**{'train_cfg.max_epochs': 0, 'val_evaluator.ann_file': other})).train()


def test_broken_images_are_named_while_training(detector_config, coco):
    root, _ = coco
    whole = (root / 'train2017' / '1.png').read_bytes()
    (root / 'train2017' / '1.png').write_bytes(whole[: len(whole) // 2])  # its header is whole
    with pytest.raises(DataError, match=r'train2017/1.png cannot be read'):
        StrictRunner.from_cfg(detector_config()).train()
