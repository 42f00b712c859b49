"""Measure what more colour costs: PSNR against colourfulness over vividness, for one or several weights."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dualattn.commands.files import check_new_file, check_weights
from dualattn.commands.parser import CommandParser, explain

EPILOG = """examples:
  the packaged weights on a folder of colour photographs
      dualattn curve photos/val -o curve.png
  three weights in one picture; those without a palette are measured over --chroma
      dualattn curve photos/val --weights old.safetensors new.safetensors packaged -o curve.png

The gray version of each photograph is colorized. PSNR is the gain over that gray version, mean over photographs, on
8-bit RGB; colourfulness is Hasler and Suesstrunk's (signed), as a share of that of the photographs. A JSON of the same
name holds the figures.

exit codes: 0 measured, 2 nothing was
"""
VIVIDNESS = (0.5, 0.7, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
CHROMA = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('curve', __doc__, EPILOG)
    parser.add_argument('photos', type=Path, help='folder of colour photographs, sub-folders included')
    parser.add_argument('-o', '--out', required=True, type=Path, metavar='PNG', help='picture to write')
    parser.add_argument('--weights', nargs='+', default=['packaged'], metavar='FILE', help='(default: packaged)')
    parser.add_argument('--chroma', nargs='+', type=float, default=[1.0], help='tried with each vividness (default: 1)')
    parser.add_argument('--limit', type=int, metavar='N', help='use every k-th photograph, so that about N are left')
    parser.add_argument('--size', type=int, help="side of what the network sees (default: the network's own)")
    parser.add_argument('--overwrite', action='store_true', help='replace the outputs if they exist')
    args = parser.parse_args(argv)
    if args.out.suffix.lower() != '.png':
        parser.error(f'-o takes a .png file, got {args.out}')
    if args.limit is not None and args.limit < 1:
        parser.error(f'--limit takes at least 1, got {args.limit}')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the curves; see the exit codes in EPILOG."""
    args = parse_args(argv)
    try:
        for weights in args.weights:
            check_weights(None if weights == 'packaged' else weights)
    except FileNotFoundError as error:
        print(f'curve: {error}', file=sys.stderr)
        return 2
    from dataclasses import asdict

    from tqdm import tqdm

    from colorization.evaluation.vividness import measure_curve
    from colorization.pipeline import Colorizer, has_palette
    from dualattn.io.files import list_files, write_json
    from dualattn.io.photos import IMAGE_SUFFIXES

    record = args.out.with_suffix('.json')
    try:
        for path in (args.out, record):
            check_new_file(path, args.overwrite)
        files = list_files(args.photos, IMAGE_SUFFIXES, recursive=True)
        files = files[:: max(1, len(files) // args.limit)] if args.limit else files
        curves = {}
        for weights in args.weights:
            colorizer = Colorizer.from_pretrained(None if weights == 'packaged' else weights, size=args.size)
            is_palette = has_palette(colorizer.network)
            points = measure_curve(
                colorizer,
                files,
                VIVIDNESS if is_palette else (1,),
                args.chroma if is_palette else CHROMA,
                lambda items: tqdm(items, unit='photo'),
            )
            curves[weights] = [asdict(point) for point in points]
            print(f'{weights}, {len(files)} photographs\n  vividness  chroma  dB over gray  CF ratio')
            for point in points:
                print(f'  {point.vividness:9g}  {point.chroma:6g}  {point.gain:+12.2f}  {point.cf_ratio:8.2f}')
        write_json(record, dict(photographs=len(files), curves=curves))
        draw(curves, args.out)
    except (ValueError, OSError) as error:
        print(f'curve: {explain(error)}', file=sys.stderr)
        return 2
    return 0


def draw(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw one line for each weights and chroma."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from dualattn.io.files import write_whole

    figure = Figure(figsize=(7, 5), layout='constrained')
    axes = figure.add_subplot(xlabel='colourfulness / that of the photographs', ylabel='PSNR over gray (dB)')
    for weights, points in curves.items():
        is_palette = len({point['vividness'] for point in points}) > 1
        for chroma in sorted({point['chroma'] for point in points}) if is_palette else [None]:
            line = [point for point in points if chroma in (None, point['chroma'])]
            label = Path(weights).stem + (f', chroma {chroma:g}' if chroma not in (None, 1) else '')
            axes.plot([p['cf_ratio'] for p in line], [p['gain'] for p in line], 'o-', markersize=4, label=label)
    axes.axhline(0, color='gray', linewidth=1)
    axes.grid(alpha=0.3)
    axes.legend()
    FigureCanvasAgg(figure)
    with write_whole(path) as aside:
        figure.savefig(aside, format='png', dpi=120)
