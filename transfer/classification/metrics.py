"""Top-1 and top-5 accuracy."""

from collections.abc import Sequence

import torch
from mmengine.registry import METRICS
from timm.utils import accuracy

from dualattn.engine.protocol import ProtocolMetric

__all__ = ['TopKAccuracy']


@METRICS.register_module()
class TopKAccuracy(ProtocolMetric):
    """Percentage of images whose true class is among the k with the highest scores.

    Args:
        topk: the values of k; one larger than the number of classes counts as that number.
        collect_device: where results of several processes meet, 'cpu' or 'gpu'.
    """

    default_prefix = 'accuracy'

    def __init__(self, topk: Sequence[int] = (1, 5), collect_device: str = 'cpu'):
        super().__init__(collect_device=collect_device)
        self.topk = tuple(topk)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep, of each image, whether each k contains its class."""
        for sample in data_samples:
            label = sample['gt_label'].reshape(1)
            self.results.append([float(value) for value in accuracy(sample['scores'][None], label, self.topk)])

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return the mean over all images, `top1` and so on; the log says once what they were measured on."""
        self.tell_protocol(len(results))
        means = torch.tensor(results, dtype=torch.float64).mean(0).tolist()
        return {f'top{k}': mean for k, mean in zip(self.topk, means, strict=True)}
