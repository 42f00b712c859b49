"""Show what the colour queries of a network look at: one row for each photograph, one heat map for each query."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualattn.commands.files import check_new_file, check_weights
from dualattn.commands.parser import CommandParser, explain

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

    from colorization.pipeline import Colorizer

EPILOG = """The maps are those of DDColor Fig. 7 and MPT Fig. 9: the sigmoid of the product of a query and the image
embedding, red where it is high and blue where it is low, each stretched to its own range. Of a network with a
palette it is the share of the query's colour.

examples:
  the queries that tell most about these photographs
      dualattn queries photos/*.jpg -o queries.png
  three queries by their numbers, of a DDColor
      dualattn queries dog.jpg -o queries.png --weights ddcolor_modelscope.pth --queries 3 17 42

exit codes: 0 written, 1 written, but some photographs could not be read (named at the end), 2 nothing was written
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('queries', __doc__, EPILOG)
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='photographs, folders or quoted glob patterns')
    parser.add_argument('-o', '--out', required=True, type=Path, help='.png file to write')
    parser.add_argument('--overwrite', action='store_true', help='replace an output that exists')
    parser.add_argument('--weights', help='weights file, also a released DDColor (default: the one in the package)')
    parser.add_argument('--config', help='training config; its model.generator describes the network of --weights')
    parser.add_argument('--queries', type=int, nargs='+', metavar='N', help='numbers of queries to show, from 0')
    parser.add_argument('--count', type=int, default=6, help='how many to choose where none are named (6)')
    parser.add_argument('--size', type=int, help='side of the square whose area the network sees (default: its own)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, mps, ... (default: a GPU where there is one)')
    parser.add_argument('--tile', type=int, default=192, help='pixels of the longer side of each picture (192)')
    args = parser.parse_args(argv)
    for name in ('count', 'tile'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} has to be at least 1, got {getattr(args, name)}')
    return args


def check_output(out: Path, sources: Sequence[Path], overwrite: bool) -> None:
    """Refuse an output that is no .png file, is one of the photographs, or exists.

    Raises:
        ValueError: it is one of the former two.
        FileExistsError: it exists, and `overwrite` is False.
    """
    if out.suffix.lower() != '.png':
        raise ValueError(f'{out}: the sheet is a .png file')
    if out.resolve() in {source.resolve() for source in sources}:
        raise ValueError(f'{out} is an input and would be replaced; choose another -o')
    check_new_file(out, overwrite)


def read_photos(sources: Sequence[Path]) -> tuple[dict[Path, np.ndarray], list[str]]:
    """Return the photographs that can be read by their paths, and what is wrong with the others.

    Raises:
        ImageError: none can be read.
    """
    from dualattn.io.photos import ImageError, read_rgb

    photos, failed = {}, []
    for source in sources:
        try:
            photos[source] = read_rgb(source)
        except ImageError as error:
            failed.append(str(error))
    if not photos:
        raise ImageError('; '.join(failed))
    return photos, failed


def show_queries(network: Any, l: Tensor) -> Tensor:
    """Return where each colour query responds (K, h, w): its map, or the share of its colour, for l (1, 1, H, W)."""
    from colorization.decoders.palette import has_palette

    if has_palette(network):
        return (network.forward_scores(l)[0] / network.to_ab.temperature).softmax(dim=0)
    return network.forward_color_maps(l)[0]


def choose_queries(maps: Sequence[Tensor], network: Any, count: int) -> list[int]:
    """Return the numbers of the queries that move the predicted colours most, over all photographs.

    A query moves them by the deviation of its map within a photograph times the length of its column in the last
    convolution; with a palette, by that of its colour's share times the chroma of the colour.

    Args:
        maps: (K, h, w) of each photograph, what `show_queries` gives.
        network: whose maps these are.
        count: of queries.
    """
    import torch

    from colorization.decoders.palette import has_palette

    head = network.to_ab
    reach = head.colors.norm(dim=1) if has_palette(network) else head.weight[:, : len(maps[0]), 0, 0].norm(dim=0)
    spread = torch.stack([each.flatten(1).std(dim=1) for each in maps]).mean(dim=0)
    return (spread * reach.detach().float().cpu()).argsort(descending=True)[:count].tolist()


def draw_map(heat: Tensor, size: tuple[int, int]) -> Image.Image:
    """Colour one map (H, W) from blue (its lowest value) to red (its highest), at the size of the photograph."""
    import cv2
    from PIL import Image

    heat = (heat - heat.min()) / (heat.max() - heat.min()).clamp(min=1e-12)
    levels = (heat * 255).round().byte().numpy()
    return Image.fromarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)).resize(size)


def draw(
    photos: dict[Path, np.ndarray], colorizer: Colorizer, maps: Sequence[Tensor], queries: Sequence[int]
) -> list[list[Image.Image]]:
    """Return the rows of the sheet: each photograph, its colours, and the maps of the queries."""
    from PIL import Image

    return [
        [
            Image.fromarray(rgb),
            Image.fromarray(colorizer(rgb)),
            *(draw_map(heat[query], (rgb.shape[1], rgb.shape[0])) for query in queries),
        ]
        for rgb, heat in zip(photos.values(), maps, strict=True)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the sheet; see the exit codes in EPILOG."""
    args = parse_args(argv)
    try:
        check_weights(args.weights)
    except FileNotFoundError as error:
        print(f'queries: {error}', file=sys.stderr)
        return 2
    import torch

    from colorization.checkpoints import default_weights_path, load_network
    from colorization.decoders.palette import has_palette
    from colorization.luminance import extract_l
    from colorization.pipeline import Colorizer, read_network_config, resize_l
    from colorization.sheet import draw_sheet, save_sheet
    from dualattn.devices import choose_device
    from dualattn.io.photos import list_images

    try:
        sources = list_images(args.inputs)
        check_output(args.out, sources, args.overwrite)
        config = read_network_config(args.config) if args.config else None
        device = choose_device(args.device)
        network: Any = load_network(args.weights or default_weights_path(), config, device=device)
        colorizer = Colorizer(network, size=args.size, device=device)
        photos, failed = read_photos(sources)
        maps = []
        for rgb in photos.values():
            l = resize_l(extract_l(rgb)[None, None], colorizer.size)
            with torch.inference_mode():
                maps.append(show_queries(network, l.to(colorizer.device)).float().cpu())
        queries = args.queries or choose_queries(maps, network, args.count)
        wrong = [query for query in queries if not 0 <= query < len(maps[0])]
        if wrong:
            raise ValueError(f'queries are numbered 0 to {len(maps[0]) - 1}, got {", ".join(map(str, wrong))}')
        heat = maps if has_palette(network) else [each.sigmoid() for each in maps]
        rows = draw(photos, colorizer, heat, queries)
        headers = ['input', 'colorized', *(f'query {query}' for query in queries)]
        save_sheet(draw_sheet(rows, headers, [source.name for source in photos], args.tile), args.out)
    except (ValueError, OSError, RuntimeError, ImportError, SyntaxError, LookupError) as error:
        print(f'queries: {explain(error)}', file=sys.stderr)
        return 2
    print(f'{args.out}: {len(rows)} photographs, queries {", ".join(map(str, queries))}')
    sys.stderr.writelines(f'failed: {line}\n' for line in failed)
    return 1 if failed else 0
