"""A backbone against timm's peers: forward pass, training step, peak memory."""

import argparse

import timm
import torch

from benchmarks.timing import DTYPES, measure_peak_memory, print_table, time_interleaved

PEERS = ['davit_tiny', 'maxvit_tiny_rw_224', 'swin_tiny_patch4_window7_224', 'convnext_tiny']


def add_commands(commands) -> None:
    for name, text in (
        ('backbone', 'forward pass of a model against timm models'),
        ('train', 'forward and backward pass of a model against timm models'),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument('--model', default='dualattn_tiny', help='timm name')
        command.add_argument('--peers', nargs='+', default=PEERS, help='timm names')
        command.add_argument(
            '--shape',
            type=int,
            nargs=2,
            default=[224, 224],
            metavar=('H', 'W'),
            help='size of the images in pixels; other than 224 224 measures the feature pyramids',
        )
        command.add_argument('--batch', type=int, default=8)
        command.add_argument('--dtype', choices=DTYPES, default='fp32')
        command.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
        command.add_argument(
            '--compile',
            action='store_true',
            help='also the form that torch.compile makes; a forward pass with frozen weights',
        )
        command.add_argument('--repeats', type=int, default=11, help='timed rounds; each round runs every side once')
        command.set_defaults(measure=measure, show=show)


def make_model(name: str, shape: list[int]) -> torch.nn.Module:
    """Build a classifier at its own size, a feature pyramid at any other."""
    if shape == [224, 224]:
        return timm.create_model(name)
    fixed = {} if name.startswith(('dualattn', 'davit', 'convnext')) else dict(img_size=tuple(shape))
    return timm.create_model(name, features_only=True, **fixed)


def make_step(model: torch.nn.Module, batch: torch.Tensor, train: bool):
    def step():
        if not train:
            with torch.no_grad():
                model(batch)
            return
        model.zero_grad(set_to_none=True)
        outputs = model(batch)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        sum(output.float().square().mean() for output in outputs).backward()

    return step


def measure(args: argparse.Namespace) -> list[dict]:
    """Time a model and its peers, each in both memory layouts, of which the faster counts."""
    train = args.command == 'train'
    if args.compile and not train:
        from torch._inductor import config as inductor_config

        inductor_config.freezing = True
    sides = {}
    images = torch.randn(args.batch, 3, *args.shape, device=args.device, dtype=DTYPES[args.dtype])
    for name in (args.model, *args.peers):
        for layout in (torch.contiguous_format, torch.channels_last):
            model = make_model(name, args.shape).to(args.device, DTYPES[args.dtype], memory_format=layout).train(train)
            batch = images.to(memory_format=layout)
            key = f'{name} {"NHWC" if layout == torch.channels_last else "NCHW"}'
            sides[key] = make_step(model, batch, train)
            if args.compile:
                sides[f'{key} compiled'] = make_step(torch.compile(model, dynamic=False), batch, train)
    seconds = time_interleaved(sides, args.repeats, args.device)
    rows = []
    for suffix in ('', ' compiled') if args.compile else ('',):
        fastest = {
            name: min((seconds[f'{name} {layout}{suffix}'], layout) for layout in ('NCHW', 'NHWC'))
            for name in (args.model, *args.peers)
        }
        for name, (value, layout) in fastest.items():
            memory = measure_peak_memory(sides[f'{name} {layout}{suffix}'], args.device)
            rows.append(
                dict(
                    model=name + suffix,
                    layout=layout,
                    images_per_second=args.batch / value,
                    ratio=value / fastest[args.model][0],
                    peak_bytes=memory,
                )
            )
    return rows


def show(rows: list[dict], args: argparse.Namespace) -> None:
    print(
        f'batch {args.batch}, {args.dtype}, {args.shape[0]} x {args.shape[1]} px, {args.device}, '
        f'{"forward + backward" if args.command == "train" else "forward"}'
    )
    print_table(
        ['model', 'layout', 'images/s', 'its time / ours', 'peak MiB'],
        [
            [
                row['model'],
                row['layout'],
                f'{row["images_per_second"]:.1f}',
                f'{row["ratio"]:.2f}',
                f'{row["peak_bytes"] / 2**20:.0f}',
            ]
            for row in rows
        ],
    )
