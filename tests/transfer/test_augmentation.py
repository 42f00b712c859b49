"""Test-time augmentation: views of an image, what becomes of their results, and configs that have no room for it."""

import pytest
import torch
from torch import nn

pytest.importorskip('mmdet')
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, init_default_scope
from mmengine.structures import InstanceData, LabelData

from dualattn.engine import OptionError
from dualattn.engine.augmentation import use_augmentation
from transfer.classification import AugmentedClassifier
from transfer.detection import AugmentedDetector

pytestmark = pytest.mark.mm


class Corner(nn.Module):
    """Classifies by what stands in the upper left corner, and remembers the sizes that it saw."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def test_step(self, data):
        self.sizes.append(tuple(data['inputs'].shape[2:]))
        return [LabelData(scores=image[:2, 0, 0], gt_label=label) for image, label in zip(*data.values(), strict=True)]


def test_classes_are_averaged_over_views():
    images = torch.zeros(2, 3, 8, 12)
    images[0, 0, :, :6], images[0, 1, :, 6:] = 1, 1  # the first class to the left, the second to the right
    images[1, 0] = 1
    model = AugmentedClassifier(Corner(), scales=[1.0, 0.5])
    first, second = model.test_step(dict(inputs=images, label=torch.tensor([0, 1])))
    assert model.module.sizes == [(8, 12), (8, 12), (4, 6), (4, 6)]
    assert torch.allclose(first.scores, torch.tensor([0.5, 0.5]), atol=1e-5) and first.gt_label == 0
    assert torch.allclose(second.scores, torch.tensor([1.0, 0.0]), atol=1e-5)


def make_sample(boxes, scores, direction=None):
    """What a detector finds in one view of a 20 x 30 image, with a mask that fills each box."""
    masks = torch.zeros(len(boxes), 20, 30, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    found = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores),
        labels=torch.zeros(len(boxes), dtype=torch.long),
        masks=masks,
    )
    sample = DetDataSample(pred_instances=found)
    sample.set_metainfo(dict(ori_shape=(20, 30), flip=direction is not None, flip_direction=direction))
    return sample


@pytest.mark.parametrize(
    ('direction', 'box'),
    [('horizontal', [20, 2, 28, 10]), ('vertical', [2, 10, 10, 18]), ('diagonal', [20, 10, 28, 18])],
)
def test_objects_of_views_are_merged_with_their_masks(direction, box):
    model = AugmentedDetector(tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=2), module=Corner())
    plain = make_sample([[2, 2, 10, 10], [12, 12, 20, 20]], [0.6, 0.3])
    flipped = make_sample([box, [0, 0, 4, 4]], [0.9, 0.1], direction)
    (result,) = model.merge_preds([[plain, flipped]])
    found = result.pred_instances
    assert found.bboxes.tolist() == [[2, 2, 10, 10], [12, 12, 20, 20]]  # found twice, and the best two of three
    assert found.scores.tolist() == pytest.approx([0.9, 0.3])
    for mask, (x1, y1, x2, y2) in zip(found.masks, found.bboxes.int().tolist(), strict=True):
        assert mask[y1:y2, x1:x2].all() and mask.sum() == (x2 - x1) * (y2 - y1)
    (result,) = model.merge_preds([[make_sample([], []), make_sample([], [], direction)]])
    assert len(result.pred_instances) == 0


def test_a_pipeline_becomes_one_of_views(detector_config, coco):
    cfg = detector_config()
    use_augmentation(cfg, [0.5, 1.0])
    assert cfg.model.type == 'AugmentedDetector' and cfg.model.module.type == 'MaskRCNN'
    init_default_scope('mmdet')
    load, augment = (TRANSFORMS.build(step) for step in cfg.test_dataloader.dataset.pipeline)
    root, _ = coco
    instances = dict(instances=[], img_id=1)
    views = augment(load(dict(img_path=str(root / 'val2017' / '0.png'), **instances)))
    shapes = [(tuple(image.shape), sample.flip) for image, sample in zip(*views.values(), strict=True)]
    assert shapes == [((3, 32, 48), False), ((3, 32, 48), True), ((3, 64, 96), False), ((3, 64, 96), True)]
    assert torch.equal(views['inputs'][2].flip(-1), views['inputs'][3])


@pytest.mark.parametrize(
    ('cfg', 'scales', 'message'),
    [
        (
            dict(model=dict(type='GANColorizer'), default_scope='mmengine'),
            [1],
            'is for classifiers and for detectors on',
        ),
        (dict(model=dict(type='VoxelNet'), default_scope='mmdet3d'), [1], 'is for classifiers and for detectors on'),
        (dict(model=dict(type='M'), tta_model={}), [], 'numbers from 0.1 to 10'),
        (dict(model=dict(type='M'), tta_model={}), [0], 'numbers from 0.1 to 10'),
        (dict(model=dict(type='M'), tta_model={}), ['a'], 'numbers from 0.1 to 10'),
        (
            dict(
                model=dict(type='MaskRCNN'),
                default_scope='mmdet',
                tta_model=dict(type='AugmentedDetector'),
                test_dataloader=dict(
                    dataset=dict(pipeline=[dict(type='LoadImageFromFile'), dict(type='PackDetInputs')])
                ),
            ),
            [1],
            'needs one Resize',
        ),
    ],
)
def test_what_has_no_views(cfg, scales, message):
    with pytest.raises(OptionError, match=message):
        use_augmentation(Config(cfg), scales)
