"""A hint in the preview.

Seconds from a new hint on a photograph to its preview, beside what comes before, once for each photograph: reading its
luminance and asking the network. Every round gives a hint at a place that has had none, on top of those before it.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table

SIDE = 1024  # pixels of the preview
MOST_FOR_A_HINT = 0.3  # seconds
DRAFT, HINT = 'photograph opened', 'new hint shown'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--sizes', nargs='+', default=['4000x3000'], metavar='WxH', help='of the photographs')
    parser.add_argument('--rounds', type=int, default=9, help='timed rounds; each gives one more hint')
    parser.add_argument('--clock', choices=['process', 'wall'], default='process', help='see docs/speed.md')


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Open each photograph, then give hint upon hint and look."""
    import numpy as np

    from colorization.benchmarks.colorizers import make_photo
    from colorization.hints import Hint, Hints
    from colorization.pipeline import Colorizer
    from dualattn.benchmarks.timing import time_interleaved
    from dualattn.io.photos import Photo

    colorizer = Colorizer.from_pretrained()
    for size in args.sizes:
        width, height = map(int, size.split('x'))
        photo = Photo(make_photo(width, height))
        draft = colorizer.draft(photo)
        rng = np.random.default_rng(0)
        hints = Hints((width, height))
        colors = itertools.cycle(['#b03030', '#3050b0', 'gray', '#30a040', 'keep'])

        def give_hint(draft=draft, rng=rng, colors=colors, width=width, height=height) -> None:
            nonlocal hints
            hints = hints.with_hint(Hint.point(rng.uniform(0, width), rng.uniform(0, height), next(colors)))
            draft.hints = hints
            draft.preview(SIDE)

        def open_photo(photo=photo) -> None:
            colorizer.draft(photo).preview(SIDE)

        for side, timing in {
            **time_interleaved({DRAFT: open_photo}, min(args.rounds, 3), warm_up=1, clock=args.clock),
            **time_interleaved({HINT: give_hint}, args.rounds, warm_up=2, clock=args.clock),
        }.items():
            yield Row(dict(photo=size), side, timing)


def tabulate(run: Run) -> Table:
    """Show a line for each photograph and step."""
    rows = [[str(row.case['photo']), row.side, f'{row.time.median:.3f}', row.time.clock] for row in run.rows]
    return Table(['photograph', 'what', 'seconds', 'clock'], rows)


def judge(run: Run) -> list[Goal]:
    """Judge a hint on 12 megapixels."""
    return [
        Goal('seconds from a hint to its preview, 12 megapixels', MOST_FOR_A_HINT, row.time.median, at_most=True)
        for row in run.rows
        if row.side == HINT and row.case['photo'] == '4000x3000'
    ]
