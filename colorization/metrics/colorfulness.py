"""How colourful an image is: Hasler and Suesstrunk's colourfulness (CF), and the mean chroma in Lab."""

import torch
from mmengine.registry import METRICS

from colorization.color import rgb_to_lab
from colorization.metrics.per_image import PerImageMetric


def colorfulness(rgb: torch.Tensor, absolute: bool = False) -> torch.Tensor:
    """Measure colourfulness, `sqrt(s_rg^2 + s_yb^2) + 0.3 sqrt(m_rg^2 + m_yb^2)` (Hasler and Suesstrunk 2003, M3).

    m and s are mean and standard deviation over the pixels of the opponent channels `rg = R - G` and
    `yb = (R + G) / 2 - B`, with R, G, B in [0, 255].

    Args:
        rgb: (..., 3, H, W) float, RGB in [0, 1].
        absolute: take |rg| and |yb| instead, as the public DDColor code does, and so the tables of MPT and DDColor.

    Returns:
        (...) float64; 0 for a gray image.
    """
    red, green, blue = (255 * rgb.double()).unbind(dim=-3)  # each (..., H, W)
    opponent = torch.stack([red - green, (red + green) / 2 - blue]).flatten(start_dim=-2)  # (2, ..., H * W)
    if absolute:
        opponent = opponent.abs()
    deviation = opponent.std(dim=-1, correction=0).norm(dim=0)
    return deviation + 0.3 * opponent.mean(dim=-1).norm(dim=0)


@METRICS.register_module()
class Colorfulness(PerImageMetric):
    """Mean colourfulness, in both variants that are in use, and Delta CF, the distance from that of the real photos.

    `CF` (signed, the definition) and `CF_abs` (absolute, the papers' tables) are the means over the predictions,
    `_truth` those over the photographs, and `_delta` the absolute difference of these two means (MPT Table I,
    "Delta CF").
    """

    def measure(self, sample: dict) -> dict[str, float]:
        """Measure prediction and photograph of one image."""
        numbers = {}
        for name, absolute in (('CF', False), ('CF_abs', True)):
            numbers[name] = colorfulness(sample['pred_rgb'], absolute).item()
            numbers[f'{name}_truth'] = colorfulness(sample['gt_rgb'], absolute).item()
        return numbers

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Return the means, and the differences of the means."""
        means = super().compute_metrics(results)
        for name in ('CF', 'CF_abs'):
            means[f'{name}_delta'] = abs(means[name] - means[f'{name}_truth'])
        return means


@METRICS.register_module()
class MeanChroma(PerImageMetric):
    """Mean chroma `sqrt(a^2 + b^2)` in Lab units of predictions (`chroma`) and photographs (`chroma_truth`).

    A prediction that falls far below the photographs has collapsed to gray; `ChromaWatchHook` reads these two numbers.
    Both are measured on the 8-bit pictures, since a colour outside the RGB cube is not seen.
    """

    def measure(self, sample: dict) -> dict[str, float]:
        """Measure prediction and photograph of one image."""
        pictures = torch.stack([sample['pred_rgb'], sample['gt_rgb']]).float()
        _, ab = rgb_to_lab(pictures)
        chroma = ab.norm(dim=1).mean(dim=(1, 2))  # (2, 2, H, W) -> (2,)
        return dict(chroma=chroma[0].item(), chroma_truth=chroma[1].item())
