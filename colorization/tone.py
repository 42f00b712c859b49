"""Is a photograph in colour? A sepia, cyanotype or faded print is not, however strong its tone."""

import numpy as np
import torch
import torch.nn.functional as F
from kornia.color import rgb_to_ycbcr

from colorization.color import rgb_to_lab

# The least that colour photographs have: of photos/val none has less, of 600 others 1 in 100.
LEAST_SPREAD, LEAST_SHARED, LEAST_SUDDEN = 1.7, 0.42, 0.62  # the first in Lab units, the others in hundredths of Cb, Cr
_SIDE = 64  # cells along the longer side
_LEAST_SIDE = 8  # pixels and cells along the shorter side
_DECODE_SIDE = 512  # pixels; a larger photograph is thinned out first
_STEPS, _STEPS_OF_CONTRAST = 14, 8
_CURVE = 33  # knots of the curve of a tone
_ROUNDS = 3
_SMOOTH = 4  # cells; standard deviation of what counts as slow


def measure_variety(rgb: np.ndarray) -> float:
    """Measure how much the colours of a photograph vary where its tone and place say nothing of them.

    What a tone, a split tone or a cast gives is a function of luma, of the contrast inside a cell (an average over an
    edge lies off the tone's curve) and, smoothly, of the place. The curve over luma is taken from the pixels, the whole
    function is then fitted to the colours of the cells, robustly. What is left is told from colour in three ways, and
    the least of them counts: by its spread; by what neighbours share of it, which noise and the blocks of a JPEG do
    not, in Cb and Cr, whose averages over blocks a JPEG keeps; and by how sudden it is, which stains and faded edges
    are not.

    Args:
        rgb: (H, W, 3) uint8 sRGB, or gray (H, W).

    Returns:
        The variety, above 1 for a photograph in colour; 0 for gray, and for a photograph with a side below 8 pixels,
        too few to tell.
    """
    if rgb.ndim == 2 or min(rgb.shape[:2]) < _LEAST_SIDE:
        return 0.0
    # as far as a panorama keeps its shorter side
    step = max(1, min(-(-max(rgb.shape[:2]) // _DECODE_SIDE), min(rgb.shape[:2]) // _LEAST_SIDE))
    pixels = torch.from_numpy(np.array(rgb[::step, ::step])).permute(2, 0, 1)[None].float() / 255
    coded = 100 * rgb_to_ycbcr(pixels)
    rest = _fit(coded[:, :1], torch.cat([rgb_to_lab(pixels)[1], coded[:, 1:]], dim=1))
    lab, ycc = rest[..., :2], rest[..., 2:]
    shared = F.avg_pool2d(torch.from_numpy(ycc).permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0).numpy()
    measures = (
        _spread(lab, lab) / LEAST_SPREAD**2,
        _spread(*_neighbours(shared)) / LEAST_SHARED**2,
        _spread(*[ycc - _smooth(ycc)] * 2) / LEAST_SUDDEN**2,
    )
    return float(np.sqrt(max(0.0, min(measures))))


def _fit(light: torch.Tensor, colors: torch.Tensor) -> np.ndarray:
    """Return what is left of colours by cells without all that tone and place give them.

    Args:
        light: (1, 1, H, W) in [0, 100].
        colors: (1, C, H, W); the first two say which cells are odd.

    Returns:
        (rows, columns, C) in the units of `colors`.
    """
    colors = _without_tone(light, colors)
    scale = _SIDE / max(light.shape[2:])
    shape = [max(_LEAST_SIDE, round(scale * side)) for side in light.shape[2:]]
    cells = F.interpolate(torch.cat([light, light * light, colors], dim=1), shape, mode='area')[0].double().numpy()
    level, contrast = cells[0].ravel(), np.maximum(cells[1] - cells[0] ** 2, 0).ravel()
    found = cells[2:].reshape(len(cells) - 2, -1).T
    down, across = (axis.ravel() for axis in np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j])
    place = np.stack([across, down, across**2, down**2, across * down], axis=1)
    part = level[:, None] / 100
    steps = [_steps(level, _STEPS), _steps(level, _STEPS_OF_CONTRAST) * contrast[:, None] / 300]
    terms = np.concatenate([*steps, place, place * part, place * part**2], axis=1)
    # a little weight on small factors, so that levels that hardly occur are not fitted to single cells
    ridge = 0.005 * np.sqrt(len(level)) * np.eye(terms.shape[1])
    left, right = np.concatenate([terms, ridge]), np.concatenate([found, np.zeros((len(ridge), found.shape[1]))])
    weights = np.ones(len(level))
    for _ in range(_ROUNDS):
        each = np.concatenate([weights, np.ones(len(ridge))])[:, None]
        factors = np.linalg.lstsq(left * each, right * each, rcond=None)[0]
        rest = found - terms @ factors
        distance = np.hypot(*rest[:, :2].T)
        weights = np.sqrt(1 / (1 + (distance / (2 * (np.median(distance) + 0.3))) ** 2))
    return rest.reshape(*shape, -1)


def _spread(one: np.ndarray, other: np.ndarray) -> float:
    """Return the covariance of (..., 2) values with others along its main axis; their variance where both are one."""
    mean = one.reshape(-1, 2).mean(axis=0)
    shared = (one - mean).reshape(-1, 2).T @ (other - mean).reshape(-1, 2) / (one.size // 2)
    return float(np.linalg.eigvalsh((shared + shared.T) / 2)[1])


def _neighbours(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, C) each cell of (H, W, C) that has one below or at its right, and that one."""
    pairs = ((cells[1:], cells[:-1]), (cells[:, 1:], cells[:, :-1]))
    first, second = (np.concatenate([pair[i].reshape(-1, cells.shape[2]) for pair in pairs]) for i in range(2))
    return first, second


def _smooth(cells: np.ndarray) -> np.ndarray:
    """Return (H, W, C) cells as weighted averages of those around them."""
    down, across = (
        np.exp(-((np.arange(size)[:, None] - np.arange(size)) ** 2) / (2 * _SMOOTH**2)) for size in cells.shape[:2]
    )
    down, across = (weights / weights.sum(axis=1, keepdims=True) for weights in (down, across))
    return np.einsum('ij,jkc,lk->ilc', down, cells, across, optimize=True)


def _without_tone(light: torch.Tensor, colors: torch.Tensor) -> torch.Tensor:
    """Subtract from each pixel's colour what is usual at its luma.

    Done before the cells are averaged: over an edge, the average of a curve is not the curve of the average, and the
    curves of split tones bend.

    Args:
        light: (1, 1, H, W) in [0, 100].
        colors: (1, C, H, W).

    Returns:
        (1, C, H, W).
    """
    place = light.flatten().double() * ((_CURVE - 1) / 100)
    left = place.long().clamp(0, _CURVE - 2)
    share = (place - left).clamp(0, 1)
    values = colors[0].flatten(1).double()
    # the normal equations of linear interpolation between _CURVE knots are tridiagonal
    normal, right = (
        torch.zeros(_CURVE, _CURVE, dtype=torch.double),
        torch.zeros(_CURVE, len(values), dtype=torch.double),
    )
    weights = (1 - share, share)
    for i in range(2):
        for j in range(2):
            sums = torch.zeros(_CURVE, dtype=torch.double).index_add_(0, left, weights[i] * weights[j])
            at = torch.arange(_CURVE - 1)
            normal[at + i, at + j] += sums[:-1]
        right.index_add_(0, left + i, (weights[i] * values).T)
    # a few pixels' weight on a smooth curve, for levels that do not occur
    bend = torch.diff(torch.eye(_CURVE, dtype=torch.double), n=2, dim=0)
    curve = torch.linalg.solve(normal + 1e-4 * len(place) * bend.T @ bend + 1e-9 * torch.eye(_CURVE), right)
    usual = curve[left] * weights[0][:, None] + curve[left + 1] * weights[1][:, None]
    return colors - usual.T.reshape(colors.shape).to(colors.dtype)


def is_in_color(rgb: np.ndarray) -> bool:
    """Tell whether a photograph is in colour, rather than black and white, toned, or faded.

    Args:
        rgb: (H, W, 3) uint8 sRGB, or gray (H, W).
    """
    return measure_variety(rgb) > 1


def _steps(values: np.ndarray, count: int) -> np.ndarray:
    """Return (N, count) weights of linear interpolation between so many values from 0 to 100."""
    centers = np.linspace(0, 100, count)
    return np.maximum(0, 1 - np.abs(values[:, None] - centers) / (centers[1] - centers[0]))
