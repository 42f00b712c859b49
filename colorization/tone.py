"""Is a photograph in colour? A sepia, cyanotype or faded print is not, however strong its tone."""

import numpy as np
import torch
import torch.nn.functional as F

from colorization.color import rgb_to_lab

COLOR_VARIETY = 1.8  # Lab units: of 94 colour photographs the least varied has 1.9, toned ones mostly stay below 1.6
_SIDE = 64  # cells along the longer side
_LEAST_SIDE = 8  # pixels and cells along the shorter side
_DECODE_SIDE = 512  # pixels; a larger photograph is thinned out first
_STEPS, _STEPS_OF_CONTRAST = 14, 8
_CURVE = 33  # knots of the curve of a tone
_ROUNDS = 3


def measure_variety(rgb: np.ndarray) -> float:
    """Measure how much the colours of a photograph vary where its tone and place say nothing of them.

    What a tone, a split tone or a stain gives is a function of lightness, of the contrast inside a cell (an average
    over an edge lies off the tone's curve) and, smoothly, of the place. The curve over lightness is taken from the
    pixels, the whole function is then fitted to the colours of the cells, robustly; the measure is the deviation of
    what is left, along its main axis.

    Args:
        rgb: (H, W, 3) uint8 sRGB, or gray (H, W).

    Returns:
        The variety in Lab units; 0 for gray, and for a photograph with a side below 8 pixels, too few to tell.
    """
    if rgb.ndim == 2 or min(rgb.shape[:2]) < _LEAST_SIDE:
        return 0.0
    # as far as a panorama keeps its shorter side
    step = max(1, min(-(-max(rgb.shape[:2]) // _DECODE_SIDE), min(rgb.shape[:2]) // _LEAST_SIDE))
    pixels = torch.from_numpy(np.array(rgb[::step, ::step])).permute(2, 0, 1)[None].float() / 255
    l, ab = rgb_to_lab(pixels)
    ab = _without_tone(l, ab)
    scale = _SIDE / max(l.shape[2:])
    shape = [max(_LEAST_SIDE, round(scale * side)) for side in l.shape[2:]]
    cells = F.interpolate(torch.cat([l, l * l, ab], dim=1), shape, mode='area')[0].double().numpy()
    light, contrast = cells[0].ravel(), np.maximum(cells[1] - cells[0] ** 2, 0).ravel()
    colors = cells[2:].reshape(2, -1).T
    down, across = (axis.ravel() for axis in np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j])
    place = np.stack([across, down, across**2, down**2, across * down], axis=1)
    part = light[:, None] / 100
    steps = [_steps(light, _STEPS), _steps(light, _STEPS_OF_CONTRAST) * contrast[:, None] / 300]
    terms = np.concatenate([*steps, place, place * part, place * part**2], axis=1)
    # a little weight on small factors, so that lightnesses that hardly occur are not fitted to single cells
    ridge = 0.005 * np.sqrt(len(light)) * np.eye(terms.shape[1])
    left, right = np.concatenate([terms, ridge]), np.concatenate([colors, np.zeros((len(ridge), 2))])
    weights = np.ones(len(light))
    for _ in range(_ROUNDS):
        each = np.concatenate([weights, np.ones(len(ridge))])[:, None]
        factors = np.linalg.lstsq(left * each, right * each, rcond=None)[0]
        rest = colors - terms @ factors
        distance = np.hypot(*rest.T)
        weights = np.sqrt(1 / (1 + (distance / (2 * (np.median(distance) + 0.3))) ** 2))
    return float(np.sqrt(max(0.0, np.linalg.eigvalsh(np.cov(rest.T))[1])))


def _without_tone(l: torch.Tensor, ab: torch.Tensor) -> torch.Tensor:
    """Subtract from each pixel's colour what is usual at its lightness.

    Done before the cells are averaged: over an edge, the average of a curve is not the curve of the average, and the
    curves of split tones bend.

    Args:
        l: (1, 1, H, W) in [0, 100].
        ab: (1, 2, H, W) in Lab units.

    Returns:
        (1, 2, H, W) in Lab units.
    """
    place = l.flatten().double() * ((_CURVE - 1) / 100)
    left = place.long().clamp(0, _CURVE - 2)
    share = (place - left).clamp(0, 1)
    colors = ab[0].flatten(1).double()
    # the normal equations of linear interpolation between _CURVE knots are tridiagonal
    normal, right = torch.zeros(_CURVE, _CURVE, dtype=torch.double), torch.zeros(_CURVE, 2, dtype=torch.double)
    weights = (1 - share, share)
    for i in range(2):
        for j in range(2):
            sums = torch.zeros(_CURVE, dtype=torch.double).index_add_(0, left, weights[i] * weights[j])
            at = torch.arange(_CURVE - 1)
            normal[at + i, at + j] += sums[:-1]
        right.index_add_(0, left + i, (weights[i] * colors).T)
    # a few pixels' weight on a smooth curve, for lightnesses that do not occur
    bend = torch.diff(torch.eye(_CURVE, dtype=torch.double), n=2, dim=0)
    curve = torch.linalg.solve(normal + 1e-4 * len(place) * bend.T @ bend + 1e-9 * torch.eye(_CURVE), right)
    usual = curve[left] * weights[0][:, None] + curve[left + 1] * weights[1][:, None]
    return ab - usual.T.reshape(ab.shape).to(ab.dtype)


def is_in_color(rgb: np.ndarray) -> bool:
    """Tell whether a photograph is in colour, rather than black and white, toned, or faded.

    Args:
        rgb: (H, W, 3) uint8 sRGB, or gray (H, W).
    """
    return measure_variety(rgb) > COLOR_VARIETY


def _steps(values: np.ndarray, count: int) -> np.ndarray:
    """Return (N, count) weights of linear interpolation between so many values from 0 to 100."""
    centers = np.linspace(0, 100, count)
    return np.maximum(0, 1 - np.abs(values[:, None] - centers) / (centers[1] - centers[0]))
