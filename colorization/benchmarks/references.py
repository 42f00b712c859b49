"""A reference picture of the same scene.

Pairs of one scene are made from a photograph as a camera would take them: two views that share 40 to 75 % of what they
show, one of them turned by up to 4 degrees, larger by up to a fifth, and exposed by up to half a stop otherwise, from a
seed for each photograph. One view lends its colours to the luminance of the other; beside it stand the automatic
colours, and those with the view of another photograph as the reference, which has to do no harm.
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
GAIN = 1.0  # dB that a view of the same scene has to bring
HARM = -0.5  # dB that one of another scene may cost
AUTOMATIC, SAME, OTHER = 'automatic', 'the same scene', 'another photograph'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--folder', type=Path, required=True, help='colour photographs, such as photos/val')
    parser.add_argument('--every', type=int, default=4, metavar='N', help='take every N-th by name (default: 4)')
    parser.add_argument('--weights', type=Path, help='weights file (default: the one in the package)')


def make_pair(rgb: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two views (224, 224, 3) uint8 of one scene, of a photograph (H, W, 3) uint8 with sides of 32 or more."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(seed)
    height, width = rgb.shape[:2]
    side = 0.78 * min(height, width)  # of the squares that the views show, in pixels
    offset = rng.uniform(0.25, 0.5) * side  # from one to the other
    angle = rng.uniform(0, 2 * np.pi)
    shift = offset * np.array([np.cos(angle), np.sin(angle)]) / 2
    views = []
    for sign, turn, zoom in ((1, 0.0, 1.0), (-1, rng.uniform(-4, 4), rng.uniform(1, 1.2))):
        centre = np.array([width, height]) / 2 + sign * shift
        matrix = cv2.getRotationMatrix2D(tuple(centre), turn, SIDE * zoom / side)
        matrix[:, 2] += SIDE / 2 - centre
        views.append(cv2.warpAffine(rgb, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT))
    linear = (views[1] / 255.0) ** 2.2 * 2 ** rng.uniform(-0.5, 0.5)
    return views[0], np.round(255 * linear.clip(0, 1) ** (1 / 2.2)).astype(np.uint8)


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Score the first view of each pair: by itself, with the second, and with that of the next photograph."""
    import copy

    import numpy as np
    from tqdm import tqdm

    from colorization.benchmarks.upsampling import psnr
    from colorization.pipeline import Colorizer
    from colorization.reference import Reference, ReferencePictureError
    from dualattn.io.photos import Photo, list_images, read_rgb

    paths = list_images([args.folder], recursive=True)[:: args.every]
    if len(paths) < 2:
        raise ValueError('expected two photographs at least, each the reference of another')
    colorizer = Colorizer.from_pretrained(args.weights)
    pairs = [make_pair(read_rgb(path), index) for index, path in enumerate(paths)]
    scores: dict[str, list[float]] = {AUTOMATIC: [], SAME: [], OTHER: []}
    for index, (view, second) in enumerate(tqdm(pairs, leave=False, unit='pair', disable=None)):
        followers = [copy.copy(colorizer), copy.copy(colorizer)]
        try:
            for follower, reference in zip(followers, (second, pairs[index - 1][1]), strict=True):
                follower.reference = Reference(colorizer, Photo(reference))
        except ReferencePictureError:  # of the photographs some are gray, and refused
            continue
        for side, each in zip((AUTOMATIC, SAME, OTHER), (colorizer, *followers), strict=True):
            scores[side].append(psnr(each(view), view))
    for side, values in scores.items():
        yield Row({}, side, figures=dict(psnr_db=float(np.mean(values)), photographs=len(values)))


def tabulate(run: Run) -> Table:
    """Show a line for each reference."""
    rows = [[row.side, f'{row.figures["psnr_db"]:.2f}', str(round(row.figures['photographs']))] for row in run.rows]
    return Table(['reference', 'PSNR (dB)', 'pairs'], rows)


def judge(run: Run) -> list[Goal]:
    """Compare with the automatic colours."""
    figures = {row.side: row.figures['psnr_db'] for row in run.rows}
    return [
        Goal(
            'dB of a reference of the same scene over the automatic result',
            GAIN,
            figures[SAME] - figures[AUTOMATIC],
            timed=False,
        ),
        Goal('dB of a reference of another scene', HARM, figures[OTHER] - figures[AUTOMATIC], timed=False),
    ]
