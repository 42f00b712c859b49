"""Draw the figures of the concepts pages, each by running what it shows: docs/images/concept_*.

Which tokens and channels meet is read off the operators' derivatives, and the distribution over colours off the
packaged weights, so that a figure cannot say other than the code.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor

from dualattn import ops
from dualattn.io.files import write_whole

matplotlib.use('Agg')
from matplotlib import pyplot as plt

IMAGES = Path(__file__).resolve().parents[1] / 'docs' / 'images'
MAP = 14  # tokens on each side of the drawn map
WINDOW = 7
CHANNELS, GROUPS = 24, 4
COLORS = ['#d1495b', '#2e6f95']
MEMBER = ['#edae49', '#66a182', '#8d96a3', '#2e4057']
PLACES = [
    (0.09, 0.48, 'hair'),
    (0.62, 0.28, 'suit'),
    (0.41, 0.45, 'collar'),
]  # of the astronaut: down, right, what it is


def find_sources(token: tuple[int, int]) -> np.ndarray:
    """Return whose values reach the answer at one token of Separable Dilated Attention, (MAP, MAP) bool."""
    qkv = torch.randn(1, MAP, MAP, 3 * 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    out = ops.separable_dilated_attention(qkv, (WINDOW, WINDOW), 1, 8**-0.5)
    (slope,) = torch.autograd.grad(out[0, token[0], token[1]].sum(), qkv)
    return (slope[0, ..., -8:].abs().sum(-1) > 0).numpy()


def draw_grid(axes: plt.Axes, title: str) -> None:
    """Draw the lines between the tokens of a map."""
    axes.set_title(title, fontsize=10)
    axes.set_xticks(np.arange(-0.5, MAP), labels=[])
    axes.set_yticks(np.arange(-0.5, MAP), labels=[])
    axes.grid(color='white', linewidth=1)
    axes.tick_params(length=0)


def draw_dilated_window() -> plt.Figure:
    """Draw windows of neighbours, as Swin has them, beside the dilated windows that the operator attends in."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.6, 3.5), layout='constrained')
    neighbours = np.add.outer(np.arange(MAP) // WINDOW * 2, np.arange(MAP) // WINDOW)
    windows = np.zeros((MAP, MAP), int)
    for number, token in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        windows[find_sources(token)] = number
    members = matplotlib.colors.ListedColormap(MEMBER)
    left.imshow(neighbours, cmap=members)
    draw_grid(left, f'windows of {WINDOW} x {WINDOW} neighbours')
    middle.imshow(windows, cmap=members)
    draw_grid(middle, f'dilated windows of {WINDOW} x {WINDOW}')
    seen = np.ones((MAP, MAP, 3))
    seen[:] = matplotlib.colors.to_rgb('#e6e6e6')
    for color, token in zip(COLORS, [(4, 9), (9, 4)], strict=True):
        seen[find_sources(token)] = matplotlib.colors.to_rgb(color)
    right.imshow(seen)
    for color, token in zip(COLORS, [(4, 9), (9, 4)], strict=True):
        right.plot(token[1], token[0], 'o', color='white', markeredgecolor=color, markersize=6)
    draw_grid(right, 'what two tokens (rings) attend to')
    return figure


def draw_channel_attention() -> plt.Figure:
    """Draw which channels meet in Factorized Channel Attention, and what its matrix costs beside that of tokens."""
    generator = torch.Generator().manual_seed(3)
    qkv = torch.randn(1, MAP, MAP, 3 * CHANNELS, generator=generator)
    qkv[..., : 2 * CHANNELS] *= 0.6
    qkv.requires_grad_()
    out = ops.factorized_channel_attention(qkv, GROUPS, (CHANNELS // GROUPS) ** -0.5)
    rows = [
        torch.autograd.grad(out[0, 0, 0, c], qkv, retain_graph=True)[0][0, 0, 0, -CHANNELS:] for c in range(CHANNELS)
    ]
    weights: Tensor = torch.stack(rows)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.8), layout='constrained')
    picture = left.imshow(weights, cmap='Purples', vmin=0)
    left.set(xlabel='channel of the values', ylabel='channel of the answer')
    left.set_title(f'{CHANNELS} channels in {GROUPS} groups: who hears whom', fontsize=10)
    figure.colorbar(picture, ax=left, shrink=0.85, label='weight')
    sides = np.array([14, 28, 56, 112])
    channels, group, window = 96, 32, 7
    right.loglog(sides**2, sides**4 * channels, label='all tokens with all tokens', color='#8d96a3')
    right.loglog(
        sides**2, sides**2 * window**2 * channels, label=f'dilated windows, {window} x {window}', color=COLORS[0]
    )
    right.loglog(sides**2, sides**2 * group * channels, label=f'channels, groups of {group}', color=COLORS[1])
    right.set(xlabel='tokens of the map', ylabel=f'products for the logits, C = {channels}')
    right.set_title('what the logits cost', fontsize=10)
    right.legend(fontsize=8, frameon=False)
    return figure


def draw_palette() -> plt.Figure:
    """Draw the distribution over the palette at three places of a photograph, by the packaged weights."""
    from PIL import Image

    from colorization import Colorizer
    from colorization.color import lab_to_rgb
    from colorization.luminance import extract_l
    from colorization.samples import packaged_color_photos

    colorizer = Colorizer.from_pretrained()
    gray = np.asarray(Image.open(packaged_color_photos()['astronaut']).convert('L'))
    head = colorizer.network.to_ab
    scores = colorizer.predict_scores(torch.as_tensor(extract_l(gray))[None, None])
    colors = head.colors.numpy()
    flat = torch.cat([torch.full((len(colors), 1), 65.0), head.colors.float()], 1).T[None, :, :, None]
    shown = lab_to_rgb(flat[:, :1], flat[:, 1:])[0, :, :, 0].T.clamp(0, 1).numpy()
    figure, axes = plt.subplots(1, 1 + len(PLACES), figsize=(11, 3.0), layout='constrained')
    axes[0].imshow(np.asarray(Image.fromarray(gray).resize((256, 256))), cmap='gray', extent=(0, *gray.shape, 0))
    axes[0].set_axis_off()
    for each, (down, right, name) in zip(axes[1:], PLACES, strict=True):
        height, width = gray.shape
        axes[0].plot(right * width, down * height, 'o', color='white', markeredgecolor='black')
        axes[0].annotate(name, (right * width + 14, down * height), color='white', fontsize=9, va='center')
        z = scores[0, :, int(down * scores.shape[2]), int(right * scores.shape[3])]
        shares = z.softmax(0).numpy()
        each.scatter(*colors.T, s=900 * shares + 2, c=shown, edgecolors='#55555555', linewidths=0.4)
        for temperature, mark in ((1.0, '+'), (head.temperature / 2, 'x')):
            mean = head.mix(z[None, :, None, None], temperature).flatten()
            each.plot(*mean.tolist(), mark, color='black', markersize=8, label=f'mean, T = {temperature:.2g}')
        each.set_title(name, fontsize=10)
        each.set(xlim=(-60, 80), ylim=(-70, 85), xlabel='a')
        each.axhline(0, color='#cccccc', linewidth=0.6, zorder=0)
        each.axvline(0, color='#cccccc', linewidth=0.6, zorder=0)
    axes[1].set_ylabel('b')
    axes[1].legend(fontsize=7, frameon=False, loc='lower left')
    return figure


FIGURES = {
    'concept_dilated_window.svg': draw_dilated_window,
    'concept_channel_attention.svg': draw_channel_attention,
    'concept_palette.png': draw_palette,
}


def main() -> int:
    """Draw all figures, or those whose names are given, into docs/images."""
    # the same bytes from the same code
    matplotlib.rcParams.update({'svg.hashsalt': 'dualattn', 'svg.fonttype': 'path', 'font.size': 9})
    for name in sys.argv[1:] or FIGURES:
        figure = FIGURES[name]()
        with write_whole(IMAGES / name) as aside:
            figure.savefig(aside, dpi=96, metadata=dict(Date=None) if name.endswith('.svg') else dict(Software=None))
        plt.close(figure)
        print(f'{IMAGES / name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
