"""Peak signal-to-noise ratio of colourised images."""

import torch
from mmengine.registry import METRICS
from torchmetrics.functional.image import peak_signal_noise_ratio

from colorization.metrics.per_image import PerImageMetric

# The value for identical 8-bit images, in place of infinity: a single gray photograph in a validation set would
# otherwise make the mean of the gray baseline infinite. Benchmarks commonly use 100 dB; one level of error in one
# sample of a 256 x 256 image gives 101 dB.
IDENTICAL_DB = 100.0


def psnr(rgb: torch.Tensor, target: torch.Tensor) -> float:
    """Measure the PSNR of an image in dB, over all three channels, on 8-bit levels.

    Args:
        rgb: (3, H, W) float, RGB in [0, 1].
        target: (3, H, W) float, RGB in [0, 1].
    """
    levels, target_levels = (255 * rgb.double()).round(), (255 * target.double()).round()
    return min(peak_signal_noise_ratio(levels, target_levels, data_range=255.0).item(), IDENTICAL_DB)


@METRICS.register_module()
class PSNR(PerImageMetric):
    """PSNR in dB of the prediction (`PSNR`) and of the uncoloured gray image (`PSNR_gray`), means over images.

    The second number is what an untouched photograph scores: only what lies above it was gained by colour.
    """

    def measure(self, sample: dict) -> dict[str, float]:
        """Measure one image."""
        return dict(
            PSNR=psnr(sample['pred_rgb'], sample['gt_rgb']), PSNR_gray=psnr(sample['gray_rgb'], sample['gt_rgb'])
        )
