"""`dualattn palette`: choose the colours of a palette head from the photographs that a config trains on."""

import argparse
from collections.abc import Iterator, Sequence

SIDE = 36  # pixels; a quarter of the 144 that the trainings see, the resolution at which the head answers


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='dualattn palette',
        description='Choose the colours of a palette head by k-means on the training photographs of a config.',
        epilog='example: dualattn palette colorize/mpt_small.py -o my_palette.json --colors 128',
    )
    parser.add_argument('config', help='training config; its train_dataloader names the photographs')
    parser.add_argument('-o', '--output', required=True, metavar='FILE', help='palette to be written, JSON')
    parser.add_argument('--colors', type=int, default=128, metavar='K', help='number of colours (128)')
    parser.add_argument('--seed', type=int, default=0, help='seed of k-means (0)')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the palette; return the exit code."""
    args = parse_args(argv)
    from mmengine.config import Config
    from mmengine.registry import DATASETS

    import colorization.data  # noqa: F401  registers the data sets
    from colorization.palette import make_palette, write_palette

    config = Config.fromfile(args.config)
    resize = dict(type='torchvision/Resize', size=SIDE, antialias=True)
    photos = dict(config.train_dataloader.dataset, prepare=[resize], augment=[], degrade=[], cache=False)
    dataset = DATASETS.build(photos)
    palette = make_palette(_read_colors(dataset), args.colors, args.seed)
    note = f'k-means of {len(dataset)} photographs at a short side of {SIDE} pixels, seed {args.seed}'
    write_palette(palette, args.output, made_from=note)
    print(f'{args.output}: {len(palette.colors)} colours of {len(dataset)} photographs')
    return 0


def _read_colors(dataset) -> Iterator:
    """Yield the colours of each photograph, (N, 2) in Lab units."""
    from tqdm import tqdm

    from colorization.color import rgb_to_lab

    for index in tqdm(range(len(dataset)), unit='photo'):
        _, ab = rgb_to_lab(dataset[index]['inputs'][None].float() / 255)
        yield ab[0].flatten(1).T.numpy()


if __name__ == '__main__':
    raise SystemExit(main())
