"""Colours that a user gives to places of a photograph: points, strokes, regions; from Python, JSON or a painted PNG.

A hint says "this is that colour" (`#b03030`), "leave this gray" (`gray`) or "leave this as it is" (`keep`). How hints
spread is the matter of `colorization.propagation`.
"""

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageDraw

from colorization.color import rgb_to_lab

__all__ = ['Hint', 'HintError', 'Hints', 'Marks', 'read_hints']

KINDS = ('point', 'stroke', 'region')
GRAY = 'gray'
KEEP = 'keep'
MAX_HINTS = 1000
MAX_CORNERS = 10_000  # of all strokes and regions together
MAX_JSON_BYTES = 4 << 20
MAX_SIDE = 65_535  # pixels of the picture that hints are for
MAX_MARKS = 300  # the cost of spreading grows with their cube
CANVAS_SIDE = 512  # pixels of the longer side on which shapes are drawn and compared
SAME_COLOR = 8.0  # Lab units; hints that overlap and differ by more contradict each other
PAINTED_CHROMA = 6.0  # Lab units; on an opaque painting, what has more colour than a gray photograph's noise
GRAY_CHROMA = 1.0  # Lab units; what is painted or named in sRGB with less is gray, which rounding to 8 bits tints
_HEX = re.compile(r'#?([0-9a-fA-F]{6})')


class HintError(ValueError):
    """Hints that cannot be used; the message names the hint and what is expected."""


def parse_color(color: str | Sequence[float]) -> tuple[float, float] | None:
    """Return the (a, b) in Lab units of a colour, None for `keep`.

    Args:
        color: '#rrggbb', an sRGB colour whose lightness does not matter, gray up to `GRAY_CHROMA`; 'gray'; 'keep'; or
            (a, b) in Lab units.

    Raises:
        HintError: it is none of these.
    """
    if isinstance(color, str):
        if color == KEEP:
            return None
        if color == GRAY:
            return 0.0, 0.0
        match = _HEX.fullmatch(color)
        if match is None:
            raise HintError(f"colour {color!r:.40}: expected '#rrggbb', '{GRAY}' or '{KEEP}'")
        rgb = torch.tensor(list(bytes.fromhex(match[1]))) / 255
        _, ab = rgb_to_lab(rgb.view(1, 3, 1, 1))
        a, b = float(ab[0, 0]), float(ab[0, 1])
        return (a, b) if math.hypot(a, b) > GRAY_CHROMA else (0.0, 0.0)
    if not (_is_list(color, 2) and all(_is_number(value) and abs(value) <= 128 for value in color)):
        raise HintError(f'colour {color!r:.40}: expected two numbers from -128 to 128, a and b of Lab')
    return float(color[0]), float(color[1])


@dataclass(frozen=True)
class Hint:
    """One colour for one place.

    Attributes:
        kind: 'point', 'stroke' or 'region'.
        xy: corners (x, y) in pixels of the picture from its upper left corner: the point, the line of a stroke, the
            outline of a region, which is closed by itself.
        ab: colour in Lab units; None keeps what the network says.
        width: pixels across a point or a stroke.

    Raises:
        HintError: a value is none of these.
    """

    kind: str
    xy: tuple[tuple[float, float], ...]
    ab: tuple[float, float] | None
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise HintError(f'kind {self.kind!r:.40}: expected one of {", ".join(KINDS)}')
        if not all(_is_list(corner, 2) and all(_is_number(value) for value in corner) for corner in self.xy):
            raise HintError(f'{self.kind}: expected places as pairs of numbers (x, y)')
        least, most = {'point': (1, 1), 'stroke': (2, MAX_CORNERS), 'region': (3, MAX_CORNERS)}[self.kind]
        if not least <= len(self.xy) <= most:
            raise HintError(f'{self.kind}: expected from {least} to {most} places (x, y), got {len(self.xy)}')
        if not (_is_number(self.width) and 0 < self.width <= MAX_SIDE):
            raise HintError(f'{self.kind}: width must be more than 0 pixels, got {self.width!r:.40}')

    @classmethod
    def point(cls, x: float, y: float, color: str | Sequence[float], width: float = 1.0) -> 'Hint':
        """Give the colour of a place; `color` as for `parse_color`."""
        return cls('point', ((x, y),), parse_color(color), width)

    @classmethod
    def stroke(cls, xy: Iterable[Sequence[float]], color: str | Sequence[float], width: float = 1.0) -> 'Hint':
        """Give the colour along a line."""
        return cls('stroke', _to_pairs(xy), parse_color(color), width)

    @classmethod
    def region(cls, xy: Iterable[Sequence[float]], color: str | Sequence[float]) -> 'Hint':
        """Give the colour of all that lies inside an outline."""
        return cls('region', _to_pairs(xy), parse_color(color))


@dataclass
class Marks:
    """Hints as single places, ready to be spread.

    Attributes:
        yx: (n, 2) float, rows and columns in [0, 1] of the picture.
        ab: (n, 2) float in Lab units; NaN keeps what the network says.
        inside: (1 + 2, h, w) float on a small canvas: how much of each pixel a region covers, and the region's ab there
            (NaN keeps); None without regions.
    """

    yx: torch.Tensor
    ab: torch.Tensor
    inside: torch.Tensor | None = None


@dataclass(frozen=True)
class Hints:
    """All hints for one picture.

    Attributes:
        size: width and height in pixels of the picture that the places refer to.
        hints: the hints; none gives exactly the automatic result.
        painted: (n, 4) y, x in [0, 1] and a, b of what was painted into a PNG, on a grid; or None.

    Raises:
        HintError: a hint lies outside the picture, two contradict each other, or there are too many.
    """

    size: tuple[int, int]
    hints: tuple[Hint, ...] = ()
    painted: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not (_is_list(self.size, 2) and all(type(v) is int and 1 <= v <= MAX_SIDE for v in self.size)):
            raise HintError(f'size {self.size!r:.60}: expected width and height from 1 to {MAX_SIDE} pixels')
        object.__setattr__(self, 'hints', tuple(self.hints))
        if len(self.hints) > MAX_HINTS or sum(len(hint.xy) for hint in self.hints) > MAX_CORNERS:
            raise HintError(f'more than {MAX_HINTS} hints or {MAX_CORNERS} places; say it with fewer')
        width, height = self.size
        for number, hint in enumerate(self.hints, 1):
            for x, y in hint.xy:
                if not (0 <= x <= width and 0 <= y <= height):
                    raise HintError(
                        f'hint {number} ({hint.kind}) lies at x={x:g}, y={y:g}, outside the picture of '
                        f'{width} x {height} pixels'
                    )
        self._refuse_contradictions()

    def __bool__(self) -> bool:
        return bool(self.hints) or self.painted is not None

    def with_hint(self, hint: Hint) -> 'Hints':
        """Return these hints and one more."""
        return Hints(self.size, (*self.hints, hint), self.painted)

    def check_size(self, height: int, width: int) -> None:
        """Raise a `HintError` if the hints are for a picture of another shape.

        A picture of the same shape and another resolution will do: hints drawn on a preview hold for the scan.
        """
        own_width, own_height = self.size
        # one pixel of rounding on the shorter of the two sides
        if abs(own_width * height - own_height * width) > max(own_width, own_height, height, width):
            raise HintError(
                f'the hints are for a picture of {own_width} x {own_height} pixels, this one has {width} x {height}; '
                'draw them on this picture or on a copy of the same shape'
            )

    def to_marks(self) -> Marks:
        """Return the hints as single places, at most `MAX_MARKS`, evenly thinned where strokes give more.

        Raises:
            HintError: there are more points than that.
        """
        width, height = self.size
        scale = np.array([1 / height, 1 / width])
        step, points, lines = 1 / 96, [], []
        for hint in self.hints:
            ab = (math.nan, math.nan) if hint.ab is None else hint.ab
            if hint.kind == 'point':
                x, y = hint.xy[0]
                points.append([y * scale[0], x * scale[1], *ab])
            elif hint.kind == 'stroke':
                corners = np.array(hint.xy)[:, ::-1] * scale
                lines += [[*yx, *ab] for yx in _walk(corners, step)]
            else:
                rows, columns = np.nonzero(self._draw(hint))
                shape = self._canvas_shape
                cells = (rows // 12) * (CANVAS_SIDE + 1) + columns // 12
                for cell in np.unique(cells):
                    own = cells == cell
                    lines.append([(rows[own].mean() + 0.5) / shape[0], (columns[own].mean() + 0.5) / shape[1], *ab])
        if self.painted is not None:
            lines += self.painted.tolist()
        if len(points) > MAX_MARKS:
            raise HintError(f'{len(points)} points, of which at most {MAX_MARKS} can be spread')
        room = MAX_MARKS - len(points)
        if len(lines) > room:
            lines = [lines[i] for i in np.linspace(0, len(lines) - 1, room).round().astype(int)] if room else []
        marks = torch.tensor(points + lines, dtype=torch.float32).reshape(-1, 4)
        return Marks(marks[:, :2].contiguous(), marks[:, 2:].contiguous(), self._fill_regions())

    @property
    def _canvas_shape(self) -> tuple[int, int]:
        width, height = self.size
        scale = min(1, CANVAS_SIDE / max(self.size))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _draw(self, hint: Hint) -> np.ndarray:
        """Return the pixels (h, w) bool of the canvas that a hint covers."""
        shape = self._canvas_shape
        factor = shape[1] / self.size[0], shape[0] / self.size[1]
        xy = [(x * factor[0], y * factor[1]) for x, y in hint.xy]
        width = hint.width * factor[0]
        if hint.kind == 'point':  # the pixels whose centres a disc covers, and the one in which it lies
            (x, y), covered = xy[0], np.zeros(shape, bool)
            rows, columns = np.ogrid[: shape[0], : shape[1]]
            covered |= (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < width**2 / 4
            covered[min(int(y), shape[0] - 1), min(int(x), shape[1] - 1)] = True
            return covered
        canvas = Image.new('1', shape[::-1])
        draw = ImageDraw.Draw(canvas)
        xy = [(x - 0.5, y - 0.5) for x, y in xy]  # Pillow counts from centres of pixels, hints from corners
        if hint.kind == 'stroke':
            draw.line(xy, fill=1, width=max(1, round(width)))
        else:
            draw.polygon(xy, fill=1, outline=1)
        return np.array(canvas)

    def _refuse_contradictions(self) -> None:
        if len(self.hints) < 2:
            return
        owner = np.zeros(self._canvas_shape, np.int32)
        for number, hint in enumerate(self.hints, 1):
            covered = self._draw(hint)
            for other in np.unique(owner[covered]):
                if other and _contradict(hint, self.hints[other - 1]):
                    row, column = np.argwhere(covered & (owner == other))[0]
                    x = round(column * self.size[0] / self._canvas_shape[1])
                    y = round(row * self.size[1] / self._canvas_shape[0])
                    raise HintError(
                        f'hint {number} ({hint.kind}) contradicts hint {other} ({self.hints[other - 1].kind}): both '
                        f'lie at x={x}, y={y} and give different colours; remove one of them'
                    )
            owner[covered] = number

    def _fill_regions(self) -> torch.Tensor | None:
        regions = [hint for hint in self.hints if hint.kind == 'region']
        if not regions:
            return None
        inside = torch.zeros(3, *self._canvas_shape)
        for hint in regions:
            covered = torch.from_numpy(self._draw(hint))
            inside[0, covered] = 1
            inside[1:, covered] = torch.tensor((math.nan, math.nan) if hint.ab is None else hint.ab)[:, None]
        return inside

    @classmethod
    def from_json(cls, text: str | bytes) -> 'Hints':
        """Read hints from JSON; the form is in docs/hints.md.

        Raises:
            HintError: it is no JSON of that form; the message names the entry.
        """
        if len(text) > MAX_JSON_BYTES:
            raise HintError(f'{len(text)} bytes of JSON are more than the limit of {MAX_JSON_BYTES}')
        try:
            value = json.loads(text, object_pairs_hook=_refuse_doubles)
        except (ValueError, RecursionError) as error:
            raise HintError(f'no JSON: {error}') from error
        _check_keys(value, {'size', 'hints'}, set(), 'hints')
        if not isinstance(value['hints'], list):
            raise HintError('"hints" must be a list')
        if not isinstance(value['size'], list):
            raise HintError('"size" must be [width, height]')
        return cls(tuple(value['size']), tuple(_hint_from(entry, i) for i, entry in enumerate(value['hints'], 1)))

    def to_json(self) -> str:
        """Return the hints as JSON that `from_json` reads.

        Raises:
            HintError: they come from a painting.
        """
        if self.painted is not None:
            raise HintError('painted hints stay in their PNG; they have no form in JSON')
        entries = []
        for hint in self.hints:
            places = hint.xy[0] if hint.kind == 'point' else hint.xy
            entry = {hint.kind: places, 'color': KEEP if hint.ab is None else hint.ab}
            entries.append(entry if hint.kind == 'region' else {**entry, 'width': hint.width})
        return json.dumps(dict(size=self.size, hints=entries))

    @classmethod
    def from_painting(cls, pixels: np.ndarray, alpha: np.ndarray | None = None) -> 'Hints':
        """Take hints from a painting of the picture's shape.

        Args:
            pixels: (H, W, 3) uint8 sRGB: a layer that is transparent but for the paint, whose gray paint says "leave
                this gray"; or, without alpha, a gray copy of the photograph with coloured paint on it.
            alpha: (H, W) uint8; 128 and more is paint.

        Raises:
            HintError: there is no paint.
        """
        _, chroma = rgb_to_lab(torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None])
        ab = chroma[0].numpy()
        paint = np.hypot(*ab) > PAINTED_CHROMA if alpha is None else alpha >= 128
        if not paint.any():
            raise HintError(
                'no paint: expected a transparent layer with paint on it, or a gray copy of the photograph with '
                'coloured paint'
            )
        height, width = paint.shape
        rows, columns = np.nonzero(paint)
        values = ab[:, rows, columns]
        # one mark for what has one colour (to a step of 12) in one cell; larger cells until there are few enough
        for cells in (96, 64, 48, 32, 24, 16, 12, 8):
            side = max(height, width) / cells
            keys = np.stack([rows // side, columns // side, *np.round(values / 12)])
            _, index, counts = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
            if len(counts) <= MAX_MARKS:
                break
        index = index.ravel()
        means = [np.bincount(index, value) / counts for value in (rows, columns, *values)]
        gray = np.hypot(means[2], means[3]) <= GRAY_CHROMA
        means[2:] = [np.where(gray, 0, value) for value in means[2:]]
        marks = np.stack([(means[0] + 0.5) / height, (means[1] + 0.5) / width, means[2], means[3]], axis=1)
        if len(marks) > MAX_MARKS:  # a painting of many colours: the largest patches speak
            marks = marks[np.argsort(-counts, kind='stable')[:MAX_MARKS]]
        return cls((width, height), (), marks)


def read_hints(path: str | os.PathLike) -> Hints:
    """Read hints from a JSON file, or from a painted picture (PNG).

    Raises:
        HintError: the file holds no hints; the message names it.
        ImageError: the picture cannot be read.
        OSError: the file cannot be read.
    """
    from dualattn.io.photos import read_photo
    from dualattn.io.photos.photo import to_8_bit

    path = Path(path)
    try:
        if path.suffix.lower() == '.json':
            if path.stat().st_size > MAX_JSON_BYTES:
                raise HintError(f'more than {MAX_JSON_BYTES} bytes')
            return Hints.from_json(path.read_bytes())
        photo = read_photo(path)
        return Hints.from_painting(to_8_bit(photo.rgb), None if photo.alpha is None else to_8_bit(photo.alpha))
    except HintError as error:
        raise HintError(f'{path}: {error}') from error


def _to_pairs(xy: Iterable[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    # as many numbers as were given: `Hint` refuses what is no pair
    return cast(tuple[tuple[float, float], ...], tuple(tuple(place) for place in xy))


def _is_number(value: Any) -> bool:
    # JSON has whole numbers that no float can hold
    return isinstance(value, Real) and not isinstance(value, bool) and cast(float, abs(value)) <= sys.float_info.max


def _is_list(value: Any, length: int) -> bool:
    return isinstance(value, list | tuple | np.ndarray) and len(value) == length


def _contradict(first: Hint, second: Hint) -> bool:
    if first.ab is None or second.ab is None:
        return first.ab is not second.ab
    return math.dist(first.ab, second.ab) > SAME_COLOR


def _walk(corners: np.ndarray, step: float) -> np.ndarray:
    """Return places (n, 2) along a line through corners (m, 2), about `step` apart."""
    pieces = [corners[:1]]
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        count = max(1, round(float(np.linalg.norm(end - start)) / step))
        pieces.append(start + (end - start) * np.arange(1, count + 1)[:, None] / count)
    places = np.concatenate(pieces)
    # short pieces of a drawn line lie closer than the step: the first place in each cell speaks
    _, first = np.unique(np.floor(places / (0.7 * step)), axis=0, return_index=True)
    return places[np.sort(first)]


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise HintError('a key stands twice in one object')
    return value


def _check_keys(value: Any, needed: set[str], allowed: set[str], where: str) -> None:
    if not isinstance(value, dict):
        raise HintError(f'{where}: expected an object, got {type(value).__name__}')
    unknown = sorted(set(value) - needed - allowed)
    if unknown:
        raise HintError(f'{where}: unknown key {unknown[0]!r:.40}; known are {", ".join(sorted(needed | allowed))}')
    missing = sorted(needed - set(value))
    if missing:
        raise HintError(f'{where}: "{missing[0]}" is missing')


def _hint_from(entry: Any, number: int) -> Hint:
    where = f'hint {number}'
    if not isinstance(entry, dict):
        raise HintError(f'{where}: expected an object, got {type(entry).__name__}')
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) != 1:
        raise HintError(f'{where}: expected one of {", ".join(KINDS)}')
    kind = kinds[0]
    _check_keys(entry, {kind, 'color'}, set() if kind == 'region' else {'width'}, where)
    places = [entry[kind]] if kind == 'point' else entry[kind]
    if not isinstance(places, list) or not all(_is_list(place, 2) for place in places):
        raise HintError(f'{where}: "{kind}" must be {"[x, y]" if kind == "point" else "[[x, y], ...]"}')
    color = entry['color']
    if not isinstance(color, str | list):
        raise HintError(f'{where}: "color" must be text or [a, b]')
    try:
        return Hint(kind, tuple(map(tuple, places)), parse_color(color), entry.get('width', 1.0))
    except HintError as error:
        raise HintError(f'{where}: {error}') from error
