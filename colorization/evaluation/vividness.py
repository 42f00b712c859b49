"""What more colour costs: PSNR against colourfulness, over the vividness or the chroma of one network."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from colorization.color import gray_rgb_from_l
from colorization.luminance import extract_l
from colorization.metrics.colorfulness import colorfulness
from colorization.metrics.psnr import psnr
from colorization.pipeline import Colorizer, has_palette
from dualattn.io.photos import read_rgb

__all__ = ['CurvePoint', 'measure_curve']


@dataclass(frozen=True)
class CurvePoint:
    """Means over all photographs at one setting.

    Attributes:
        vividness: as `Colorizer` takes it; 1 for networks without a palette.
        chroma: factor on ab.
        gain: dB of PSNR (8-bit RGB, mean over photographs) over that of the gray picture.
        cf_ratio: mean signed colourfulness over that of the photographs.
    """

    vividness: float
    chroma: float
    gain: float
    cf_ratio: float


def measure_curve(
    colorizer: Colorizer,
    files: Sequence[Path],
    vividness: Sequence[float],
    chroma: Sequence[float] = (1.0,),
    show: Callable[[Iterable], Iterable] = iter,
) -> list[CurvePoint]:
    """Colorize the gray version of colour photographs at every setting; the network sees each once.

    Args:
        colorizer: its own vividness and chroma are not used.
        files: colour photographs.
        vividness: values to try; just 1 for networks without a palette.
        chroma: values to try with each.
        show: wraps the files, for a progress bar.

    Raises:
        ImageError: a photograph cannot be read.
        ValueError: there is none, or the network has no palette and so no vividness.
    """
    if not files:
        raise ValueError('expected at least one photograph to measure on, got none')
    if not has_palette(colorizer.network) and list(vividness) != [1]:
        raise ValueError('this network has no palette head; measure over chroma instead')
    settings = [(v, c) for v in vividness for c in chroma]
    sums = np.zeros((len(settings), 2))
    truth_cf = gray_psnr = 0.0
    for file in show(files):
        rgb = read_rgb(file)
        truth = _to_tensor(rgb)
        l = extract_l(rgb)
        truth_cf += float(colorfulness(truth))
        gray_psnr += psnr((gray_rgb_from_l(l[None, None])[0] * 255).round() / 255, truth)
        predictions = _predict(colorizer, l, vividness)
        for row, (v, c) in zip(sums, settings, strict=True):
            picture = _to_tensor(colorizer.merge(l, predictions[v] * c, rgb.dtype))
            row += psnr(picture, truth), float(colorfulness(picture))
    return [
        CurvePoint(v, c, float(total_psnr - gray_psnr) / len(files), float(total_cf / truth_cf))
        for (v, c), (total_psnr, total_cf) in zip(settings, sums, strict=True)
    ]


def _predict(colorizer: Colorizer, l: torch.Tensor, vividness: Sequence[float]) -> dict[float, torch.Tensor]:
    if not has_palette(colorizer.network):
        return {1: colorizer.predict_ab(l[None, None])[0]}
    network: Any = colorizer.network  # an MPT, since it has such a head
    scores = colorizer.predict_scores(l[None, None])
    return {v: network.mix_scores(scores, network.to_ab.temperature / v)[0] for v in vividness}


def _to_tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
