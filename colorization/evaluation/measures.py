"""What is measured on one prediction and its photograph, and on the frames of a film."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon
from skimage.color import deltaE_ciede2000
from skimage.metrics import structural_similarity
from torch import Tensor

from colorization.color import gray_rgb_from_l, rgb_to_lab
from colorization.metrics.colorfulness import colorfulness
from colorization.metrics.psnr import IDENTICAL_DB, psnr

__all__ = ['SSIM_WINDOW', 'UNITS', 'color_distribution_consistency', 'is_gray', 'measure_pair', 'psnr_ab', 'to_float']

# unit and the better direction of every figure, for a record
UNITS = {
    'PSNR': ('dB', 'higher'),
    'PSNR_gray': ('dB', None),
    'PSNR_ab': ('dB', 'higher'),
    'CIEDE2000': ('CIEDE2000', 'lower'),
    'SSIM': ('', 'higher'),
    'LPIPS_alex': ('', 'lower'),
    'LPIPS_vgg': ('', 'lower'),
    'CF': ('', None),
    'CF_truth': ('', None),
    'CF_delta': ('', 'lower'),
    'CF_abs': ('', None),
    'CF_abs_truth': ('', None),
    'CF_abs_delta': ('', 'lower'),
    'FID': ('', 'lower'),
    'FD_DINOv2': ('', 'lower'),
    'CDC_ab': ('', 'lower'),
    'CDC_ab_truth': ('', None),
}
SSIM_WINDOW = 11  # pixels; a smaller picture has no SSIM
AB_SPAN = 255.0  # of an 8-bit Lab image, whose a and b reach from -128 to 127


def to_float(rgb: Tensor) -> Tensor:
    """Turn (..., 3, H, W) uint8 into float64 in [0, 1]; differences of uint8 would wrap around."""
    if rgb.dtype != torch.uint8:
        raise TypeError(f'expected 8-bit pictures, got {rgb.dtype}')
    return rgb.double() / 255


def psnr_ab(ab: Tensor, target: Tensor) -> float:
    """Measure the PSNR of colour alone, in dB: the mean square over a and b, with a peak of 255.

    Both are (2, H, W) float in Lab units. Equal colours give 100 dB, as in `psnr`.
    """
    error = (ab.double() - target.double()).square().mean().item()
    return IDENTICAL_DB if error == 0 else min(10 * np.log10(AB_SPAN**2 / error), IDENTICAL_DB)


def is_gray(rgb: Tensor) -> bool:
    """Tell whether (3, H, W) uint8 has no colour: no pixel's channels differ by more than two levels."""
    return bool((rgb.amax(dim=0) - rgb.amin(dim=0) <= 2).all())


def measure_pair(pred: Tensor, truth: Tensor) -> dict[str, float]:
    """Measure what needs no network.

    Args:
        pred: (3, H, W) uint8, sRGB.
        truth: likewise, of the same size.

    Returns:
        PSNR on RGB, of the uncoloured photograph (PSNR_gray) and on ab; the mean CIEDE2000; SSIM on RGB (Gaussian
        window of 11 pixels, sigma 1.5); colourfulness of both in both variants.

    Raises:
        ValueError: the shapes differ.
        TypeError: the pictures are not 8-bit.
    """
    if pred.shape != truth.shape:
        raise ValueError(f'a prediction of {tuple(pred.shape)} against a photograph of {tuple(truth.shape)}')
    pred, truth = to_float(pred), to_float(truth)
    l, ab = rgb_to_lab(torch.stack([pred, truth]))
    gray = gray_rgb_from_l(l[1:])[0]
    labs = torch.cat([l, ab], dim=1).permute(0, 2, 3, 1).numpy()  # (2, 3, H, W) -> (2, H, W, 3)
    ssim = structural_similarity(
        pred.numpy(),
        truth.numpy(),
        data_range=1.0,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return dict(
        PSNR=psnr(pred, truth),
        PSNR_gray=psnr(gray, truth),
        PSNR_ab=psnr_ab(ab[0], ab[1]),
        CIEDE2000=float(deltaE_ciede2000(labs[0], labs[1]).mean()),
        SSIM=float(ssim),
        CF=colorfulness(pred).item(),
        CF_truth=colorfulness(truth).item(),
        CF_abs=colorfulness(pred, absolute=True).item(),
        CF_abs_truth=colorfulness(truth, absolute=True).item(),
    )


def color_distribution_consistency(frames: Sequence[Tensor], steps: Sequence[int] = (1, 2, 4)) -> float:
    """Measure how much the colours of a film flicker, CDC (TCVC, Liu et al. 2021), on ab instead of RGB.

    The Jensen-Shannon divergence, in nats, between the histograms of two frames that are `step` apart, averaged over a
    and b, over all such pairs and over the steps. On RGB it would be low for a film without any colour; on ab such a
    film has exactly 0, which is why the number is shown beside the colourfulness, never alone.

    Args:
        frames: (3, H, W) uint8 each, in their order.
        steps: distances between compared frames; those that the film is too short for are left out.

    Raises:
        ValueError: fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError(f'a film needs at least two frames, got {len(frames)}')
    histograms = []
    for frame in frames:
        _, ab = rgb_to_lab(to_float(frame)[None])
        # bins around whole numbers, as 8-bit Lab has them: the noise around 0 of a gray picture stays in one
        histograms.append([np.histogram(channel, bins=256, range=(-128.5, 127.5))[0] for channel in ab[0].numpy()])
    means = []
    for step in steps:
        pairs = list(zip(histograms[:-step], histograms[step:], strict=True)) if step < len(frames) else []
        divergences = [jensenshannon(first, second) ** 2 for pair in pairs for first, second in zip(*pair, strict=True)]
        if divergences:
            means.append(np.mean(divergences))
    return float(np.mean(means))
