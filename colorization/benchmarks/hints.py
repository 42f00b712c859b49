"""Hints by iColoriT's protocol: automatic, Levin's optimization alone, and ours under the same hints.

Photographs are resized to 224 x 224 pixels; n random squares of 2 x 2 pixels hold their true ab, drawn from a seed of
(photograph, n), so that every method and every run sees the same. Levin's optimization (Levin, Lischinski and Weiss
2004) spreads the colours by luminance alone, without a network, through scipy's sparse solver.
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

SIDE = 224  # pixels
GAINS = {1: 1.7, 10: 4.5, 100: 7.5}  # dB over the automatic result that were aimed at
AUTOMATIC, LEVIN = 'automatic', 'Levin'
REACHES = {'adaptive': 'hints, adaptive (default)', 'scene': 'hints, scene', 'object': 'hints, object'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--folder', type=Path, required=True, help='colour photographs, such as photos/val')
    parser.add_argument('--every', type=int, default=4, metavar='N', help='take every N-th by name (default: 4)')
    parser.add_argument('--counts', type=int, nargs='+', default=list(GAINS), metavar='N', help='hints a photograph')
    parser.add_argument('--weights', type=Path, help='weights file (default: the one in the package)')


def draw_places(photograph: int, count: int, side: int = SIDE) -> np.ndarray:
    """Return upper left corners (count, 2) as y, x of 2 x 2 squares on a grid, from the seed (photograph, count)."""
    import numpy as np

    cells = np.random.default_rng((photograph, count)).choice((side // 2) ** 2, count, replace=False)
    return np.stack([cells // (side // 2), cells % (side // 2)], axis=1) * 2


def solve_levin(l: np.ndarray, ab: np.ndarray, is_hint: np.ndarray) -> np.ndarray:
    """Spread colours by luminance alone: each pixel is the mean of its neighbours weighted by likeness (Levin Eq. 2).

    Args:
        l: (H, W) luminance in [0, 1].
        ab: (2, H, W), read at hints.
        is_hint: (H, W) bool.

    Returns:
        (2, H, W).
    """
    import numpy as np
    import scipy.sparse
    from scipy.sparse.linalg import splu

    height, width = l.shape
    number = np.arange(l.size).reshape(l.shape)
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    padded = np.pad(l.astype(np.float64), 1, constant_values=np.nan)
    near = np.stack([padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in steps])
    window = np.concatenate([near, l[None]])
    variance = 0.6 * np.nanmean((window - np.nanmean(window, axis=0)) ** 2, axis=0)
    squares = (near - l) ** 2
    # bounds as in the authors' code: the most alike neighbour keeps a weight of 0.01 at least
    variance = np.maximum(np.maximum(variance, -np.nanmin(squares, axis=0) / np.log(0.01)), 2e-6)
    weights = np.nan_to_num(np.exp(-squares / variance))
    weights /= weights.sum(axis=0)
    rows, columns, values = [], [], []
    for (dy, dx), weight in zip(steps, weights, strict=True):
        inside = ~np.isnan(padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]) & ~is_hint
        rows.append(number[inside])
        columns.append(number[inside] + dy * width + dx)
        values.append(-weight[inside])
    size = (l.size, l.size)
    others = scipy.sparse.csc_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), size)
    solver = splu((scipy.sparse.identity(l.size, format='csc') + others).tocsc())
    return np.stack([solver.solve(np.where(is_hint, plane, 0).ravel()).reshape(l.shape) for plane in ab])


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Score each method on all photographs, one number of hints after the other."""
    import numpy as np
    import torch
    from PIL import Image
    from tqdm import tqdm

    from colorization.benchmarks.upsampling import psnr
    from colorization.color import rgb_to_lab
    from colorization.hints import Hint, Hints
    from colorization.luminance import join_luminance
    from colorization.pipeline import Colorizer
    from dualattn.io.photos import Photo, list_images, read_rgb

    paths = list_images([args.folder], recursive=True)[:: args.every]
    if not paths or min(args.counts) < 1:
        raise ValueError('expected photographs, and at least one hint for each')
    colorizer = Colorizer.from_pretrained(args.weights)
    scores: dict[tuple[str, int], list[float]] = {}
    for index, path in enumerate(tqdm(paths, leave=False, unit='photo', disable=None)):
        rgb = np.asarray(Image.fromarray(read_rgb(path)).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        l, ab = (part[0] for part in rgb_to_lab(torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1)[None]))
        draft = colorizer.draft(Photo(rgb))
        scores.setdefault((AUTOMATIC, 0), []).append(psnr(draft.finish().pixels, rgb))
        for count in args.counts:
            hints, is_hint = [], np.zeros((SIDE, SIDE), bool)
            for y, x in draw_places(index, count).tolist():
                is_hint[y : y + 2, x : x + 2] = True
                color = ab[:, y : y + 2, x : x + 2].mean(dim=(1, 2)).tolist()
                hints.append(Hint.point(x + 1, y + 1, color, width=2))
            draft.hints = Hints((SIDE, SIDE), tuple(hints))
            for reach, side in REACHES.items():
                draft.reach = reach
                scores.setdefault((side, count), []).append(psnr(draft.finish().pixels, rgb))
            spread = torch.from_numpy(solve_levin(l[0].numpy() / 100, ab.numpy(), is_hint)).float()
            levin = join_luminance(l[0], spread, np.dtype(np.uint8))
            scores.setdefault((LEVIN, count), []).append(psnr(levin, rgb))
    for (side, count), values in scores.items():
        yield Row(dict(hints=count), side, figures=dict(psnr_db=float(np.mean(values)), photographs=len(values)))


def _figures(run: Run) -> dict[tuple[str, int], float]:
    return {
        (side, dict(case)['hints']): row.figures['psnr_db']
        for case, sides in run.sides().items()
        for side, row in sides.items()
    }


def tabulate(run: Run) -> Table:
    """Show a line for each method."""
    figures = _figures(run)
    counts = sorted({count for _, count in figures if count})
    rows = []
    for side in (AUTOMATIC, LEVIN, *REACHES.values()):
        cells = [figures.get((side, 0 if side == AUTOMATIC else count)) for count in counts]
        if any(cell is not None for cell in cells):
            rows.append([side, *('' if cell is None else f'{cell:.2f}' for cell in cells)])
    return Table(['PSNR (dB)', *(f'{count} hints' for count in counts)], rows)


def judge(run: Run) -> list[Goal]:
    """Compare with the automatic result, and with Levin's optimization."""
    figures = _figures(run)
    goals = []
    for count, gain in GAINS.items():
        # records of before 'adaptive' were of 'scene' and 'object' alone
        default = next((side for side in REACHES.values() if (side, count) in figures), None)
        if default is None:
            continue
        ours = figures[default, count]
        goals.append(
            Goal(f'dB over the automatic result at {count} hints', gain, ours - figures[AUTOMATIC, 0], timed=False)
        )
        goals.append(
            Goal(f"dB over Levin's optimization at {count} hints", 0.0, ours - figures[LEVIN, count], timed=False)
        )
    return goals
