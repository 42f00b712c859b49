"""The common part of metrics that measure each image by itself and report means over the data set."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from dualattn.engine.protocol import ProtocolMetric


class PerImageMetric(ProtocolMetric):
    """A metric that is a handful of numbers per image, averaged over the data set in double precision.

    All metrics of this package share the prefix `color`. Several processes each measure their own images; mmengine
    collects the numbers, so that every image counts exactly once.
    """

    default_prefix = 'color'

    @abstractmethod
    def measure(self, sample: dict) -> dict[str, float]:
        """Measure one element of the system's prediction: `gt_rgb`, `pred_rgb`, `gray_rgb` (3, H, W) in [0, 1], ..."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Measure each image of a batch."""
        self.results.extend(self.measure(sample) for sample in data_samples)

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Return the mean of each number; the log says once what they were measured on.

        Raises:
            ValueError: no image was measured.
        """
        if not results:
            raise ValueError(f'{type(self).__name__} measured no image: is the validation data set empty?')
        self.tell_protocol(len(results))
        return {name: float(np.mean([result[name] for result in results])) for name in results[0]}
