"""Count the parameters and FLOPs of a network, and print the paper's numbers beside them.

MODEL is any name that timm knows, `dualattn_*` included. CONFIG is a config of a colorizer, whose generator is counted
on a lightness map, of a classifier, of a two-stage detector, which is counted on 1000 proposals and 100 masks, or of a
3D detector: all its parameters, and the FLOPs from its map as seen from above on, since what comes before computes only
where points are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import entry_points
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualattn.commands.parser import CommandParser, suggest
from dualattn.configs import find_config, read_config

if TYPE_CHECKING:
    import torch
    from fvcore.nn import FlopCountAnalysis

EXAMPLES = """examples:
  dualattn flops dualattn_tiny
  dualattn flops dualattn_base_384 --table
  dualattn flops davit_tiny --shape 896 1280
  dualattn flops configs/colorize/mpt_base.py --shape 512 512 --table 3
  dualattn flops configs/cls/dualattn_s_384_finetune.py
  dualattn flops configs/det/mask_rcnn_dualattn_t.py
  dualattn flops configs/det3d/centerpoint_voxel01_dualattn_nus.py --table 3

FLOPs are counted by fvcore as papers count them: a multiply-add is one. Convolutions, matrix products, attention,
norms and poolings count; element-wise operations and softmax do not.
"""

# functions (config, its name) -> (network, shape (C, H, W) of its input, name in the papers), or None for other kinds
GROUP = 'dualattn.counters'
# name: (height and width of the image, million parameters, billion FLOPs or None, source)
PAPER = {
    'dualattn_tiny': ((224, 224), 28.7, 5.3, 'MPT Table V'),
    'dualattn_small': ((224, 224), 51.2, 9.1, 'MPT Table V'),
    'dualattn_base': ((224, 224), 77.8, 16.2, 'MPT Table V'),
    'dualattn_tiny_384': ((384, 384), 27.6, 15.1, 'MPT Table IX'),
    'dualattn_small_384': ((384, 384), 51.9, 27.8, 'MPT Table IX'),
    'dualattn_base_384': ((384, 384), 79.3, 53.2, 'MPT Table IX'),
    'mask_rcnn_dualattn_t': ((800, 1280), 47.5, 281, 'MPT Table X'),
    'mask_rcnn_dualattn_s': ((800, 1280), 64.9, 369, 'MPT Table X'),
    'mask_rcnn_dualattn_b': ((800, 1280), 99.3, 546, 'MPT Table X'),
    'cascade_mask_rcnn_dualattn_t': ((896, 896), 87, 417, 'MPT Table VII'),
    'cascade_mask_rcnn_dualattn_s': ((896, 896), 123, 498, 'MPT Table VII'),
    'mpt_base': ((256, 256), 55.2, None, 'MPT IV-B'),
}


def make_parser() -> CommandParser:
    """Return the parser of this verb."""
    parser = CommandParser('flops', __doc__, EXAMPLES)
    parser.add_argument('network', metavar='MODEL|CONFIG', help='timm model name, or path of a config (*.py)')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help="size of the input in pixels (default: the model's own; of a config the paper's)",
    )
    parser.add_argument('--in-chans', type=int, metavar='N', help="channels of a MODEL's input (default: its own, 3)")
    parser.add_argument(
        '--table',
        type=int,
        nargs='?',
        const=2,
        metavar='DEPTH',
        help='list the parts as well, down to DEPTH levels of modules (default: 2)',
    )
    return parser


def build_model(args: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[torch.nn.Module, list[int], str]:
    """Build a timm model; tell the shape (C, H, W) that it is made for, and the name under which papers list it."""
    import timm

    if not timm.is_model(args.network):
        hint = suggest(args.network, timm.list_models())
        parser.error(f'{args.network!r} is neither a timm model nor a config file (*.py){hint}')
    kwargs = {} if args.in_chans is None else dict(in_chans=args.in_chans)
    model: Any = timm.create_model(args.network, **kwargs)
    size = model.pretrained_cfg['input_size']
    return model, [args.in_chans or size[0], *size[1:]], args.network.partition('.')[0]


def build_from_config(
    args: argparse.Namespace, parser: argparse.ArgumentParser
) -> tuple[torch.nn.Module, list[int], str]:
    """Build what a config describes; the package that its types belong to tells the input that papers count."""
    import dualattn.engine  # noqa: F401  silences warnings that are not the user's

    try:
        find_config(args.network)
        if args.in_chans is not None:
            parser.error('--in-chans is for a timm MODEL: the config tells the channels')
        cfg = read_config(args.network)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    for entry in entry_points(group=GROUP):
        counted = entry.load()(cfg, Path(args.network).stem)
        if counted is not None:
            return counted
    return parser.error(
        f'{args.network} is of another kind: there is a count for colorizers (model.generator), '
        'classifiers (ImageClassifier), two-stage detectors of mmdet and 3D detectors of mmdet3d'
    )


def count_attention(inputs: list, outputs: list) -> int:
    """Count Q K^T and P V of scaled_dot_product_attention, which fvcore does not know."""
    from fvcore.nn.jit_handles import get_shape

    q, k, v = (get_shape(value) for value in inputs[:3])
    return prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


def analyze(network: torch.nn.Module, shape: list[int]) -> FlopCountAnalysis:
    """Count a network on a map of zeros of the shape (C, H, W)."""
    import torch
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(network.eval(), torch.zeros(1, *shape))
    analysis.set_op_handle('aten::scaled_dot_product_attention', count_attention)
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings('none')


def format_paper(name: str, shape: list[int]) -> tuple[str, str, str]:
    """Return the heading, parameters and FLOPs of the paper's column; empty where the paper has no such number."""
    size, params, flops, source = PAPER.get(name, (None, None, None, None))
    same_size = tuple(shape[1:]) == size
    return source or '', f'{params} M' if params else '', f'{flops} G' if flops and same_size else ''


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print; returns 0."""
    parser = make_parser()
    args = parser.parse_args(argv)
    import torch
    from fvcore.nn import flop_count_table

    is_config = args.network.endswith('.py')
    network, shape, name = (build_from_config if is_config else build_model)(args, parser)
    if args.shape:
        if min(args.shape) < 32:
            parser.error(f'--shape takes sides of at least 32 pixels, got {args.shape}')
        shape[1:] = args.shape

    with torch.no_grad():
        analysis = analyze(network, shape)
        flops = analysis.total()
        skipped = sorted(op.removeprefix('aten::') for op in analysis.unsupported_ops())
        table = '' if args.table is None else flop_count_table(analysis, max_depth=args.table) + '\n\n'
    params = sum(parameter.numel() for parameter in network.parameters())
    source, paper_params, paper_flops = format_paper(name, shape)
    print(f'{table}{name}, input 1 x {" x ".join(map(str, shape))}')
    print(f'{"":12}{"here":>12}  {source:>14}'.rstrip())
    print(f'{"parameters":12}{params / 1e6:>10.2f} M  {paper_params:>14}'.rstrip())
    print(f'{"FLOPs":12}{flops / 1e9:>10.2f} G  {paper_flops:>14}'.rstrip())
    counted = getattr(network, 'counted', None)
    if counted:
        print(f'FLOPs are those of {counted}.')
    print(f'A multiply-add counts as one FLOP. Not counted: {", ".join(skipped) or "nothing"}.')
    return 0
