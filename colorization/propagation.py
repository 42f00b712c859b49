"""How hinted colours spread: regression along the network's own features, luminance and distance.

What a hint adds to the automatic colour is taken for a draw of a Gaussian process over the pixels of the photograph
(Rasmussen and Williams 2006, 2.2). Two pixels vary together where the network's maps, their luminance, their automatic
colour and their places are alike; the kernel is a sum of scales, from the whole scene to the neighbourhood on this side
of a luminance edge. The posterior mean passes through the hints, lets several of them agree, and without any is the
automatic result. It costs one column of the kernel per hint and one small system; the network runs once.

The scales were fitted on photos/train alone, by gradient descent on the error of the posterior mean in RGB (dB) over
random hints (n from 1 to 100), with `mpt_small`'s maps; they are scalars of normalised maps, so that they serve any
weights with an encoder and a pixel decoder. docs/hints.md states what they reach.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorization.hints import Marks

__all__ = ['REACHES', 'HintField', 'PaletteScores', 'Places', 'make_field', 'watch_maps']

FIELD_SIZE = 256  # side of the square in pixels whose area the field has, whatever the photograph's size
COLOR_UNIT = 20  # Lab units; colours enter the kernel as multiples of it
MAX_COLUMNS = 512  # kept in memory, of a quarter of a megabyte each
SURPRISE = 15.0  # Lab units; a hint that is off by more than that is taken for a wish rather than for a fact
SAME_WISH = 12.0  # Lab units; hints of one colour may all be of one object
PALETTE_WIDTH = 8.0  # Lab units; how exactly a hint is meant when it adds to a palette's scores
PALETTE_SHARE = 0.5  # factor on what it adds; more fills things better, and goes over more edges
LEAST_LIKELY = -12.0  # no colour is quite impossible
_DEAF = 1e6  # noise of what is not said of the scene
_AT_A_TIME = 16  # columns that are computed together


@dataclass(frozen=True)
class Reach:
    """A kernel: k(x, x') = s(x) s(x') sum_i v_i exp(-sum_j w_ij d_j(x, x')) + u <c(x), c(x')>.

    Attributes:
        variances: v (I), relative to (20 Lab units) squared.
        weights: w (I, 8) of the squared distances in the decoder's map, the encoder's four maps from fine to coarse,
            place (in square roots of the area), luminance in [0, 1], and automatic colour c in units of 20.
        noise: variance of a hint's own error.
        saturation: u, how far hints change the strength of all automatic colours.
        trust: factor on the automatic colours before anything is known, which hints then confirm or not.
        scale: s = exp(scale_0 m + 4 scale_1 m^2 + scale_2 min(|c|, 2)) with m = luminance - 1/2.
    """

    variances: Sequence[float]
    weights: Sequence[Sequence[float]]
    noise: float
    saturation: float
    trust: float
    scale: tuple[float, float, float]


_KERNELS = {
    # the scales of 'scene' without the one that spans it, each bound to its neighbourhood, and the widest one to what
    # is more alike: by the fitted one, a hint on a face tinted the wall behind it
    'object': Reach(
        variances=(3.0, 0.266, 0.047, 0.07),
        weights=(
            (0.26, 0.015, 0.072, 0.3, 0.32, 10, 16, 0.155),
            (0.27, 0.069, 0.034, 0.124, 0.089, 10, 46.9, 0.065),
            (1.093, 0.256, 0.194, 0.114, 0.086, 13, 43.1, 0.143),
            (0.024, 0.622, 0.565, 1.117, 0.971, 433, 29.7, 0.095),
        ),
        noise=0.0175,
        saturation=0.0,
        trust=1.0,
        scale=(0.107, -0.524, 0.0085),
    ),
    'scene': Reach(
        variances=(0.504, 4.092, 0.266, 0.047, 0.07),
        weights=(
            (0.054, 0.0006, 0.005, 0.043, 0.038, 0.006, 0.061, 0.162),
            (0.088, 0.005, 0.024, 0.101, 0.108, 0.006, 2.72, 0.155),
            (0.27, 0.069, 0.034, 0.124, 0.089, 0.11, 46.9, 0.065),
            (1.093, 0.256, 0.194, 0.114, 0.086, 3.31, 43.1, 0.143),
            (0.024, 0.622, 0.565, 1.117, 0.971, 433, 29.7, 0.095),
        ),
        noise=0.0175,
        saturation=0.49,
        trust=0.54,
        scale=(0.107, -0.524, 0.0085),
    ),
}


REACHES = ('adaptive', *_KERNELS)

# Of another photograph nothing is known about places, and little about single pixels.
FOLLOWING = Reach(
    variances=(0.504, 4.092, 0.266),
    weights=tuple((*weights[:5], 0.0, *weights[6:]) for weights in _KERNELS['scene'].weights[:3]),
    noise=0.1,
    saturation=0.49,
    trust=1.0,
    scale=_KERNELS['scene'].scale,
)


@dataclass
class Places:
    """What the kernel reads at n places of a photograph.

    Attributes:
        vectors: (n, C) of each of the network's maps, as the network gives them.
        l: (n, 1) luminance in [0, 1].
        ab: (n, 2) automatic colours in Lab units.
        yx: (n, 2) rows and columns in [0, 1]; None for places of another photograph.
    """

    vectors: list[Tensor]
    l: Tensor
    ab: Tensor
    yx: Tensor | None = None


@dataclass(frozen=True)
class PaletteScores:
    """What a palette head says of a photograph, for hints to add to.

    Attributes:
        z: (K, h, w) its scores.
        colors: (K, 2) its colours in Lab units.
        mix: gives the automatic colours (2, h', w') in Lab units of such scores.
    """

    z: Tensor
    colors: Tensor
    mix: Callable[[Tensor], Tensor]


@contextmanager
def watch_maps(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect a network's maps while it answers once: the decoder's finest, then the encoder's from fine to coarse.

    The list is empty for a network that has no `encoder` and `pixel_decoder`. Hooks instead of a second return value
    let every network keep `forward(l) -> ab`, and cost nothing outside this block.
    """
    found: dict[str, list[Tensor]] = {}

    def keep(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor | list[Tensor]) -> None:
            maps = [output] if isinstance(output, Tensor) else list(output)
            found[name] = [item.float() for item in (maps[-1:] if name == 'pixel_decoder' else maps)]

        return hook

    maps: list[Tensor] = []
    parts = {name: getattr(network, name, None) for name in ('pixel_decoder', 'encoder')}
    handles = [part.register_forward_hook(keep(name)) for name, part in parts.items() if isinstance(part, nn.Module)]
    try:
        yield maps
        if len(handles) == len(parts):
            maps += [item for name in parts for item in found[name]]
    finally:
        for handle in handles:
            handle.remove()


class HintField:
    """What decides, for one photograph, where colours spread to; made once, then asked for any hints.

    Args:
        l: (1, 1, H, W) float in [0, 100], of any size.
        ab: (2, h, w) float in Lab units, the automatic colours.
        maps: the network's maps (1, C, h', w') as `watch_maps` collects them; five of them, or none.
        shape: height and width of the field in pixels.
        palette: what the automatic colours are mixed from, where they are.

    Raises:
        ValueError: there is another number of maps.
    """

    def __init__(
        self,
        l: Tensor,
        ab: Tensor,
        maps: Sequence[Tensor],
        shape: tuple[int, int],
        palette: PaletteScores | None = None,
    ):
        if len(maps) not in (0, 5):
            raise ValueError(f'expected five maps, of the decoder and four of the encoder, or none; got {len(maps)}')
        height, width = l.shape[2:]
        area = (height * width) ** 0.5
        self.shape = shape
        self._extent = torch.tensor([height / area, width / area])
        self._l = F.interpolate(l.float().cpu(), shape, mode='bilinear', antialias=True, align_corners=False)[0] / 100
        maps = [item.detach().float().cpu() for item in maps]
        self._centres = [item.mean(dim=(2, 3), keepdim=True) for item in maps]
        # vectors of length 1 in the mean square
        self._lengths = [
            (item - centre).square().sum(dim=1).mean().sqrt().clamp(min=1e-12)
            for item, centre in zip(maps, self._centres, strict=True)
        ]
        self._maps = self._normalize(maps)
        self._columns: OrderedDict[tuple, Tensor] = OrderedDict()
        self.automatic = ab
        self._palette = palette

    @property
    def automatic(self) -> Tensor:
        """The automatic colours (2, h, w) in Lab units as they were given."""
        return self._given

    @automatic.setter
    def automatic(self, ab: Tensor) -> None:
        self._given = ab
        self._ab = F.interpolate(ab[None].float().cpu(), self.shape, mode='bicubic', align_corners=False)[0]
        self._columns.clear()
        self._palette = None  # these colours are mixed from other scores, or from none

    @torch.inference_mode()
    def spread(self, marks: Marks, reach: str = 'adaptive') -> Tensor:
        """Return the colours (2, H', W') in Lab units that the marks lead to, on the field's shape.

        Args:
            marks: see `Hints.to_marks`; without any, the automatic colours come back as they were given.
            reach: 'object' for hints that state a wish, which stay with what is near and alike; 'scene' for hints known
                to be true, each of which also tells about the rest of the scene; 'adaptive' weighs for each hint which
                of the two it is.

        Raises:
            ValueError: `reach` is neither.
        """
        if reach not in REACHES:
            raise ValueError(f'reach {reach!r}: expected one of {", ".join(REACHES)}')
        count = len(marks.yx)
        if not count:
            return self._given
        places = self.describe(marks.yx)
        wanted = torch.where(marks.ab.isnan(), places.ab, marks.ab)
        if reach == 'adaptive':
            # gray and keep are said of one thing, and not of the scene
            tells = ~(marks.ab.isnan() | (marks.ab == 0)).all(dim=1)
            ab = self._adapt(marks.yx, places, wanted, tells)
        else:
            ab = self._regress(places, wanted, _KERNELS[reach], self._get_columns(marks.yx, reach))
        if marks.inside is not None:
            ab = self._fill(ab, marks.inside)
        return ab.to(self._given.device)

    @torch.inference_mode()
    def follow(self, places: Places, ab: Tensor) -> Tensor:
        """Return the colours (2, H', W') in Lab units that follow those of another photograph.

        Args:
            places: of the other photograph, described by its own field.
            ab: (n, 2) in Lab units, its true colours there.
        """
        chunks = range(0, len(ab), _AT_A_TIME)
        columns = torch.cat([self._compute_columns(_take(places, start), FOLLOWING) for start in chunks])
        return self._regress(places, ab, FOLLOWING, columns).to(self._given.device)

    def _adapt(self, yx: Tensor, places: Places, wanted: Tensor, tells: Tensor) -> Tensor:
        """Let each hint tell about the scene as far as it is likely to be true of it, and the rest about its object.

        A colour that the scene's kernel, given the other hints, or the automatic colour would not have expected is a
        wish: the scene hears it with that much noise, d^4 for a surprise of d, and what it then does not explain
        spreads by the object's kernel, so that the hint is met all the same. Of few colours the automatic one counts
        for more, since the hints of one object confirm each other; the more colours, the less.

        Args:
            yx: (n, 2) places in [0, 1].
            places: the same, described.
            wanted: (n, 2) colours there in Lab units.
            tells: (n,) bool; False where a hint is known to be a wish.

        Returns:
            (2, H', W') in Lab units.
        """
        scene, near = _KERNELS['scene'], _KERNELS['object']
        count = len(wanted)
        apart = torch.linalg.vector_norm((wanted - places.ab).double(), dim=1)
        _, color, marks = torch.unique(torch.round(wanted / SAME_WISH), dim=0, return_inverse=True, return_counts=True)
        colors = max(1, len(color[tells].unique()))
        # all marks of one colour, as those of a stroke, are one witness
        by_itself = marks[color] * (apart / colors / SURPRISE) ** 4
        expected = self._ab if self._palette is None else self._expect(self._palette, yx, places, wanted)
        there = self._sample(expected, yx)
        system = self._system(places, scene, there)
        residual = ((wanted - there).T.reshape(-1) / COLOR_UNIT).double()
        doubt = torch.zeros(count, dtype=torch.double)
        for _ in range(2):  # again, without what has turned out to be a wish
            doubt[~tells] = _DEAF
            inverse = torch.linalg.inv(system + (scene.noise + doubt).repeat(2).diag())
            # the error of each hint's prediction from all others (Rasmussen and Williams 2006, Eq. 5.12)
            others = ((inverse @ residual) / inverse.diagonal()).view(2, count)
            surprise = torch.linalg.vector_norm(others, dim=0) * COLOR_UNIT
            doubt = torch.maximum((surprise / SURPRISE) ** 4, by_itself)
        doubt[~tells] = _DEAF
        # how far the automatic colours are to be trusted is the scene's matter too
        trust = 1 - (1 - scene.trust) * (1 - float((doubt / (1 + doubt)).prod()))
        weights, gain = self._solve(places, wanted, scene, there, trust, scene.noise + doubt)
        wide = self._lay(weights, self._get_columns(yx, 'scene')) + (trust + gain) * expected
        told = COLOR_UNIT * (weights @ self._covariance(places, scene)).T + (trust + gain) * there
        left = _solve_each(self._covariance(places, near), wanted - told, near.noise)
        return wide + self._lay(left, self._get_columns(yx, 'object'))

    def _expect(self, palette: PaletteScores, yx: Tensor, places: Places, wanted: Tensor) -> Tensor:
        """Return the automatic colours (2, H', W') once the hints have been added to the scores of the palette.

        Where a pixel is near and like a hint, the scores of colours are lowered the more the further they are from the
        hint's: a log-likelihood, times how alike the pixel is. A network that was between red and blue then says red
        for the whole coat, also where the hint itself does not reach.
        """
        speaks = (wanted != places.ab).any(dim=1)  # "keep" asks for no other colour
        if not speaks.any():
            return self._ab
        peaks = self._covariance(places, _KERNELS['object']).diagonal()
        alike = (self._get_columns(yx, 'object') / peaks[:, None]).clamp(0, 1)[speaks].view(-1, *self.shape)
        size = palette.z.shape[1:]
        alike = F.interpolate(alike[None], size, mode='bilinear', antialias=True, align_corners=False)[0]
        alike = alike / alike.sum(dim=0).clamp(min=1)
        distances = torch.cdist(wanted[speaks], palette.colors.float().cpu()).square()
        likelihood = -(distances - distances.min(dim=1, keepdim=True).values) / (2 * PALETTE_WIDTH**2)
        added = torch.einsum('nhw,nk->khw', alike, likelihood.clamp(min=LEAST_LIKELY))
        ab = palette.mix(palette.z + PALETTE_SHARE * added.to(palette.z.device)).float().cpu()
        return F.interpolate(ab[None], self.shape, mode='bicubic', align_corners=False)[0]

    def _regress(self, places: Places, wanted: Tensor, kernel: Reach, columns: Tensor) -> Tensor:
        """Return the posterior mean (2, H', W') given colours (n, 2) at n places and their columns (n, H' * W')."""
        noise = torch.full((len(wanted),), kernel.noise, dtype=torch.double)
        weights, gain = self._solve(places, wanted, kernel, places.ab, kernel.trust, noise)
        return self._lay(weights, columns) + (kernel.trust + gain) * self._ab

    def _solve(
        self, places: Places, wanted: Tensor, kernel: Reach, expected: Tensor, trust: float, noise: Tensor
    ) -> tuple[Tensor, float]:
        """Return the columns' weights (2, n), and what is added to `trust`.

        Given are the colours wanted and expected (n, 2) in Lab units, and each hint's noise (n).
        """
        system, unit = self._system(places, kernel, expected), _units(expected)
        system.diagonal().add_(noise.repeat(2))
        residual = (wanted - trust * expected).T.reshape(-1) / COLOR_UNIT
        weights = torch.linalg.solve(system, residual.double())
        return weights.view(2, -1).float(), kernel.saturation * float(weights @ unit)

    def _system(self, places: Places, kernel: Reach, expected: Tensor) -> Tensor:
        """Return the covariance (2n, 2n) of a and b at n places where colours (n, 2) are expected, without noise."""
        own, unit = self._covariance(places, kernel), _units(expected)
        return torch.block_diag(own, own).double() + kernel.saturation * torch.outer(unit, unit)

    def _lay(self, weights: Tensor, columns: Tensor) -> Tensor:
        """Return the sum (2, H', W') in Lab units of columns (n, H' * W') by their weights (2, n)."""
        return COLOR_UNIT * (weights @ columns).view(2, *self.shape)

    def describe(self, yx: Tensor) -> Places:
        """Read the maps, the luminance and the automatic colours at n places yx (n, 2) in [0, 1]."""
        vectors = [
            self._sample(item[0], yx) * length + centre[:, :, 0, 0]
            for item, length, centre in zip(self._maps, self._lengths, self._centres, strict=True)
        ]
        return Places(vectors, self._sample(self._l, yx), self._sample(self._ab, yx), yx)

    def _normalize(self, items: Sequence[Tensor]) -> list[Tensor]:
        """Centre and scale maps (1, C, h, w)."""
        return [
            (item - centre) / length for item, centre, length in zip(items, self._centres, self._lengths, strict=True)
        ]

    def _normalized_vectors(self, places: Places) -> list[Tensor]:
        return [item[0, :, :, 0].T for item in self._normalize([v.T[None, :, :, None] for v in places.vectors])]

    def _fill(self, ab: Tensor, inside: Tensor) -> Tensor:
        """Give regions (3, h, w) exactly their colours."""
        covered = inside[:1]
        keeps = inside[1:].isnan().any(dim=0, keepdim=True)
        shares = torch.cat([covered, covered * keeps, inside[1:].nan_to_num(0.0)])
        shares = F.interpolate(shares[None], self.shape, mode='bilinear', antialias=True, align_corners=False)[0]
        return ab * (1 - shares[:1]) + shares[1:2] * self._ab + shares[2:]

    def _get_columns(self, yx: Tensor, reach: str) -> Tensor:
        keys = [(reach, *place) for place in yx.tolist()]
        new = [i for i, key in enumerate(keys) if key not in self._columns]
        for start in range(0, len(new), _AT_A_TIME):
            part = new[start : start + _AT_A_TIME]
            for i, column in zip(part, self._compute_columns(self.describe(yx[part]), _KERNELS[reach]), strict=True):
                self._columns[keys[i]] = column
        columns = torch.stack([self._columns[key] for key in keys])
        for key in keys:
            self._columns.move_to_end(key)
        while len(self._columns) > MAX_COLUMNS:
            self._columns.popitem(last=False)
        return columns

    def _compute_columns(self, places: Places, kernel: Reach) -> Tensor:
        """Return k between n places and all pixels, (n, H' * W')."""
        weights = torch.tensor(kernel.weights)
        count, terms = len(places.l), len(weights)
        exponent = torch.zeros(count, terms, *self.shape)
        for j, (item, vectors) in enumerate(zip(self._maps, self._normalized_vectors(places), strict=True)):
            distance = _squared_distances(vectors, item[0].flatten(1).T).view(1, count, *item.shape[2:])
            distance = F.interpolate(distance, self.shape, mode='bilinear', align_corners=False)[0]
            exponent += weights[:, j, None, None] * distance[:, None]
        if places.yx is not None:
            rows = (torch.arange(self.shape[0]) + 0.5) / self.shape[0]
            columns = (torch.arange(self.shape[1]) + 0.5) / self.shape[1]
            down = ((rows - places.yx[:, :1]) * self._extent[0]) ** 2
            across = ((columns - places.yx[:, 1:]) * self._extent[1]) ** 2
            exponent += weights[:, 5, None, None] * (down[:, :, None] + across[:, None, :])[:, None]
        luminance = (self._l - places.l[:, :, None]) ** 2
        color = ((self._ab - places.ab[:, :, None, None]) / COLOR_UNIT).pow(2).sum(dim=1)
        exponent += weights[:, 6, None, None] * luminance[:, None] + weights[:, 7, None, None] * color[:, None]
        mixed = (torch.tensor(kernel.variances)[:, None, None] * torch.exp(-exponent)).sum(dim=1)
        own_scale = self._scale(places.l[:, 0], places.ab.T, kernel)
        return (mixed * self._scale(self._l[0], self._ab, kernel) * own_scale[:, None, None]).flatten(1)

    def _covariance(self, places: Places, kernel: Reach) -> Tensor:
        """Return k between n places, (n, n)."""
        parts = dict(enumerate(self._normalized_vectors(places)))
        parts |= {6: places.l, 7: places.ab / COLOR_UNIT}
        if places.yx is not None:
            parts[5] = places.yx * self._extent
        weights = torch.tensor(kernel.weights)
        exponent = torch.zeros(())
        for j, part in parts.items():
            exponent = exponent + weights[:, j, None, None] * _squared_distances(part, part)
        mixed = (torch.tensor(kernel.variances)[:, None, None] * torch.exp(-exponent)).sum(dim=0)
        scale = self._scale(places.l[:, 0], places.ab.T, kernel)
        return mixed * torch.outer(scale, scale)

    @staticmethod
    def _scale(l: Tensor, ab: Tensor, kernel: Reach) -> Tensor:
        middle = l - 0.5
        chroma = (torch.linalg.vector_norm(ab, dim=0) / COLOR_UNIT).clamp(max=2)
        return torch.exp(kernel.scale[0] * middle + 4 * kernel.scale[1] * middle**2 + kernel.scale[2] * chroma)

    @staticmethod
    def _sample(item: Tensor, yx: Tensor) -> Tensor:
        """Read a map (C, h, w) between its pixels at n places: (n, C)."""
        grid = (2 * yx.flip(1) - 1)[None, None]
        return F.grid_sample(item[None], grid, padding_mode='border', align_corners=False)[0, :, 0].T


def make_field(l: Tensor, ab: Tensor, maps: Sequence[Tensor], palette: PaletteScores | None = None) -> HintField:
    """Make the field of a photograph: l (H, W) in [0, 100] of any size, its automatic ab (2, h, w) and its maps."""
    from colorization.pipeline import network_size  # which itself makes drafts, and so fields

    height, width = l.shape
    return HintField(l[None, None], ab, maps, network_size(height, width, FIELD_SIZE), palette)


def _take(places: Places, start: int) -> Places:
    """Return the next few places, from one on."""
    part = slice(start, start + _AT_A_TIME)
    return Places([v[part] for v in places.vectors], places.l[part], places.ab[part])


def _units(ab: Tensor) -> Tensor:
    """Return colours (n, 2) in Lab units as (2n), first all a, in units of `COLOR_UNIT`."""
    return (ab / COLOR_UNIT).T.reshape(-1).double()


def _solve_each(own: Tensor, values: Tensor, noise: float) -> Tensor:
    """Return the weights (2, n) of columns that lead to values (n, 2) in Lab units, given the covariance (n, n)."""
    system = own.double()
    system.diagonal().add_(noise)
    return torch.linalg.solve(system, values.double() / COLOR_UNIT).T.float()


def _squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Return |x_i - y_j|^2 (n, m) of x (n, C) and y (m, C)."""
    product = first @ second.T
    return (first.square().sum(dim=1)[:, None] + second.square().sum(dim=1)[None] - 2 * product).clamp(min=0)
