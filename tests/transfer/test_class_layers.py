"""What a head has learned about a class goes with it: heads of other classes answer alike for the shared ones."""

import pytest
import torch
from torch import nn

pytest.importorskip('mmdet3d')
import timm
from mmdet.registry import MODELS as DETECTORS
from mmdet3d.registry import MODELS
from mmengine.registry import init_default_scope

import dualattn  # noqa: F401
from transfer import detection3d  # noqa: F401
from transfer.class_layers import begin_class_layers

pytestmark = pytest.mark.mm
BEFORE = ['cat', 'dog', 'person', 'car', 'bird']
AFTER = ['drone', 'person', 'cat']


class Model(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head


def build(make, classes, seed):
    torch.manual_seed(seed)
    model = Model(make(classes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)  # no two outputs alike, biases included
    return model


def begin(make, before=BEFORE, after=AFTER, anew=True):
    """Models of both classes, the second with the weights of the first where they go together, and the report."""
    old, new = build(make, before, 0), build(make, after, 1)
    weights = {name: tensor.clone() for name, tensor in old.state_dict().items()}
    report = begin_class_layers(new, weights, before, after, anew, seed=3)
    new.load_state_dict(weights)
    return old.head, new.head, report


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')
    yield
    init_default_scope('mmengine')


def make_box_head(classes, **options):
    return DETECTORS.build(
        dict(
            type='mmdet.Shared2FCBBoxHead',
            in_channels=4,
            fc_out_channels=8,
            roi_feat_size=2,
            num_classes=len(classes),
            **options,
        )
    )


def test_boxes_of_photographs():
    old, new, report = begin(make_box_head)
    features = torch.randn(6, 4, 2, 2)
    (old_scores, old_boxes), (scores, boxes) = old(features), new(features)
    for i, j in ((2, 1), (0, 2), (5, 3)):  # person, cat, background
        torch.testing.assert_close(scores[:, j], old_scores[:, i])
    for i, j in ((2, 1), (0, 2)):
        torch.testing.assert_close(boxes.view(6, 3, 4)[:, j], old_boxes.view(6, 5, 4)[:, i])
    weight = new.fc_cls.weight[0]
    assert 0.002 < weight.std() < 0.03  # that of the drone is as mmdet begins
    assert 'for the classes of the same name (person, cat), in: head.fc_cls.bias' in report
    assert 'drone begins anew there' in report and 'Left out' not in report


def test_one_box_for_all_classes_is_kept_whole():
    old, new, report = begin(lambda classes: make_box_head(classes, reg_class_agnostic=True))
    assert torch.equal(new.fc_reg.weight, old.fc_reg.weight) and 'fc_reg' not in report


def test_as_many_classes_in_another_order():
    old, new, report = begin(make_box_head, ['cat', 'dog', 'person'], ['person', 'cat', 'dog'])
    features = torch.randn(2, 4, 2, 2)
    torch.testing.assert_close(new(features)[0][:, [1, 2, 0, 3]], old(features)[0])
    assert 'no class begins anew' in report


def test_nothing_shared_and_nothing_told():
    for before, after in ((BEFORE, ['drone', 'kite']), (None, ['cat', 'dog'])):
        old, new = build(make_box_head, BEFORE, 0), build(make_box_head, after, 1)
        weights = old.state_dict()
        report = begin_class_layers(new, weights, before, after, before is not None, seed=3)
        assert report.startswith('Left out, to begin anew: head.fc_cls.bias') and 'Carried' not in report
        new.load_state_dict(weights)
        assert new.head.fc_cls.weight.std() < 0.03  # the background as well


def test_masks():
    def make(classes):
        options = dict(num_convs=1, in_channels=4, conv_out_channels=4, num_classes=len(classes))
        return DETECTORS.build(dict(type='mmdet.FCNMaskHead', **options))

    old, new, _ = begin(make)
    features = torch.randn(2, 4, 7, 7)
    torch.testing.assert_close(new(features)[:, 1:], old(features)[:, [2, 0]])


@pytest.mark.parametrize('kind', ['mmdet.RetinaHead', 'mmdet.FCOSHead'])
def test_heads_of_one_stage(kind):
    def make(classes):
        return DETECTORS.build(
            dict(type=kind, num_classes=len(classes), in_channels=32, feat_channels=32, stacked_convs=1)
        )

    old, new, report = begin(make)
    assert 'cls_convs' not in report and 'Left out' not in report
    maps = [torch.randn(1, 32, 3, 3) for _ in range(5)]
    scores = [one(maps)[0][0].permute(0, 2, 3, 1).reshape(-1, number) for one, number in ((old, 5), (new, 3))]
    torch.testing.assert_close(scores[1][:, 1:], scores[0][:, [2, 0]])


def test_a_layout_that_is_not_known_begins_anew():
    def make(classes):
        head = nn.Module()
        head.num_classes = len(classes)
        head.fc_cls = nn.Linear(4, 2 * len(classes))
        return head

    _, _, report = begin(make)
    assert report == 'Left out, to begin anew: head.fc_cls.bias, head.fc_cls.weight'


def test_classifiers():
    def make(classes):
        sizes = dict(depths=(1, 1, 1, 1), embed_dims=(8, 8, 8, 8), stem_dim=8, head_dim=8)
        return timm.create_model('dualattn_tiny', num_classes=len(classes), **sizes)

    old, new, report = begin(make)
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(new(image)[:, 1:], old(image)[:, [2, 0]])
    assert 'head.head.fc.weight' in report


# --- point clouds

SIZES = dict(cat=[0.3, 0.2, 0.2], dog=[0.8, 0.3, 0.5], person=[0.7, 0.6, 1.7], car=[4, 1.6, 1.5], drone=[0.5, 0.5, 0.2])


def make_anchor_head(classes):
    init_default_scope('mmdet3d')
    sizes = [SIZES[name] for name in classes]
    return MODELS.build(
        dict(
            type='Anchor3DHead',
            num_classes=len(classes),
            in_channels=4,
            feat_channels=4,
            anchor_generator=dict(
                type='AlignedAnchor3DRangeGenerator',
                ranges=[[0, -8, -1, 16, 8, -1]] * len(classes),
                sizes=sizes,
                rotations=[0, 1.57],
                reshape_out=False,
            ),
            loss_cls=dict(type='mmdet.FocalLoss', use_sigmoid=True),
        )
    )


def test_anchors_of_shared_classes_answer_alike():
    before, after = ['cat', 'dog', 'person', 'car'], ['car', 'drone', 'cat']
    old, new, report = begin(make_anchor_head, before, after)
    features = [torch.randn(1, 4, 3, 2)]
    found = []
    for head, classes in ((old, before), (new, after)):
        scores, boxes, turns = (one[0] for one in head(features))
        # each as mmdet3d reads it, with the anchor that it belongs to
        anchors = head.prior_generator.grid_anchors([(3, 2)], device='cpu')[0].reshape(-1, 7)
        columns = (scores, len(classes)), (boxes, 7), (turns, 2)
        found.append((anchors, *(one.permute(0, 2, 3, 1).reshape(-1, number) for one, number in columns)))
    for name in ('car', 'cat'):
        size = torch.tensor(SIZES[name])
        at = [torch.isclose(anchors[:, 3:6], size).all(1) for anchors, *_ in found]
        assert at[0].sum() == at[1].sum() == 12
        for k in (0, 2, 3):  # anchors, boxes, turns
            torch.testing.assert_close(found[1][k][at[1]], found[0][k][at[0]])
        for other in ('car', 'cat'):
            torch.testing.assert_close(found[1][1][at[1], after.index(other)], found[0][1][at[0], before.index(other)])
    assert 'drone begins anew' in report and 'Left out' not in report


def make_center_head(tasks):
    def make(classes):
        init_default_scope('mmdet3d')
        return MODELS.build(
            dict(
                type='CenterHead',
                in_channels=4,
                tasks=[dict(class_names=names) for names in tasks],
                bbox_coder=dict(
                    type='CenterPointBBoxCoder', pc_range=[0, 0], out_size_factor=1, voxel_size=[1, 1], code_size=9
                ),
                common_heads=dict(reg=(2, 2), height=(1, 2)),
                share_conv_channel=4,
                separate_head=dict(type='SeparateHead', init_bias=-2.19, final_kernel=3),
                norm_bbox=True,
            )
        )

    return make


def test_tasks_go_with_their_classes():
    tasks = [['car'], ['cat', 'dog'], ['person', 'bird']]
    new_tasks = [['bird'], ['drone'], ['car'], ['dog', 'cat']]
    before, after = sum(tasks, []), sum(new_tasks, [])
    old = build(make_center_head(tasks), before, 0)
    new = build(make_center_head(new_tasks), after, 1)
    weights = {name: tensor.clone() for name, tensor in old.state_dict().items()}
    report = begin_class_layers(new, weights, before, after, True, seed=3)
    new.load_state_dict(weights)
    features = torch.randn(1, 4, 5, 5)
    found, expected = ([task[0] for task in model.head([features])] for model in (new, old))
    for task, source in ((0, 2), (2, 0), (3, 1)):
        for key in ('reg', 'height'):
            torch.testing.assert_close(found[task][key], expected[source][key])
        for i, name in enumerate(new_tasks[task]):
            there = tasks[source].index(name)
            torch.testing.assert_close(found[task]['heatmap'][:, i], expected[source]['heatmap'][:, there])
    left_out = report.partition('Left out, to begin anew: ')[2]
    assert left_out and all('.task_heads.1.' in name for name in left_out.split(', '))
