"""Write a network as an ONNX file that serves any batch, height and width without PyTorch.

`export photo` writes two files that colorize whole photographs, `export page` a page that does so in a browser; both
have a --help of their own.

SOURCE is `packaged` (the colorizer that ships with the package), a weights file of a colorizer, a timm model name such
as dualattn_tiny, or a config: of a colorizer, of a classifier, or of a detector, whose backbone is written. The file is
compared with the network in onnxruntime at ten sizes before it gets its name.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from dualattn.commands.files import check_new_file, check_weights
from dualattn.commands.parser import CommandParser, describe, suggest
from dualattn.io.published import WEIGHTS_SUFFIXES

GROUP = 'dualattn.exporters'
FORMATS = 'dualattn.formats'  # further formats, of other packages; each parses its own arguments
EPILOG = """examples:
  the packaged colorizer, and a photograph colorized with it in onnxruntime
      dualattn export onnx packaged -o colorizer.onnx
      dualattn colorize grandma.jpg --engine onnx --weights colorizer.onnx
  your own colorizer; a backbone with its classifier; the maps of a backbone; the backbones of detectors
      dualattn export onnx work_dirs/my_run/weights.safetensors -o my_run.onnx
      dualattn export onnx dualattn_tiny --weights tiny.pth -o tiny.onnx
      dualattn export onnx dualattn_tiny --weights tiny.pth --features -o tiny_maps.onnx
      dualattn export onnx configs/det/mask_rcnn_dualattn_t.py --weights epoch_36.pth -o backbone.onnx
      dualattn export onnx det3d/second_dualattn_kitti_3class.py --weights epoch_40.pth -o view.onnx

exit codes: 0 written, 2 nothing was written
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('export', __doc__, EPILOG)
    others = {entry.name for entry in entry_points(group=FORMATS)}
    parser.add_argument('format', choices=('onnx', *sorted(others)), help='format of the file')
    parser.add_argument('source', metavar='SOURCE', help='packaged, a weights file, a timm model or a config')
    parser.add_argument('-o', '--out', required=True, type=Path, help='.onnx file to write')
    parser.add_argument('--weights', metavar='FILE', help='weights of a timm model or of the network of a config')
    parser.add_argument('--features', action='store_true', help="write a timm model's maps, not its classifier")
    parser.add_argument('--overwrite', action='store_true', help='replace the output if it exists')
    return parser.parse_args(argv)


def require_libraries() -> None:
    """Refuse what would fail after a minute, before torch is loaded.

    Raises:
        ModuleNotFoundError: a library that writes ONNX files or runs them is missing.
    """
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)


def find_model(args: argparse.Namespace) -> tuple[Any, int, str, list[str], dict[str, Any], float]:
    """Build the timm model that the arguments mean.

    Raises:
        ValueError: timm does not know it.
    """
    import timm

    import dualattn.models  # noqa: F401  registers the models

    if args.source.endswith('.py'):
        kinds = 'a colorizer, a classifier, or a detector with a backbone of type DualAttn or DualAttnBEV'
        raise ValueError(f'{args.source} is a config, but not of {kinds}')
    if not timm.is_model(args.source):
        kinds = 'packaged, weights of a colorizer (.safetensors, .pth, .pt, .bin), a timm model or a config (.py)'
        raise ValueError(f'{args.source!r} is neither {kinds}{suggest(args.source, timm.list_models())}')
    options: dict[str, Any] = dict(pretrained=args.weights is not None)
    if args.weights is not None:
        if not Path(args.weights).is_file():
            raise FileNotFoundError(f'{args.weights}: no such weights file')
        options.update(pretrained_cfg_overlay=dict(file=args.weights))
    network: Any = timm.create_model(args.source, features_only=args.features, **options)
    outputs = [f'map{index}' for index in range(len(network.feature_info.channels()))] if args.features else ['logits']
    notes = dict(kind='backbone' if args.features else 'classifier', model=args.source)
    channels: int = 3 if args.features else network.pretrained_cfg['input_size'][0]
    return network, channels, 'image', outputs, notes, 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Export; see the exit codes in EPILOG."""
    argv = sys.argv[1:] if argv is None else list(argv)
    for entry in entry_points(group=FORMATS):
        if argv[:1] == [entry.name]:
            code: int = entry.load()(argv)
            return code
    args = parse_args(argv)
    if args.out.suffix != '.onnx':
        print(f'export: the output has to be named *.onnx, got {args.out}', file=sys.stderr)
        return 2
    try:
        check_new_file(args.out, args.overwrite)
        if args.source.endswith(WEIGHTS_SUFFIXES):
            check_weights(args.source)
        elif args.source != 'packaged':  # which is weights itself, as is said further on
            check_weights(args.weights)
    except OSError as problem:
        print(f'export: {problem}', file=sys.stderr)
        return 2
    require_libraries()
    from dualattn.onnx import write_onnx

    try:
        found = None
        for entry in entry_points(group=GROUP):
            found = found or entry.load()(args.source, args.weights)
        if found and args.features:
            raise ValueError('--features is for a timm model')
        network, channels, name, outputs, notes, scale = found or find_model(args)
        error = write_onnx(network, args.out, channels, name, outputs, notes, scale, args.overwrite)
    except (ValueError, OSError, RuntimeError, ImportError) as problem:
        print(f'export: {describe(problem)}', file=sys.stderr)
        return 2
    print(f'{args.out}: {notes["kind"]}, {args.out.stat().st_size / 1e6:.1f} MB, differs by {error:.1e} at most')
    return 0
