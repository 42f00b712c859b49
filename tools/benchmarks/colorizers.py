"""Photographs through whole pipelines: one network against another, and DDColor's released code against ours."""

import argparse
import importlib
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from benchmarks.timing import measure_resident_peak, print_table, time_interleaved

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [ROOT / 'configs' / 'colorize' / name for name in ('ddcolor_tiny.py', 'mpt_base.py')]
RELEASED_NAMES = {'ddcolor_tiny': 'tiny', 'ddcolor_large': 'large'}
RELEASED_SIZE = 512


def add_commands(commands) -> None:
    command = commands.add_parser(
        'colorize',
        help='photographs through whole pipelines, random weights',
        description='Without --peer the first network is the measure of the others; with it, the released code is.',
    )
    command.add_argument('configs', nargs='*', type=Path, default=CONFIGS, help='configs whose networks to measure')
    command.add_argument(
        '--peer',
        type=Path,
        metavar='FOLDER',
        help="checkout of DDColor's repository; its network and ours then get equal weights",
    )
    command.add_argument('--sizes', nargs='+', default=['512x512', '4000x3000'], metavar='WxH', help='photographs')
    command.add_argument('--network-size', type=int, help='side that the networks see (default: their own)')
    command.add_argument('--repeats', type=int, default=5, help='timed rounds; each round runs every side once')
    command.set_defaults(measure=measure, show=show)
    command = commands.add_parser(
        'upsample',
        help='colours enlarged smoothly against nearest neighbours',
        description='Shrinks the true colours of photographs, enlarges them again, and compares with the photographs.',
    )
    command.add_argument('folder', type=Path, help='colour photographs')
    command.add_argument('--factors', type=int, nargs='+', default=[4, 8], help='how much smaller the colours are')
    command.set_defaults(measure=measure_upsampling, show=show_upsampling)


# --- pipelines


def make_photo(width: int, height: int) -> np.ndarray:
    """Return smooth noise (H, W, 3) uint8; what is on a photograph changes neither time nor memory."""
    noise = torch.rand(1, 3, max(height // 16, 1), max(width // 16, 1), generator=torch.Generator().manual_seed(0))
    pixels = F.interpolate(noise, (height, width), mode='bicubic').clamp(0, 1)[0].permute(1, 2, 0)
    return (pixels * 255).byte().numpy()


def import_released(folder: Path):
    """Import the released network and pipeline.

    Its package `basicsr` loads all of its training when it is imported, and with it functions that torchvision has
    long removed; the network needs some modules of it only.
    """
    if not (folder / 'ddcolor').is_dir():
        raise SystemExit(f'--peer: {folder} is no checkout of DDColor, it has no folder ddcolor')
    sys.path.insert(0, str(folder))
    for name in ('basicsr', 'basicsr.archs', 'basicsr.utils'):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split('.')))]
        sys.modules[name] = package
    return importlib.import_module('ddcolor')


def make_equal_pair(released, size_name: str, folder: Path):
    """Give the released pipeline and ours the same random weights; return both as functions of a photograph."""
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


def measure(args: argparse.Namespace) -> list[dict]:
    from mmengine.config import Config

    from colorization.models import build_network
    from colorization.pipeline import Colorizer

    pipelines = {}
    with tempfile.TemporaryDirectory() as folder:
        for config in args.configs:
            name = config.stem
            if args.peer and name in RELEASED_NAMES:
                import cv2

                cv2.setNumThreads(args.threads)
                pipelines[f'{name}, released code'], weights = make_equal_pair(
                    import_released(args.peer), RELEASED_NAMES[name], Path(folder)
                )
                for dtype, suffix in ((None, ''), (torch.bfloat16, ' bf16')):
                    pipelines[name + suffix] = Colorizer.from_pretrained(weights, size=args.network_size, dtype=dtype)
                continue
            description = Config.fromfile(config).model.generator.to_dict()
            description.pop('encoder_weights', None)
            for dtype, suffix in ((None, ''), (torch.bfloat16, ' bf16')):
                pipelines[name + suffix] = Colorizer(build_network(description), args.network_size, dtype=dtype)
    rows = []
    for size in args.sizes:
        width, height = map(int, size.split('x'))
        photo = make_photo(width, height)
        sides = {name: (lambda run=run, photo=photo: run(photo)) for name, run in pipelines.items()}
        seconds = time_interleaved(sides, args.repeats, warm_up=1)
        first = next(iter(seconds.values()))
        rows += [
            dict(
                photo=size,
                pipeline=name,
                seconds=seconds[name],
                ratio=first / seconds[name],
                peak_bytes=measure_resident_peak(run),
            )
            for name, run in sides.items()
        ]
    return rows


def show(rows: list[dict], args: argparse.Namespace) -> None:
    print_table(
        ['photograph', 'pipeline', 'seconds', f'times as fast as {rows[0]["pipeline"]}', 'peak MiB above the weights'],
        [
            [
                row['photo'],
                row['pipeline'],
                f'{row["seconds"]:.2f}',
                f'{row["ratio"]:.2f}',
                'unknown' if row['peak_bytes'] is None else f'{row["peak_bytes"] / 2**20:.0f}',
            ]
            for row in rows
        ],
    )


# --- enlargement


def enlarge_nearest(l: torch.Tensor, ab: torch.Tensor) -> np.ndarray:
    """Return RGB (H, W, 3) uint8 as the released code joins colours to a photograph."""
    from skimage.color import lab2rgb

    lab = torch.cat([l, F.interpolate(ab, l.shape[2:])], dim=1)[0].permute(1, 2, 0)
    return (lab2rgb(lab.double().numpy()) * 255).round().astype(np.uint8)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((image.astype(float) - truth) ** 2)))


def measure_upsampling(args: argparse.Namespace) -> list[dict]:
    from colorization.color import rgb_to_lab
    from colorization.pipeline import Colorizer
    from dualattn.io.photos import list_images, read_rgb

    scores = {factor: [] for factor in args.factors}
    joiner = Colorizer(torch.nn.Identity())
    for path in tqdm(list_images([args.folder], recursive=True), leave=False, unit='photo'):
        rgb = read_rgb(path)
        rgb = rgb[: len(rgb) // 32 * 32, : rgb.shape[1] // 32 * 32]
        l, ab = rgb_to_lab(torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1)[None])
        for factor, pairs in scores.items():
            small = F.interpolate(ab, (len(rgb) // factor, rgb.shape[1] // factor), mode='area')
            smooth = joiner.merge(l[0, 0], small[0], np.dtype(np.uint8))
            pairs.append((psnr(smooth, rgb), psnr(enlarge_nearest(l, small), rgb)))
    rows = []
    for factor, pairs in scores.items():
        pairs = np.array(pairs)
        rows.append(
            dict(
                factor=factor,
                photos=len(pairs),
                smooth=pairs[:, 0].mean(),
                nearest=pairs[:, 1].mean(),
                smooth_wins=int((pairs[:, 0] > pairs[:, 1]).sum()),
            )
        )
    return rows


def show_upsampling(rows: list[dict], args: argparse.Namespace) -> None:
    print_table(
        ['enlargement', 'photographs', 'PSNR, ours (dB)', 'PSNR, nearest (dB)', 'ours better in'],
        [
            [
                f'{row["factor"]} x',
                str(row['photos']),
                f'{row["smooth"]:.2f}',
                f'{row["nearest"]:.2f}',
                str(row['smooth_wins']),
            ]
            for row in rows
        ],
    )
