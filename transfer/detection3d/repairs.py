"""What 3D detection needs repaired in its libraries, each repair off where it is not needed.

For tensors of a CPU, spconv 2.3.8 computes wrong sums and no gradients. Without a CUDA device, mmdet3d 1.4.0 cannot
import its KITTI metric. On any device it leaves out the initial bias of CenterPoint's heatmaps.
"""

import importlib.util
import logging
import sys
import types

import numpy as np
import torch
from mmcv.ops import box_iou_rotated
from mmdet3d.models.dense_heads import CenterHead
from mmdet3d.models.dense_heads.centerpoint_head import SeparateHead
from torch import Tensor

__all__ = ['apply_repairs', 'convolve_pairs', 'convolve_pairs_backward', 'overlap_rotated']

logger = logging.getLogger(__name__)
_ROTATE_IOU = 'mmdet3d.evaluation.functional.kitti_utils.rotate_iou'


def apply_repairs() -> list[str]:
    """Make every repair that this machine and these versions need, once; returns the names of those made now."""
    repairs = dict(
        sparse_convolution=repair_sparse_convolution, kitti_metric=repair_kitti_metric, center_head=repair_center_head
    )
    made = [name for name, repair in repairs.items() if repair()]
    if made:
        logger.info('repaired for this machine: %s', ', '.join(made))
    return made


# --- sparse convolution on a CPU


def _iterate_offsets(indice_pairs: Tensor, counts: Tensor, inverse: bool, subm: bool):
    """Yield (offset, input rows, output rows) of each kernel offset that has pairs.

    In a submanifold convolution the centre offset is the identity, which spconv leaves out, and a mirrored offset has
    as many pairs as its partner, whose count alone is stored.
    """
    counts = counts.tolist()
    center = len(counts) // 2
    for offset in range(len(counts)):
        if subm and offset == center:
            continue
        count = counts[len(counts) - 1 - offset] if subm and offset > center else counts[offset]
        if count > 0:
            yield (
                offset,
                indice_pairs[int(inverse), offset, :count].long(),
                indice_pairs[int(not inverse), offset, :count].long(),
            )


def convolve_pairs(
    features: Tensor,
    filters: Tensor,
    indice_pairs: Tensor,
    indice_pair_num: Tensor,
    num_activate_out: int,
    inverse: bool = False,
    subm: bool = False,
) -> Tensor:
    """Convolve sparse features: gather, matrix product and scatter-add for each offset of the kernel.

    Args:
        features: (N, C) float, the active voxels.
        filters: (K, *kernel, C) float.
        indice_pairs: (2, offsets, N) int, input and output row of each pair.
        indice_pair_num: (offsets,) int, pairs of each offset.
        num_activate_out: active voxels of the result, N'.
        inverse: read the pairs from output to input.
        subm: the result has the voxels of the input.

    Returns:
        (N', K) float.
    """
    weights = filters.flatten(1, -2)  # (K, offsets, C)
    if subm:
        out = features @ weights[:, weights.shape[1] // 2].T
    else:
        out = features.new_zeros(num_activate_out, weights.shape[0])
    for offset, source, target in _iterate_offsets(indice_pairs, indice_pair_num, inverse, subm):
        out.index_add_(0, target, features[source] @ weights[:, offset].T)
    return out


def convolve_pairs_backward(
    features: Tensor,
    filters: Tensor,
    out_bp: Tensor,
    indice_pairs: Tensor,
    indice_pair_num: Tensor,
    inverse: bool = False,
    subm: bool = False,
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of `convolve_pairs` for its features, (N, C), and filters, (K, *kernel, C).

    Args:
        features: see `convolve_pairs`.
        filters: see `convolve_pairs`.
        out_bp: (N', K) float, gradient of the result.
        indice_pairs: see `convolve_pairs`.
        indice_pair_num: see `convolve_pairs`.
        inverse: see `convolve_pairs`.
        subm: see `convolve_pairs`.
    """
    weights = filters.flatten(1, -2)
    grad_weights = torch.zeros_like(weights)
    if subm:
        center = weights.shape[1] // 2
        grad_features = out_bp @ weights[:, center]
        grad_weights[:, center] = out_bp.T @ features
    else:
        grad_features = torch.zeros_like(features)
    for offset, source, target in _iterate_offsets(indice_pairs, indice_pair_num, inverse, subm):
        grad = out_bp[target]
        grad_features.index_add_(0, source, grad @ weights[:, offset])
        grad_weights[:, offset] = grad.T @ features[source]
    return grad_features, grad_weights.view(filters.shape)


def repair_sparse_convolution() -> bool:
    """Let spconv convolve CPU tensors by `convolve_pairs`; those of a GPU go to spconv, as ever.

    spconv's own scatter-add races between OpenMP threads, and its backward pass asks for a CUDA stream.
    """
    if importlib.util.find_spec('spconv') is None:
        return False
    import spconv
    from spconv.constants import ALL_WEIGHT_IS_KRSC
    from spconv.pytorch import ops

    if not spconv.__version__.startswith('2.3') or hasattr(ops.indice_conv, 'on_gpu'):
        return False

    def convolve(
        features,
        filters,
        indice_pairs,
        indice_pair_num,
        num_activate_out,
        inverse=False,
        subm=False,
        algo=None,
        timer=None,
        bias=None,
        act_alpha=0.0,
        act_beta=0.0,
        act_type=None,
    ):
        """Stand in for `spconv.pytorch.ops.indice_conv`; a fused activation is for spconv's own inference, on GPUs."""
        if features.is_cuda:
            return on_gpu(
                features,
                filters,
                indice_pairs,
                indice_pair_num,
                num_activate_out,
                inverse,
                subm,
                algo,
                timer,
                bias,
                act_alpha,
                act_beta,
                act_type,
            )
        if not ALL_WEIGHT_IS_KRSC:
            raise RuntimeError(
                'spconv is set to another layout of its weights than (K, *kernel, C); unset the '
                'environment variable SPCONV_SAVED_WEIGHT_LAYOUT'
            )
        out = convolve_pairs(features, filters, indice_pairs, indice_pair_num, num_activate_out, inverse, subm)
        return out if bias is None else out + bias

    def convolve_backward(
        features, filters, out_bp, indice_pairs, indice_pair_num, inverse=False, subm=False, algo=None, timer=None
    ):
        """Stand in for `spconv.pytorch.ops.indice_conv_backward`."""
        if features.is_cuda:
            return backward_on_gpu(features, filters, out_bp, indice_pairs, indice_pair_num, inverse, subm, algo, timer)
        return convolve_pairs_backward(features, filters, out_bp, indice_pairs, indice_pair_num, inverse, subm)

    on_gpu, backward_on_gpu = ops.indice_conv, ops.indice_conv_backward
    for repaired, original in ((convolve, on_gpu), (convolve_backward, backward_on_gpu)):
        setattr(repaired, 'on_gpu', original)  # noqa: B010 (a function's type has no such name)
    ops.indice_conv, ops.indice_conv_backward = convolve, convolve_backward
    return True


# --- overlaps in the KITTI metric


def overlap_rotated(boxes: np.ndarray, query_boxes: np.ndarray, criterion: int = -1, device_id: int = 0) -> np.ndarray:
    """Compute what mmdet3d's numba kernel computes, on a CPU.

    Args:
        boxes: (N, 5) float, centre, size and clockwise angle in radians.
        query_boxes: (K, 5) float.
        criterion: -1 intersection over union; 0 over the area of the query box and 1 over that of the box, as the
            kernel does it and unlike its docstring; any other number the intersection itself.
        device_id: without meaning here.

    Returns:
        (N, K) float32.
    """
    if not len(boxes) or not len(query_boxes):
        return np.zeros((len(boxes), len(query_boxes)), dtype=np.float32)
    ours, queries = (torch.as_tensor(np.asarray(value, dtype=np.float32)) for value in (boxes, query_boxes))
    # mmcv turns a box the other way round
    turned = [torch.cat([value[:, :4], -value[:, 4:]], dim=1).contiguous() for value in (ours, queries)]
    area, query_area = ours[:, 2:3] * ours[:, 3:4], (queries[:, 2] * queries[:, 3])[None]
    intersection = box_iou_rotated(*turned, mode='iof') * area
    if criterion == -1:
        overlap = intersection / (area + query_area - intersection)
    elif criterion == 0:
        overlap = intersection / query_area
    elif criterion == 1:
        overlap = intersection / area
    else:
        overlap = intersection
    return overlap.numpy()


def repair_kitti_metric() -> bool:
    """Give the KITTI metric `overlap_rotated`; needed where there is no CUDA device, for which the kernel compiles."""
    if torch.cuda.is_available() or _ROTATE_IOU in sys.modules:
        return False
    module = types.ModuleType(_ROTATE_IOU, 'Stands in for a module that needs a CUDA driver to be imported.')
    setattr(module, 'rotate_iou_gpu_eval', overlap_rotated)  # noqa: B010 (a module's type has no such name)
    sys.modules[_ROTATE_IOU] = module
    return True


# --- initialisation of CenterPoint


def repair_center_head() -> bool:
    """Let CenterHead set the bias of its heatmaps to `init_bias`; needed while mmdet3d keeps its task heads in a list.

    mmengine does not look for `init_weights` inside a list, so that the bias is 0, and the first loss of a nuScenes
    frame 18,900 instead of 340. Only the bias is set: `SeparateHead.init_weights` would draw wide weights for the
    heatmaps as well, with which the loss is 44,400.
    """
    init_weights = CenterHead.init_weights
    if getattr(init_weights, 'sets_heatmap_bias', False):
        return False

    def set_heatmap_bias_and_init_weights(self) -> None:
        for head in self.task_heads:
            if isinstance(head, SeparateHead) and not head.is_init:
                torch.nn.init.constant_(head.heatmap[-1].bias, head.init_bias)
        init_weights(self)

    setattr(set_heatmap_bias_and_init_weights, 'sets_heatmap_bias', True)  # noqa: B010 (nor a function's)
    CenterHead.init_weights = set_heatmap_bias_and_init_weights
    return True
