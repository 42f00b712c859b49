"""Each repair against an independent result, and each fault without its repair."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytestmark = pytest.mark.mm
spconv = pytest.importorskip('spconv.pytorch')
pytest.importorskip('mmdet3d')

from mmdet3d.models.dense_heads import CenterHead  # noqa: E402
from shapely.geometry import Polygon  # noqa: E402

from transfer.detection3d import repairs  # noqa: E402

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='the libraries have no such fault with a GPU')


# --- sparse convolution


def make_sparse(seed=0, channels=3):
    """Random voxels, as (features, indices, dense map with zeros elsewhere)."""
    torch.manual_seed(seed)
    shape = (2, 6, 7, 8)
    indices = (torch.rand(shape) < 0.3).nonzero().int().contiguous()  # spconv misreads other strides
    features = torch.randn(len(indices), channels)
    dense = torch.zeros(*shape, channels)
    dense[tuple(indices.long().T)] = features
    return features, indices, dense.permute(0, 4, 1, 2, 3), shape[1:]


@without_gpu
@pytest.mark.parametrize(
    'layer, arguments',
    [
        (spconv.SubMConv3d, dict(kernel_size=3, padding=1)),
        (spconv.SubMConv3d, dict(kernel_size=(1, 3, 3), padding=(0, 1, 1))),
        (spconv.SparseConv3d, dict(kernel_size=3, stride=2, padding=1)),
        (spconv.SparseConv3d, dict(kernel_size=(3, 1, 1), stride=(2, 1, 1))),
    ],
)
def test_sparse_convolution_is_the_dense_one(layer, arguments):
    features, indices, dense, shape = make_sparse()
    conv = layer(3, 5, bias=True, **arguments)
    weight = conv.weight.detach().permute(0, 4, 1, 2, 3).clone().requires_grad_()  # (K, *kernel, C) -> (K, C, *kernel)
    features.requires_grad_()
    dense.requires_grad_()

    sparse = conv(spconv.SparseConvTensor(features, indices, shape, 2))
    steps = {name: value for name, value in arguments.items() if name != 'kernel_size'}
    expected = F.conv3d(dense, weight, conv.bias, **steps)
    at = sparse.indices.long()
    expected = expected.permute(0, 2, 3, 4, 1)[tuple(at.T)]
    assert torch.allclose(sparse.features, expected, atol=1e-5)

    grad = torch.randn_like(expected)
    sparse.features.backward(grad)
    expected.backward(grad)
    assert torch.allclose(conv.weight.grad.permute(0, 4, 1, 2, 3), weight.grad, atol=1e-4)
    assert torch.allclose(features.grad, dense.grad.permute(0, 2, 3, 4, 1)[tuple(indices.long().T)], atol=1e-5)


@without_gpu
def test_inverse_convolution_goes_back():
    """Values and gradients of the transposed pairs, with the same weights in a dense transposed convolution."""
    features, indices, dense, shape = make_sparse()
    down = spconv.SparseConv3d(3, 4, 3, stride=2, padding=1, bias=False, indice_key='down')
    up = spconv.SparseInverseConv3d(4, 3, 3, bias=False, indice_key='down')
    middle = down(spconv.SparseConvTensor(features, indices, shape, 2))
    result = up(middle)
    dense_middle = middle.dense().detach()
    weight = up.weight.detach().permute(4, 0, 1, 2, 3)  # (K, *kernel, C) -> (C, K, *kernel)
    expected = F.conv_transpose3d(
        dense_middle, weight, stride=2, padding=1, output_padding=[(s - 1) % 2 for s in shape]
    )
    assert torch.allclose(result.features, expected.permute(0, 2, 3, 4, 1)[tuple(indices.long().T)], atol=1e-5)


# --- overlaps


def make_boxes(count, seed):
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.uniform(-3, 3, (count, 2)), rng.uniform(1, 5, (count, 2)), rng.uniform(-4, 4, (count, 1))], axis=1
    )


def to_polygon(x, y, dx, dy, angle):
    """A box whose corners turn clockwise for a positive angle."""
    corners = np.array([[-dx, -dy], [-dx, dy], [dx, dy], [dx, -dy]]) / 2
    cos, sin = np.cos(angle), np.sin(angle)
    return Polygon(corners @ np.array([[cos, -sin], [sin, cos]]) + [x, y])


@pytest.mark.parametrize('criterion', [-1, 0, 1, 2])
def test_overlaps_are_shapelys(criterion):
    boxes, queries = make_boxes(12, 0), make_boxes(9, 1)
    expected = np.zeros((12, 9))
    for i, a in enumerate(to_polygon(*box) for box in boxes):
        for j, b in enumerate(to_polygon(*box) for box in queries):
            shared = a.intersection(b).area
            expected[i, j] = shared / {-1: a.union(b).area, 0: b.area, 1: a.area, 2: 1}[criterion]
    assert (expected > 0.2).sum() > 10
    assert np.allclose(repairs.overlap_rotated(boxes, queries, criterion), expected, atol=1e-4)


def test_no_boxes_have_no_overlaps():
    assert repairs.overlap_rotated(np.zeros((0, 5)), make_boxes(3, 0)).shape == (0, 3)


# --- CenterPoint


def make_center_head():
    return CenterHead(
        in_channels=8,
        share_conv_channel=8,
        tasks=[dict(num_class=1, class_names=['car'])],
        common_heads=dict(reg=(2, 2)),
        separate_head=dict(type='mmdet3d.SeparateHead', init_bias=-2.19),
        bbox_coder=dict(type='mmdet3d.CenterPointBBoxCoder', pc_range=[0, 0], out_size_factor=1, voxel_size=[1, 1]),
        loss_cls=dict(type='mmdet.GaussianFocalLoss'),
        loss_bbox=dict(type='mmdet.L1Loss'),
    )


def test_heatmap_bias_is_initialised():
    head = make_center_head()
    head.init_weights()
    assert torch.equal(head.task_heads[0].heatmap[-1].bias, torch.tensor([-2.19]))


def test_heatmap_bias_has_the_fault(monkeypatch):
    from mmengine.model import BaseModule

    monkeypatch.setattr(CenterHead, 'init_weights', BaseModule.init_weights)
    head = make_center_head()
    head.init_weights()
    assert not torch.equal(head.task_heads[0].heatmap[-1].bias, torch.tensor([-2.19]))


# --- faults and switches


def test_repairs_are_made_once():
    assert repairs.apply_repairs() == []


@without_gpu
def test_libraries_have_the_faults_and_a_gpu_is_left_alone():
    """Without repairs spconv has no gradient on a CPU and the metric no import; what a GPU can do is left to it."""
    done = subprocess.run([sys.executable, '-c', FAULTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


FAULTS = """
import sys
import torch, spconv.pytorch as spconv
torch.cuda.is_available = lambda: True

def asks_for_a_gpu(run):
    try:
        run()
    except Exception as error:
        return any(word in f'{type(error).__name__} {error}'.lower() for word in ('cuda', 'nvidia'))

conv = spconv.SubMConv3d(2, 2, 3, padding=1)
voxels = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 2], [0, 2, 2, 2]]).int()
out = conv(spconv.SparseConvTensor(torch.randn(3, 2), voxels, [4, 4, 4], 1))
assert asks_for_a_gpu(lambda: out.features.sum().backward())

calls = []
spconv.ops.indice_conv = lambda *args: calls.append(args)
spconv.ops.indice_conv_backward = lambda *args: calls.append(args)
from transfer.detection3d import repairs
assert repairs._ROTATE_IOU not in sys.modules
assert asks_for_a_gpu(lambda: __import__(repairs._ROTATE_IOU))
out = conv(spconv.SparseConvTensor(torch.randn(3, 2), voxels, [4, 4, 4], 1))
out.features.sum().backward()
assert conv.weight.grad.abs().sum() > 0 and not calls

class OfAGpu:
    is_cuda = True

spconv.ops.indice_conv(OfAGpu, 1, 2, 3, 4)
spconv.ops.indice_conv_backward(OfAGpu, 1, 2, 3, 4)
assert [args[:5] for args in calls] == [(OfAGpu, 1, 2, 3, 4)] * 2
"""


def test_a_fixed_center_head_is_left_alone():
    """A head that is initialised already is not initialised again."""
    head = make_center_head()
    head.task_heads[0].init_weights()
    head.task_heads[0].heatmap[-1].bias.data.fill_(7)
    head.init_weights()
    assert head.task_heads[0].heatmap[-1].bias.item() == 7
