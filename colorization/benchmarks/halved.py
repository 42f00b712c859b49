"""Weights in half the bits for the browser, and what photographs lose.

The two files of `dualattn export photo` are written with weights of 32 and of 16 bits, and colorize the same real
photographs in onnxruntime. Against `dualattn colorize` stand the mean and the largest difference in levels of 255 and
the mean CIEDE2000; against the true photograph stands the PSNR.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table

MOST_BYTES = 15e6  # of the weights that a visitor's browser loads
MOST_CIEDE2000 = 0.1  # a tenth of what eyes can tell side by side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--folder', type=Path, required=True, help='colour photographs, such as photos/val')
    parser.add_argument('--every', type=int, default=4, metavar='N', help='take every N-th by name (default: 4)')
    parser.add_argument('--weights', type=Path, help='weights file (default: the one in the package)')


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Score one kind of numbers after the other."""
    import numpy as np
    from skimage.color import deltaE_ciede2000, rgb2lab
    from tqdm import tqdm

    from colorization.benchmarks.upsampling import psnr
    from colorization.photo_onnx import COLORS, JOIN, NUMBERS, colorize_pixels, export_photo_files, open_photo_files
    from colorization.pipeline import Colorizer
    from dualattn.io.photos import list_images, read_rgb

    if args.every < 1:
        raise ValueError(f'--every is at least 1, got {args.every}')
    paths = list_images([args.folder], recursive=True)[:: args.every]
    if not paths:
        raise ValueError(f'{args.folder}: no photographs')
    colorizer = Colorizer.from_pretrained(args.weights)
    with tempfile.TemporaryDirectory() as folder:
        for numbers in NUMBERS:
            place = Path(folder, numbers)
            export_photo_files(colorizer.network, place, numbers)
            sessions = open_photo_files(place)
            apart, largest, visible, quality = [], 0, [], []
            for path in tqdm(paths, desc=numbers, leave=False, unit='photo', disable=None):
                truth = read_rgb(path)
                expected, found = colorizer(truth), colorize_pixels(sessions, truth)
                levels = np.abs(found.astype(int) - expected)
                apart.append(float(levels.mean()))
                largest = max(largest, int(levels.max()))
                visible.append(float(deltaE_ciede2000(rgb2lab(expected), rgb2lab(found)).mean()))
                quality.append(psnr(found, truth))
            figures = dict(
                megabytes=sum((place / name).stat().st_size for name in (COLORS, JOIN)) / 1e6,
                mean_levels=float(np.mean(apart)),
                largest_levels=float(largest),
                ciede2000=float(np.mean(visible)),
                psnr_db=float(np.mean(quality)),
                photographs=float(len(paths)),
            )
            yield Row({}, numbers, figures=figures)


def tabulate(run: Run) -> Table:
    """Show a line for each kind of numbers."""
    heading = ['weights', 'MB', 'mean levels of 255', 'largest', 'CIEDE2000', 'PSNR to the truth (dB)', 'photographs']
    forms = dict(
        megabytes='.1f',
        mean_levels='.4f',
        largest_levels='.0f',
        ciede2000='.4f',
        psnr_db='.3f',
        photographs='.0f',
    )
    rows = [[row.side, *(format(row.figures[name], form) for name, form in forms.items())] for row in run.rows]
    return Table(heading, rows)


def judge(run: Run) -> list[Goal]:
    """Judge what browsers load."""
    halved = next((row.figures for row in run.rows if row.side == 'float16'), None)
    if halved is None:
        return []
    return [
        Goal('MB of both files in float16', MOST_BYTES / 1e6, halved['megabytes'], at_most=True, timed=False),
        Goal('CIEDE2000 that float16 costs', MOST_CIEDE2000, halved['ciede2000'], at_most=True, timed=False),
    ]
