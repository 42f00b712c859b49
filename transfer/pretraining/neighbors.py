"""How well features tell classes apart, without any training: classes of nearest neighbours."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from torch.nn import functional

from dualattn.engine import DataError

__all__ = ['NeighborAccuracy']


@METRICS.register_module()
class NeighborAccuracy(BaseMetric):
    """Percentage of images whose nearest other image, by the cosine of their features, is of the same class.

    Every image is compared with all others of the same data set (leave one out), so that it takes one folder of classes
    and no split of it.

    Args:
        collect_device: where results of several processes meet, 'cpu' or 'gpu'.
    """

    default_prefix = 'neighbors'

    def __init__(self, collect_device: str = 'cpu'):
        super().__init__(collect_device=collect_device)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep the `features` (C,) and the `gt_label` of each image."""
        self.results += [(sample['features'].float().cpu(), int(sample['gt_label'])) for sample in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return `top1`.

        Raises:
            DataError: there are not two images.
        """
        if len(results) < 2:
            raise DataError(f'neighbours need at least two images, got {len(results)}')
        features = functional.normalize(torch.stack([features for features, _ in results]), dim=1)
        labels = torch.tensor([label for _, label in results])
        similarity = features @ features.T
        similarity.fill_diagonal_(-torch.inf)
        return dict(top1=100 * (labels[similarity.argmax(1)] == labels).double().mean().item())
