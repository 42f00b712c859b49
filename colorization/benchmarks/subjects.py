"""Errors of colour by subject.

The photographs of each sub-folder stand for a subject. PSNR is the gain over the gray version, on 8-bit RGB; the
colourfulness is that of the prediction over that of the photographs; both and CIEDE2000 are means, with the 95 %
interval that drawing the photographs anew gives.
"""

import argparse
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table, show_interval

ALL = 'all'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument(
        '--folder', type=Path, required=True, help='a sub-folder of colour photographs for each subject'
    )
    parser.add_argument(
        '--held-out',
        choices=['keep', 'take'],
        default='keep',
        help="'take' takes the one in a hundred that trainings with held_out='leave' leave out (default: keep all)",
    )
    parser.add_argument('--weights', nargs='+', default=['packaged'], metavar='FILE', help='(default: packaged)')


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Colorize the gray version of each photograph."""
    import numpy as np
    import torch
    from tqdm import tqdm

    from colorization.data.dataset import ColorImageDataset
    from colorization.evaluation.measures import measure_pair
    from colorization.evaluation.statistics import bootstrap_means
    from colorization.pipeline import Colorizer
    from dualattn.io.photos import read_rgb

    files = ColorImageDataset(str(args.folder), held_out=args.held_out).files
    for weights in args.weights:
        colorize = Colorizer.from_pretrained(None if weights == 'packaged' else weights)
        by_subject: dict[str, list[dict[str, float]]] = {ALL: []}
        for file in tqdm(files, leave=False, unit='photo', disable=None):
            rgb = read_rgb(file)
            pred, truth = (torch.from_numpy(each).permute(2, 0, 1) for each in (colorize(rgb), rgb))
            found = measure_pair(pred, truth)
            place = file.relative_to(args.folder)
            for subject in {ALL, place.parts[0] if len(place.parts) > 1 else ALL}:
                by_subject.setdefault(subject, []).append(found)
        for subject, measured in by_subject.items():
            values = {name: np.array([each[name] for each in measured]) for name in measured[0]}
            values['gain'] = values['PSNR'] - values['PSNR_gray']
            interval = bootstrap_means(values)
            figures = dict(photographs=len(measured), cf_ratio=float(values['CF'].mean() / values['CF_truth'].mean()))
            for name, unit in (('gain', 'gain_db'), ('CIEDE2000', 'ciede2000')):
                figures[unit] = float(values[name].mean())
                figures[f'{unit}_low'], figures[f'{unit}_high'] = interval(itemgetter(name))
            yield Row(dict(subject=subject), Path(weights).stem, figures=figures)


def tabulate(run: Run) -> Table:
    """Show a line for each subject, those that go wrong first."""
    rows = sorted(run.rows, key=lambda row: (row.side, row.case['subject'] != ALL, -row.figures['ciede2000']))
    return Table(
        ['subject', 'weights', 'photographs', 'PSNR over gray (dB)', 'colourfulness', 'CIEDE2000'],
        [
            [
                str(row.case['subject']),
                row.side,
                f'{row.figures["photographs"]:.0f}',
                show_interval(row, 'gain_db', '+.2f'),
                f'{row.figures["cf_ratio"]:.2f}',
                show_interval(row, 'ciede2000', '.1f'),
            ]
            for row in rows
        ],
    )


def judge(run: Run) -> list[Goal]:
    """No goal is set for single subjects."""
    return []
