"""Films made from photographs: colours carried along the flow against frame by frame.

Each clip is a camera's motion over photographs in colour, so that the true colours and the true motion are known: a
pan, a zoom, an object of another photograph that moves over a ground, and short pans with cuts between them. Frames are
read as 8-bit luma, coloured, joined to Y, Cb and Cr (4:2:0) and turned into RGB; nothing is encoded. The warp error
is the mean distance in Lab units between the ab of a pixel and of where it truly was one frame before, as far as that
was in view and no cut lies between. CDC on ab compares histograms one, two and four frames apart. Both are low for a
gray film, which is why CF and PSNR stand beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dualattn.benchmarks.record import Row, Run
from dualattn.benchmarks.suite import Goal, Table

if TYPE_CHECKING:
    import numpy as np

    from colorization.pipeline import Colorizer

SINGLE, CARRIED = 'frame by frame', 'carried'
KINDS = ('pan', 'zoom', 'object over ground', 'cuts')
CUT_EVERY = 8  # frames
SPEED = 0.018  # of the height, by which a pan goes on in a frame
BT709 = (0.2126, 0.7152, 0.0722)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this suite."""
    parser.add_argument('--folder', type=Path, required=True, help='colour photographs, such as photos/val')
    parser.add_argument('--clips', type=int, default=3, metavar='N', help='of each kind (3)')
    parser.add_argument('--frames', type=int, default=24, metavar='N', help='of a clip (24)')
    parser.add_argument('--side', type=int, default=256, metavar='N', help='height in pixels; 4:3 (256)')
    parser.add_argument('--weights', type=Path, help='weights file (default: the one in the package)')


@dataclass(frozen=True)
class Clip:
    """A film whose motion is known.

    Attributes:
        frames: (T, H, W, 3) uint8 sRGB.
        flow: (T - 1, H, W, 2) where each pixel was one frame before, in pixels from here.
        is_known: (T - 1, H, W) bool, where it was in view.
    """

    frames: np.ndarray
    flow: np.ndarray
    is_known: np.ndarray


def make_clip(kind: str, photos: Sequence[np.ndarray], frames: int, side: int, seed: int) -> Clip:
    """Move a camera over photographs (H, W, 3) uint8; the same seed gives the same clip.

    Args:
        kind: one of `KINDS`.
        photos: one; two for an object over ground; as many as there are shots for cuts.
        frames: how many.
        side: height of a frame; its width is 4/3 of that.
        seed: of the directions.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    height, width = side, round(side * 4 / 3 / 2) * 2
    if kind == 'cuts':
        shots = [
            make_clip('pan', [photo], min(CUT_EVERY, frames - start), side, seed + number)
            for number, (photo, start) in enumerate(zip(photos, range(0, frames, CUT_EVERY), strict=False))
        ]
        gap = np.zeros((1, height, width), bool)
        known = [part for shot in shots for part in (shot.is_known, gap)][:-1]
        flow = [part for shot in shots for part in (shot.flow, np.zeros((1, height, width, 2), np.float32))][:-1]
        return Clip(np.concatenate([shot.frames for shot in shots]), np.concatenate(flow), np.concatenate(known))
    angle = random.uniform(0, 2 * np.pi)
    # from a pixel of the frame, from its centre, to a place of the photograph: scale and shift, frame by frame
    steps = np.linspace(-1, 1, frames)
    zoom = {'zoom': 1.5 ** -((steps + 1) / 2)}.get(kind, np.ones(frames))
    reach = {'pan': SPEED * (frames - 1) / 2, 'object over ground': 0.08}.get(kind, 0.0) * height
    ground = _Layer(photos[0], height, width, 0.62 * zoom, reach * np.outer(steps, [np.sin(angle), np.cos(angle)]))
    if kind != 'object over ground':
        return _render([ground], frames, height, width)
    away = -0.3 * height * np.outer(steps, [0.3 * np.sin(angle), np.sign(np.cos(angle))])
    return _render(
        [ground, _Layer(photos[1], height, width, np.full(frames, 0.9), away, radius=0.28)], frames, height, width
    )


class _Layer:
    """A photograph that a camera sees, whole or through an ellipse that moves with it."""

    def __init__(self, photo, height, width, scale, shift, radius=None):
        self.photo, self.shape, self.scale, self.shift, self.radius = photo, (height, width), scale, shift, radius

    def find(self, frame, y, x):
        """Return places (y, x) of a frame, from its centre, on the layer, in units of the frame's pixels."""
        return y * self.scale[frame] + self.shift[frame, 0], x * self.scale[frame] + self.shift[frame, 1]

    def place(self, frame, v, u):
        """Return where places of the layer are in a frame, from its centre."""
        return (v - self.shift[frame, 0]) / self.scale[frame], (u - self.shift[frame, 1]) / self.scale[frame]

    def covers(self, v, u):
        import numpy as np

        if self.radius is None:
            return np.ones(v.shape, bool)
        return (v / self.shape[0]) ** 2 + (u / self.shape[1]) ** 2 < self.radius**2

    def look(self, v, u):
        """Return the colours (H, W, 3) at places of the layer; the photograph fills the frame at a scale of 1."""
        import cv2

        height, width = self.photo.shape[:2]
        unit = min(height / self.shape[0], width / self.shape[1])
        x, y = (u * unit + width / 2 - 0.5).astype('float32'), (v * unit + height / 2 - 0.5).astype('float32')
        return cv2.remap(self.photo, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _render(layers, frames, height, width) -> Clip:
    """Draw layers, the last one on top."""
    import numpy as np

    y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing='ij')
    pictures, flows, known = [], [], []
    owners: list[np.ndarray] = []
    for frame in range(frames):
        picture = np.zeros((height, width, 3), np.uint8)
        flow = np.zeros((height, width, 2), np.float32)
        owner = np.zeros((height, width), int)
        for number, layer in enumerate(layers):
            v, u = layer.find(frame, y, x)
            inside = layer.covers(v, u)
            picture[inside] = layer.look(v, u)[inside]
            owner[inside] = number
            if frame:
                before = layer.place(frame - 1, v, u)
                flow[inside] = np.stack([before[1] - x, before[0] - y], axis=-1)[inside]
        pictures.append(picture)
        if frame:
            rows = np.round(y + flow[..., 1] + (height - 1) / 2).astype(int)
            columns = np.round(x + flow[..., 0] + (width - 1) / 2).astype(int)
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            seen = owners[-1][rows.clip(0, height - 1), columns.clip(0, width - 1)] == owner
            flows.append(flow)
            known.append(inside & seen)
        owners.append(owner)
    return Clip(np.stack(pictures), np.stack(flows), np.stack(known))


def color_clip(colorizer: Colorizer, clip: Clip, steady: bool) -> tuple[np.ndarray, int, float]:
    """Return a clip coloured from its luma (T, H, W, 3) uint8, how often the network ran, and the seconds it took."""
    import time

    import numpy as np

    from colorization.video.coloring import Guide, ShotColorizer
    from colorization.video.formats import Format
    from colorization.video.reading import LumaFrame
    from colorization.video.shots import find_pieces
    from colorization.video.writing import join_chroma

    height, width = clip.frames.shape[1:3]
    shape = Format(width, height, 'yuv420p', 'yuv420p', 8, True, False, BT709, '420', 2, 1, 1, 1)
    lumas = (clip.frames @ np.array(BT709)).round().clip(0, 255).astype(np.uint8)
    frames = [LumaFrame(luma, number, 1) for number, luma in enumerate(lumas)]
    began = time.perf_counter()
    pieces = list(find_pieces(frames, shape)) if steady else []
    painter = ShotColorizer(shape, steady=steady)
    colored = []
    for first, count in [(piece.first, piece.count) for piece in pieces] or [(0, len(frames))]:
        for frame, ab in painter.color(frames[first : first + count], Guide(colorizer), first, count):
            colored.append((frame.luma, *join_chroma(frame.luma, ab, shape)))
    seconds = time.perf_counter() - began
    return np.stack([_to_rgb(*planes) for planes in colored]), painter.predictions, seconds


def _to_rgb(luma, cb, cr) -> np.ndarray:
    """Return 4:2:0 of full range in BT.709 as RGB, its chroma enlarged as a player does."""
    import cv2
    import numpy as np

    size = luma.shape[::-1]
    cb, cr = (cv2.resize(plane.astype(np.float32) - 128, size, interpolation=cv2.INTER_LINEAR) for plane in (cb, cr))
    red, blue = luma + 2 * (1 - BT709[0]) * cr, luma + 2 * (1 - BT709[2]) * cb
    green = (luma - BT709[0] * red - BT709[2] * blue) / BT709[1]
    return np.stack([red, green, blue], axis=-1).round().clip(0, 255).astype(np.uint8)


def measure_warp_error(frames: np.ndarray, clip: Clip) -> float:
    """Return the mean distance, in Lab units, between the ab (T, H, W, 3 sRGB) of a pixel and of itself before."""
    import numpy as np
    import torch

    from colorization.color import rgb_to_lab
    from colorization.video.flow import warp

    _, chroma = rgb_to_lab(torch.from_numpy(frames.astype(np.float32) / 255).permute(0, 3, 1, 2))
    ab = chroma.permute(0, 2, 3, 1).numpy()
    total, count = 0.0, 0
    for number, (flow, known) in enumerate(zip(clip.flow, clip.is_known, strict=True)):
        apart = np.linalg.norm(ab[number + 1] - warp(ab[number], flow), axis=2)[known]
        total, count = total + float(apart.sum()), count + apart.size
    return total / max(count, 1)


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """Colour each clip both ways."""
    import numpy as np
    import torch
    from tqdm import tqdm

    from colorization.benchmarks.upsampling import psnr
    from colorization.evaluation.measures import color_distribution_consistency
    from colorization.metrics.colorfulness import colorfulness
    from colorization.pipeline import Colorizer
    from dualattn.io.photos import list_images, read_rgb

    paths = list_images([args.folder], recursive=True)
    shots = -(-args.frames // CUT_EVERY)
    if len(paths) < 2 or args.clips < 1 or args.frames < 2:
        raise ValueError('expected at least two photographs, one clip and two frames')
    colorizer = Colorizer.from_pretrained(args.weights)
    colorizer.predict_ab(torch.zeros(1, 1, args.side, args.side))  # what is done once is not timed
    taken = 0
    for kind in KINDS:
        for number in tqdm(range(args.clips), desc=kind, leave=False, unit='clip', disable=None):
            needed = {'object over ground': 2, 'cuts': shots}.get(kind, 1)
            photos = [read_rgb(paths[(taken + each) * 7 % len(paths)]) for each in range(needed)]
            taken += needed
            clip = make_clip(kind, photos, args.frames, args.side, number)
            for side in (SINGLE, CARRIED):
                frames, predictions, seconds = color_clip(colorizer, clip, steady=side == CARRIED)
                tensors = [torch.from_numpy(frame).permute(2, 0, 1) for frame in frames]
                figures = dict(
                    warp_error=measure_warp_error(frames, clip),
                    warp_error_truth=measure_warp_error(clip.frames, clip),
                    cdc_ab=color_distribution_consistency(tensors),
                    psnr_db=float(np.mean([psnr(*pair) for pair in zip(frames, clip.frames, strict=True)])),
                    cf=float(np.mean([colorfulness(tensor / 255).item() for tensor in tensors])),
                    predictions_per_frame=predictions / len(frames),
                    frames_per_second=len(frames) / seconds,
                )
                yield Row(dict(kind=kind, clip=number), side, figures=figures)


_COLUMNS = dict(
    warp_error='.3f', cdc_ab='.5f', psnr_db='.2f', cf='.1f', predictions_per_frame='.2f', frames_per_second='.2f'
)


def _means(run: Run) -> dict[tuple[str, str], dict[str, float]]:
    """Return the mean figures by kind and side; the kind 'all' is the mean over all clips."""
    rows: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    for case, sides in run.sides().items():
        for side, row in sides.items():
            for kind in (dict(case)['kind'], 'all'):
                rows.setdefault((kind, side), []).append(row.figures)
    return {
        key: {name: sum(each[name] for each in figures) / len(figures) for name in _COLUMNS}
        for key, figures in rows.items()
    }


def tabulate(run: Run) -> Table:
    """Show the means of each kind, both ways."""
    heading = ['warp error (Lab)', 'CDC on ab', 'PSNR (dB)', 'CF', 'predictions per frame', 'frames per second']
    rows = [
        [kind, side, *(format(figures[name], form) for name, form in _COLUMNS.items())]
        for (kind, side), figures in _means(run).items()
    ]
    return Table(['clips', 'colours', *heading], rows)


def judge(run: Run) -> list[Goal]:
    """Compare with frame by frame, over all clips."""
    means = _means(run)
    if ('all', CARRIED) not in means or ('all', SINGLE) not in means:
        return []
    ours, single = means['all', CARRIED], means['all', SINGLE]
    return [
        Goal(
            'warp error, as a share of frame by frame',
            0.5,
            ours['warp_error'] / single['warp_error'],
            at_most=True,
            timed=False,
        ),
        Goal('dB over frame by frame', 0.0, ours['psnr_db'] - single['psnr_db'], timed=False),
        Goal(
            'CF, distance from frame by frame as a share',
            0.05,
            abs(1 - ours['cf'] / single['cf']),
            at_most=True,
            timed=False,
        ),
    ]
