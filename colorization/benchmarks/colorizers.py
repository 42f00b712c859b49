"""Photographs through whole colorizers.

From an array of pixels to an array of pixels, each network at its own size, with random weights; with --peer, DDColor's
released code and ours on equal weights. Memory is what the process takes above the weights and the photograph. MPT IV-B
states 45 a second at 256 x 256 on a V100; that is `--networks mpt_base --sizes 256x256 --device cuda`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table
from dualattn.benchmarks.timing import measure_resident_peak, time_interleaved

if TYPE_CHECKING:
    import numpy as np

    Pipeline = Callable[[np.ndarray], np.ndarray]

PACKAGED = 'packaged'
NETWORKS = [PACKAGED, 'ddcolor_tiny', 'mpt_base']
RELEASED_NAMES = {'ddcolor_tiny': 'tiny', 'ddcolor_large': 'large'}
RELEASED_SIZE = 512
# MPT's paper (IV-B): frames a second of 256 x 256 pixels on a V100
GOAL_FRAME, GOAL_NETWORK, GOAL_FRAMES = '256x256', 'mpt_base', 45.0
GOAL_PHOTO, GOAL_SECONDS, GOAL_BYTES = '4000x3000', 1.2, 700e6  # with the packaged weights, on two threads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument(
        '--networks',
        nargs='+',
        default=NETWORKS,
        metavar='NAME',
        help=f"'{PACKAGED}', for the weights of the package, or names of configs in configs/colorize",
    )
    parser.add_argument(
        '--peer', type=Path, metavar='FOLDER', help="checkout of DDColor's repository, to be the first side"
    )
    parser.add_argument(
        '--sizes', nargs='+', default=['256x256', '512x512', '4000x3000'], metavar='WxH', help='photographs'
    )
    parser.add_argument('--network-size', type=int, help='side that the networks see (default: their own)')
    parser.add_argument('--rounds', type=int, default=5, help='timed rounds; each runs every side once')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda; on a GPU the clock is that on the wall')


def make_photo(width: int, height: int) -> np.ndarray:
    """Return smooth noise (H, W, 3) uint8; what is on a photograph changes neither time nor memory."""
    import torch
    import torch.nn.functional as F

    noise = torch.rand(1, 3, max(height // 16, 1), max(width // 16, 1), generator=torch.Generator().manual_seed(0))
    pixels = F.interpolate(noise, (height, width), mode='bicubic').clamp(0, 1)[0].permute(1, 2, 0)
    return (pixels * 255).byte().numpy()


def import_released(folder: Path) -> types.ModuleType:
    """Import the released network and pipeline.

    Its package `basicsr` loads all of its training when it is imported, and with it functions that torchvision has
    long removed; the network needs some modules of it only.

    Raises:
        ValueError: the folder is no checkout of DDColor.
    """
    if not (folder / 'ddcolor').is_dir():
        raise ValueError(f'--peer: {folder} is no checkout of DDColor, it has no folder ddcolor')
    sys.path.insert(0, str(folder))
    for name in ('basicsr', 'basicsr.archs', 'basicsr.utils'):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split('.')))]
        sys.modules[name] = package
    return importlib.import_module('ddcolor')


def make_released(released: types.ModuleType, size_name: str, folder: Path) -> tuple[Pipeline, Path]:
    """Return the released pipeline with random weights, and the file of those, which ours reads too."""
    import torch

    network = released.DDColor(
        encoder_name='convnext-t' if size_name == 'tiny' else 'convnext-l',
        input_size=[64, 64],
        num_output_channels=2,
        last_norm='Spectral',
        num_queries=100,
        num_scales=3,
        dec_layers=9,
    )
    network.train()
    with torch.no_grad():
        for _ in range(3):  # settles the statistics of its norms
            network(torch.rand(2, 3, 64, 64))
    path = folder / f'{size_name}.pth'
    torch.save({'params': network.state_dict()}, path)
    theirs = released.ColorizationPipeline(
        released.build_ddcolor_model(
            released.DDColor, model_path=str(path), input_size=RELEASED_SIZE, model_size=size_name, device='cpu'
        ),
        input_size=RELEASED_SIZE,
    )
    return theirs.process, path


def find_config(name: str) -> Path:
    """Return the config of a network.

    Raises:
        ValueError: there is none of that name.
    """
    from dualattn.benchmarks.configs import find_configs

    return find_configs('colorize', [name])[0]


def make_pipelines(args: argparse.Namespace, folder: Path) -> dict[str, Pipeline]:
    """Build every network in float32 and in bfloat16; with --peer the released code first.

    Raises:
        ValueError: an unknown network, or a peer that is none.
    """
    import torch

    from colorization.models import build_network
    from colorization.pipeline import Colorizer, read_network_config

    configs = {name: find_config(name) for name in args.networks if name != PACKAGED}
    released = import_released(args.peer) if args.peer else None
    pipelines = {}
    for name in args.networks:
        options = dict(size=args.network_size, device=args.device)
        weights = None
        if released and name in RELEASED_NAMES:
            import cv2

            cv2.setNumThreads(args.threads)
            pipelines[f'{name}, released code'], weights = make_released(released, RELEASED_NAMES[name], folder)
        for dtype, suffix in ((torch.float32, ''), (torch.bfloat16, ', bf16')):
            if name == PACKAGED or weights:
                pipelines[name + suffix] = Colorizer.from_pretrained(weights, dtype=dtype, **options)
            else:
                network = build_network(read_network_config(configs[name]))
                pipelines[name + suffix] = Colorizer(network, dtype=dtype, **options)
    return pipelines


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Time every pipeline on every photograph."""
    sizes = {size: _parse_size(size) for size in args.sizes}
    with tempfile.TemporaryDirectory() as folder:
        pipelines = make_pipelines(args, Path(folder))
    for size, (width, height) in sizes.items():
        photo = make_photo(width, height)
        sides = {name: (lambda run=run, photo=photo: run(photo)) for name, run in pipelines.items()}
        clock = 'process' if args.device == 'cpu' and args.threads == 1 else 'wall'
        timings = time_interleaved(sides, args.rounds, warm_up=1, clock=clock)
        for name, run in sides.items():
            peak = measure_resident_peak(run)
            yield Row(dict(photo=size), name, timings[name], {} if peak is None else dict(resident_peak_bytes=peak))


def _parse_size(size: str) -> tuple[int, int]:
    width, _, height = size.partition('x')
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ValueError(f'--sizes: expected WIDTHxHEIGHT such as 512x512, got {size!r}')
    return int(width), int(height)


def tabulate(run: Run) -> Table:
    """Show a line for each photograph and pipeline; the first pipeline is the measure of the others."""
    rows = []
    for case, sides in run.sides().items():
        first = next(iter(sides.values()))
        for name, row in sides.items():
            peak = row.figures.get('resident_peak_bytes')
            timing = row.time
            rows.append(
                [
                    dict(case)['photo'],
                    name,
                    f'{timing.median:.2f} ({timing.quartiles[0]:.2f} to {timing.quartiles[1]:.2f})',
                    f'{1 / timing.median:.2f}',
                    f'{first.time.median / timing.median:.2f}',
                    'unknown' if peak is None else f'{peak / 2**20:.0f}',
                ]
            )
    return Table(['photograph', 'pipeline', 'seconds (quartiles)', 'a second', 'times as fast', 'peak MiB'], rows)


def judge(run: Run) -> list[Goal]:
    """Judge 12 megapixels with the packaged weights on two threads, and on a GPU the paper's frames a second."""
    goals = []
    for row in run.rows:
        on_gpu = run.settings.get('device', 'cpu').startswith('cuda')
        if on_gpu and (row.case['photo'], row.side) == (GOAL_FRAME, GOAL_NETWORK):
            goals.append(Goal(f'frames a second of {GOAL_NETWORK} at {GOAL_FRAME}', GOAL_FRAMES, 1 / row.time.median))
        if on_gpu or (row.case['photo'], row.side, run.settings['threads']) != (GOAL_PHOTO, PACKAGED, 2):
            continue
        goals.append(Goal('seconds for 12 megapixels, two threads', GOAL_SECONDS, row.time.median, at_most=True))
        if 'resident_peak_bytes' in row.figures:
            peak = row.figures['resident_peak_bytes'] / 1e6
            goals.append(Goal('MB for 12 megapixels, above weights and photograph', GOAL_BYTES / 1e6, peak, True))
    return goals
