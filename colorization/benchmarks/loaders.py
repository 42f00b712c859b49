"""Loading photographs for a training.

Photographs a second on the wall of a data loader that reads, shrinks, crops and flips JPEG files, for each number of
worker processes, and from memory.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import time_interleaved


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--photographs', type=int, default=256)
    parser.add_argument('--side', type=int, default=512, help='of each file, in pixels')
    parser.add_argument('--crop', type=int, default=128, help='side of what the training sees, in pixels')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--rounds', type=int, default=3, help='timed rounds; each goes through all photographs once')


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Go through a loader with each number of workers, and with the photographs held in memory."""
    from PIL import Image
    from torch.utils.data import DataLoader

    from colorization.benchmarks.colorizers import make_photo
    from colorization.data import ColorImageDataset

    with tempfile.TemporaryDirectory() as folder:
        pixels = make_photo(args.side, args.side)
        for index in range(args.photographs):
            Image.fromarray((pixels + index % 251).astype('uint8')).save(Path(folder, f'{index:05d}.jpg'), quality=92)

        def make_loader(workers: int, cache: bool) -> DataLoader:
            dataset = ColorImageDataset(
                folder,
                prepare=[dict(type='torchvision/Resize', size=args.crop * 9 // 8, antialias=True)],
                augment=[
                    dict(type='torchvision/RandomCrop', size=args.crop),
                    dict(type='torchvision/RandomHorizontalFlip'),
                ],
                cache=cache,
                decode_min_side=args.crop * 9 // 8,
            )
            return DataLoader(dataset, args.batch, num_workers=workers)

        loaders = {f'{number} workers': make_loader(number, False) for number in args.workers}
        loaders['in memory, 0 workers'] = make_loader(0, True)
        sides = {name: (lambda loader=loader: sum(1 for _ in loader)) for name, loader in loaders.items()}
        for name, timing in time_interleaved(sides, args.rounds, warm_up=1, clock='wall').items():
            yield Row({}, name, timing, dict(photographs_per_second=args.photographs / timing.median))


def tabulate(run: Run) -> Table:
    """Show a line for each loader."""
    rows = [[row.side, f'{row.figures["photographs_per_second"]:.0f}'] for row in run.rows]
    return Table(['loader', 'photographs a second'], rows)


def judge(run: Run) -> list[Goal]:
    """Nothing was aimed at."""
    return []
