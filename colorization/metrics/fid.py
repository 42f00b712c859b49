"""Frechet Inception distance with the network and the formulas of torch-fidelity."""

import logging
from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

from colorization.metrics.networks import Inception, NetworkWeights, describe_source, identify_weights
from dualattn.engine import DataError
from dualattn.engine.protocol import describe_protocol


@METRICS.register_module()
class FID(BaseMetric):
    """Frechet Inception distance between the predictions and the photographs of the validation set.

    Inception sees each image once, during the evaluation, as 8-bit RGB that torch-fidelity resizes to 299 px itself.
    The number means something only together with its protocol, so that both are logged in one line.

    Args:
        weights: path of torch-fidelity's Inception weights; nothing is ever downloaded.
        protocol: which images, resized and cropped how; printed with the number. None takes what the data set states in
            its metainfo.
        device: where Inception runs; None takes the device that mmengine trains on.
        collect_device: see `mmengine.evaluator.BaseMetric`.
        collect_dir: see `mmengine.evaluator.BaseMetric`.

    Raises:
        FileNotFoundError: no file at `weights`.
        ValueError: `weights` is empty.
        DataError: the file does not hold this network.
    """

    default_prefix = 'color'
    # what a record says of the number: see `dualattn.engine.record`
    network_kind = 'inception'
    figures = ('FID',)

    def __init__(
        self,
        weights: str,
        protocol: str | None = None,
        device: str | None = None,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
    ):
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        how = (
            f'FID needs the Inception weights of torch-fidelity, the file {describe_source("inception")}; name it in '
            "the metric's `weights`, or to tools/test.py as --fid FILE"
        )
        if not weights:
            raise ValueError(f'{how}.')
        try:
            self.network_weights: NetworkWeights = identify_weights('inception', weights)
        except FileNotFoundError as error:
            raise FileNotFoundError(f'{how}. {error}') from error
        if not self.network_weights.published:
            message = (
                f'{weights} has the sha256 {self.network_weights.sha256}, not that of the published file: its FID is '
                'not comparable with published numbers'
            )
            print_log(message, logger='current', level=logging.WARNING)
        self.weights = weights
        self.protocol = protocol
        self.device = torch.device(device or get_device())
        self._network: Any = None

    @property
    def network(self) -> torch.nn.Module:
        """torch-fidelity's Inception, loaded at its first use: (B, 3, H, W) uint8 -> 1-tuple of (B, 2048) float32."""
        if self._network is None:
            try:
                self._network = Inception(self.weights).network.to(self.device)
            except DataError as error:
                raise DataError(
                    f'{self.weights} does not hold the Inception network of torch-fidelity: {error}'
                ) from error
        return self._network

    def _find_protocol(self) -> str | None:
        return self.protocol or describe_protocol(self.dataset_meta)

    @torch.no_grad()
    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Extract the features of each prediction and photograph: one `(pred, truth, size)` per image.

        Raises:
            ValueError: neither `protocol` nor the data set says which images these are.
        """
        if not self._find_protocol():
            raise ValueError(
                'an FID means nothing without its protocol: which images, resized and cropped how. The data set has no '
                "metainfo['protocol'], so name it in the metric's `protocol`"
            )
        # Images of one size go through the network together; runs of neighbours, so that the order stays.
        for size, group in groupby(data_samples, key=lambda sample: tuple(sample['gt_rgb'].shape[-2:])):
            samples = list(group)
            pred, truth = (
                torch.stack([sample[key] for sample in samples]).mul(255).round().to(self.device, torch.uint8)
                for key in ('pred_rgb', 'gt_rgb')
            )
            features = [self.network(images)[0].cpu() for images in (pred, truth)]
            self.results.extend((*pair, size) for pair in zip(*features, strict=True))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Return the distance and log it with its protocol.

        Raises:
            ValueError: fewer than two images, which have no covariance.
        """
        from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

        if len(results) < 2:
            raise ValueError(f'FID needs at least 2 images, got {len(results)}.')
        pred, truth, shapes = zip(*results, strict=True)
        statistics = [fid_features_to_statistics(torch.stack(features)) for features in (pred, truth)]
        fid = fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
        sizes = {f'{height} x {width}' for height, width in shapes}
        message = (
            f'FID {fid:.4f} [{self._find_protocol()}; {len(results)} predictions against as many photographs, 8-bit '
            f'RGB, {sizes.pop() if len(sizes) == 1 else "various sizes"}; torch-fidelity {version("torch-fidelity")}, '
            f'Inception sha256 {self.network_weights.sha256}]'
        )
        print_log(message, logger='current', level=logging.INFO)
        return dict(FID=fid)
