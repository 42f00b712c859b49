"""Errors of colour by lightness of skin.

The skin is the median colour of a square in the middle of an aligned portrait (nose and cheeks), its lightness the
individual typology angle, ITA = atan((L - 50) / b) in degrees, in the six classes of Chardon et al. (1991). Tone and
light of a portrait cannot be told apart here: a face in shade counts as a dark one. Errors compare the median of the
prediction with that of the photograph; 'chroma' and 'hue' have a sign, so that a class that turns out too pale or too
red is seen.
"""

import argparse
import math
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table, show_interval

if TYPE_CHECKING:
    import numpy as np

SQUARE = 0.25  # side of the square of skin, as a share of the portrait's
# least ITA in degrees of each class; the darkest has none
CLASSES = {'very light': 55, 'light': 41, 'intermediate': 28, 'tan': 10, 'brown': -30, 'dark': -math.inf}
FIGURES = ('error', 'chroma', 'hue')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--folders', type=Path, nargs='+', required=True, help='aligned portraits in colour')
    parser.add_argument('--every', type=int, default=1, metavar='N', help='take every N-th by name (default: all)')
    parser.add_argument('--weights', nargs='+', default=['packaged'], metavar='FILE', help='(default: packaged)')


def classify_skin(lab: 'np.ndarray') -> str:
    """Return the class of a skin from its colour (3,) in Lab units, by its individual typology angle.

    A skin without any yellow (b at or below 0), as in blue light, has an angle of 90 degrees above mid-gray, else -90.
    """
    l, b = float(lab[0]), float(lab[2])
    angle = math.degrees(math.atan2(l - 50, max(b, 1e-9)))
    return next(name for name, least in CLASSES.items() if angle >= least)


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Colorize the gray version of each portrait, and compare the middles."""
    import numpy as np
    from tqdm import tqdm

    from colorization.evaluation.statistics import bootstrap_means
    from colorization.pipeline import Colorizer
    from dualattn.io.photos import list_images, read_rgb

    if args.every < 1:
        raise ValueError(f'--every has to be at least 1, got {args.every}')
    files = list_images(args.folders, recursive=True)[:: args.every]
    if not files:
        raise ValueError(f'no portrait in {", ".join(map(str, args.folders))}')
    for weights in args.weights:
        colorize = Colorizer.from_pretrained(None if weights == 'packaged' else weights)
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CLASSES}
        for file in tqdm(files, leave=False, unit='photo', disable=None):
            rgb = read_rgb(file)
            truth, pred = find_skin(rgb), find_skin(colorize(rgb))
            found[classify_skin(truth)].append(_compare(pred, truth))
        for name, errors in found.items():
            if not errors:
                continue
            values = dict(zip(FIGURES, np.array(errors).T, strict=True))
            interval = bootstrap_means(values)
            figures = dict(portraits=float(len(errors)))
            for key in FIGURES:
                figures[key] = float(values[key].mean())
                figures[f'{key}_low'], figures[f'{key}_high'] = interval(itemgetter(key))
            yield Row(dict(skin=name), Path(weights).stem, figures=figures)


def find_skin(rgb: 'np.ndarray') -> 'np.ndarray':
    """Return the median colour (3,) in Lab units of the middle of a portrait (H, W, 3) uint8."""
    import numpy as np
    import torch

    from colorization.color import rgb_to_lab

    height, width = rgb.shape[:2]
    half = max(1, round(min(height, width) * SQUARE / 2))
    y, x = height // 2, width // 2
    middle = rgb[max(0, y - half) : y + half, max(0, x - half) : x + half]
    l, ab = rgb_to_lab(torch.from_numpy(middle.astype(np.float32) / 255).permute(2, 0, 1)[None])
    return torch.cat([l, ab], dim=1)[0].flatten(1).median(dim=1).values.numpy()


def _compare(pred: 'np.ndarray', truth: 'np.ndarray') -> tuple[float, float, float]:
    """Return the distance of ab, and the differences of chroma in Lab units and of hue in degrees, signed."""
    (a, b), (true_a, true_b) = pred[1:].tolist(), truth[1:].tolist()
    turn = math.degrees(math.atan2(b, a) - math.atan2(true_b, true_a))
    return (
        math.hypot(a - true_a, b - true_b),
        math.hypot(a, b) - math.hypot(true_a, true_b),
        (turn + 180) % 360 - 180,
    )


def tabulate(run: Run) -> Table:
    """Show a line for each class, the lightest first."""
    order = list(CLASSES)
    rows = sorted(run.rows, key=lambda row: (row.side, order.index(str(row.case['skin']))))
    return Table(
        ['skin (ITA)', 'weights', 'portraits', 'error of ab', 'chroma, predicted less true', 'hue, degrees'],
        [
            [str(row.case['skin']), row.side, f'{row.figures["portraits"]:.0f}']
            + [show_interval(row, key, '.1f' if key == 'error' else '+.1f') for key in FIGURES]
            for row in rows
        ],
    )


def judge(run: Run) -> list[Goal]:
    """No goal is set; what is wanted is that no class stands out."""
    return []
