"""Frechet Inception distance with the network and the formulas of torch-fidelity."""

import logging
from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import torch
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

from dualattn.engine import DataError
from dualattn.engine.protocol import describe_protocol
from dualattn.io.files import hash_file
from dualattn.io.weights import CheckpointError, is_safetensors, read_checkpoint

# The numbers of different papers are comparable only with exactly this network. The file name carries the first digits
# of its sha256, as is the custom of torch.hub.
INCEPTION_FILE = 'weights-inception-2015-12-05-6726825d.pth'
INCEPTION_URL = f'https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}'
INCEPTION_SHA256 = '6726825d'


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
            f'FID needs the Inception weights of torch-fidelity, the file {INCEPTION_FILE} from {INCEPTION_URL}; give '
            'its path to tools/test.py as --fid FILE'
        )
        if not weights:
            raise ValueError(f'{how}.')
        self.weights = Path(weights)
        if not self.weights.is_file():
            raise FileNotFoundError(f'{how}. No such file: {self.weights} (looked for {self.weights.resolve()}).')
        self.sha256 = hash_file(self.weights)
        if not self.sha256.startswith(INCEPTION_SHA256):
            message = (
                f'{self.weights} has the sha256 {self.sha256}, not that of {INCEPTION_FILE}: '
                'its FID is not comparable with published numbers'
            )
            print_log(message, logger='current', level=logging.WARNING)
        self.protocol = protocol
        self.device = torch.device(device or get_device())
        self._network: torch.nn.Module | None = None

    @property
    def network(self) -> torch.nn.Module:
        """torch-fidelity's Inception, loaded at its first use: (B, 3, H, W) uint8 -> 1-tuple of (B, 2048) float32."""
        if self._network is None:
            # torch_fidelity is an optional and heavy dependency, needed by nobody who does not ask for FID.
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

            # torch-fidelity itself unpickles without restriction, so that the file must pass the safe loader first.
            try:
                read_checkpoint(self.weights)
                if is_safetensors(self.weights):
                    raise CheckpointError('it is safetensors, which torch-fidelity does not read')
                network = FeatureExtractorInceptionV3(
                    'inception-v3-compat', ['2048'], feature_extractor_weights_path=str(self.weights)
                )
            except (CheckpointError, RuntimeError, TypeError, AttributeError) as error:
                raise DataError(
                    f'{self.weights} does not hold the Inception network of torch-fidelity ({INCEPTION_FILE}): {error}'
                ) from error
            self._network = network.to(self.device)
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
            f'Inception sha256 {self.sha256}]'
        )
        print_log(message, logger='current', level=logging.INFO)
        return dict(FID=fid)
