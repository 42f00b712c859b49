"""Make the colour memory of MPT Table II (CM): what the encoder sees in photographs, and which colours belong to it.

The encoder of the config should have been trained to recognise things (`encoder_weights`): it is shown the lightness of
the training photographs, and k-means sorts what it finds.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dualattn.commands.parser import CommandParser, explain

EPILOG = """example:
  dualattn memory configs/colorize/ablations/mpt_memory.py -o memory.safetensors
  dualattn train configs/colorize/ablations/mpt_memory.py \\
      --cfg-options model.generator.memory=memory.safetensors

exit codes: 0 written, 2 the photographs cannot be read or are too few, or the file cannot be written
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('memory', __doc__, EPILOG)
    parser.add_argument('config', help='training config; its train_dataloader names the photographs')
    parser.add_argument('-o', '--out', required=True, type=Path, metavar='FILE', help='.safetensors file to write')
    parser.add_argument('--photos', metavar='DIR', help='folder of photographs (default: the config)')
    parser.add_argument(
        '--encoder-weights', metavar='FILE', help='classification weights of the encoder (default: the config)'
    )
    parser.add_argument('--count', type=int, default=10000, metavar='N', help='photographs (default: 10000)')
    parser.add_argument('--side', type=int, default=256, metavar='PX', help='size of the photographs (default: 256)')
    parser.add_argument('--seed', type=int, default=0, help='draws photographs and first centres (default: 0)')
    parser.add_argument('--overwrite', action='store_true', help='replace the output if it exists')
    args = parser.parse_args(argv)
    for name in ('count', 'side'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} takes at least 1, got {getattr(args, name)}')
    if args.out.suffix != '.safetensors':
        parser.error(f'--out takes a .safetensors file, got {args.out}')
    if args.out.exists() and not args.overwrite:
        parser.error(f'{args.out} exists; use --overwrite to replace it')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Make a memory; see the exit codes in EPILOG."""
    args = parse_args(argv)
    import torch

    from colorization.data.dataset import open_training_photos
    from colorization.encoders import PyramidEncoder
    from colorization.memory import make_memory, write_memory
    from dualattn.configs import read_config

    try:
        cfg = read_config(args.config)
        generator = cfg.get('model', {}).get('generator')
        if generator is None:
            raise ValueError(f'{args.config}: has no model.generator, whose encoder looks at the photographs')
        weights = args.encoder_weights or generator.get('encoder_weights')
        if weights is None:
            print(
                'memory: the encoder is untrained: what it finds are patterns, no meanings; --encoder-weights names '
                'those of a classifier',
                file=sys.stderr,
            )
        torch.manual_seed(args.seed)
        encoder = PyramidEncoder(
            generator.get('encoder', 'dualattn_mpt'),
            in_chans=1,
            weights=weights,
            trunk_kwargs=generator.get('encoder_kwargs'),
        ).eval()
        dataset = open_training_photos(cfg, (args.side, args.side), args.photos)
        count = min(args.count, len(dataset))
        memory = make_memory(
            _read_places(encoder, dataset, count, args.seed),
            num_meanings=generator.get('num_meanings', 512),
            meaning_dim=generator.get('meaning_dim', 64),
            seed=args.seed,
        )
        note = f'{count} photographs at {args.side} x {args.side} pixels, seed {args.seed}'
        write_memory(memory, args.out, made_from=note, encoder=encoder.name)
    except (ValueError, OSError, RuntimeError) as error:
        print(f'memory: {explain(error)}', file=sys.stderr)
        return 2
    print(f'{args.out}: {len(memory.meanings)} meanings of {count} photographs, {len(memory.colors)} colours each')
    return 0


def _read_places(encoder, dataset, count: int, seed: int) -> Iterator:
    """Yield features (P, C) of the coarsest map of each photograph, and the ab (P, 2) of its places."""
    import torch
    import torch.nn.functional as F
    from tqdm import tqdm

    from colorization.color import normalize_l, rgb_to_lab

    drawn = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:count].sort().values
    for index in tqdm(drawn.tolist(), unit='photo', disable=not sys.stderr.isatty()):
        l, ab = rgb_to_lab(dataset[index]['inputs'][None].float() / 255)
        with torch.inference_mode():
            features = encoder(normalize_l(l))[-1]
        ab = F.interpolate(ab, size=features.shape[-2:], mode='area')
        yield features[0].flatten(1).T.numpy(), ab[0].flatten(1).T.numpy()
