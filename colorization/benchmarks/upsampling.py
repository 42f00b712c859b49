"""Colours enlarged smoothly against nearest neighbours.

The true colours of photographs are shrunk by their mean, enlarged again, joined to the luminance, and compared with the
photograph: ours by bicubic enlargement, and by nearest neighbours as in DDColor's released code.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table

if TYPE_CHECKING:
    import numpy as np
    import torch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--folder', type=Path, required=True, help='colour photographs')
    parser.add_argument('--factors', type=int, nargs='+', default=[4, 8], help='how much smaller the colours are')


def enlarge_nearest(l: torch.Tensor, ab: torch.Tensor) -> np.ndarray:
    """Return RGB (H, W, 3) uint8 as the released code joins colours (1, 2, h, w) to l (1, 1, H, W)."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from skimage.color import lab2rgb

    lab = torch.cat([l, F.interpolate(ab, l.shape[2:])], dim=1)[0].permute(1, 2, 0)
    return (lab2rgb(lab.double().numpy()) * 255).round().astype(np.uint8)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of 8-bit images, in dB."""
    import numpy as np

    return float(10 * np.log10(255**2 / np.mean((image.astype(float) - truth) ** 2)))


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Score both enlargements on every photograph."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from tqdm import tqdm

    from colorization.color import rgb_to_lab
    from colorization.luminance import join_luminance
    from dualattn.io.photos import list_images, read_rgb

    scores: dict[int, list] = {factor: [] for factor in args.factors}
    for path in tqdm(list_images([args.folder], recursive=True), leave=False, unit='photo', disable=None):
        rgb = read_rgb(path)
        rgb = rgb[: len(rgb) // 32 * 32, : rgb.shape[1] // 32 * 32]
        l, ab = rgb_to_lab(torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1)[None])
        for factor, pairs in scores.items():
            small = F.interpolate(ab, (len(rgb) // factor, rgb.shape[1] // factor), mode='area')
            smooth = join_luminance(l[0, 0], small[0], np.dtype(np.uint8))
            pairs.append((psnr(smooth, rgb), psnr(enlarge_nearest(l, small), rgb)))
    for factor, pairs in scores.items():
        smooth, nearest = np.array(pairs).T
        case = dict(factor=factor)
        better = dict(photographs=len(pairs), better_in=int((smooth > nearest).sum()))
        yield Row(case, 'ours', figures=dict(psnr_db=float(smooth.mean()), **better))
        yield Row(case, 'nearest', figures=dict(psnr_db=float(nearest.mean())))


def tabulate(run: Run) -> Table:
    """Show a line for each factor."""
    rows = [
        [
            f'{dict(case)["factor"]} x',
            f'{sides["ours"].figures["photographs"]:.0f}',
            f'{sides["ours"].figures["psnr_db"]:.2f}',
            f'{sides["nearest"].figures["psnr_db"]:.2f}' if 'nearest' in sides else '',
            f'{sides["ours"].figures["better_in"]:.0f}',
        ]
        for case, sides in run.sides().items()
    ]
    return Table(['enlargement', 'photographs', 'PSNR, ours (dB)', 'PSNR, nearest (dB)', 'ours better in'], rows)


def judge(run: Run) -> list[Goal]:
    """Nothing was aimed at."""
    return []
