"""Means and Frechet distances with their bootstrap intervals."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ['bootstrap_means', 'frechet_distance', 'frechet_interval', 'full_rank_count']

LEVEL = 0.95
_CHUNK = 2**24  # weights of pictures that are drawn at a time


def bootstrap_means(
    values: dict[str, np.ndarray], resamples: int = 1000, seed: int = 0
) -> Callable[[Callable[[dict[str, np.ndarray]], np.ndarray]], tuple[float, float]]:
    """Draw pictures with replacement; all figures see the same draws.

    Args:
        values: name -> (N,) float64, one number for each picture.
        resamples: number of draws.
        seed: of the draws.

    Returns:
        A function that takes a statistic of the means, name -> (resamples,) to (resamples,), and returns its 95 %
        percentile interval. With it |mean of one - mean of another| has an interval as the means themselves have.
    """
    names = list(values)
    table = np.stack([np.asarray(values[name], dtype=np.float64) for name in names], axis=1)  # (N, figures)
    count = len(table)
    generator = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    step = max(1, _CHUNK // count)
    for start in range(0, resamples, step):
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=min(step, resamples - start))
        parts.append(drawn @ table / count)
    means = np.concatenate(parts)  # (resamples, figures)
    by_name = {name: means[:, index] for index, name in enumerate(names)}

    def interval(statistic: Callable[[dict[str, np.ndarray]], np.ndarray]) -> tuple[float, float]:
        low, high = np.quantile(statistic(by_name), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    return interval


def full_rank_count(dim: int) -> int:
    """Return from how many pictures on the covariance of `dim` features can have its full rank."""
    return dim + 1


def frechet_distance(pred: Tensor, truth: Tensor) -> float:
    """Return the Frechet distance of two sets of features by torch-fidelity's formulas.

    Args:
        pred: (N, D) float32.
        truth: (M, D) float32.

    Raises:
        ValueError: fewer than two pictures on a side.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    if min(len(pred), len(truth)) < 2:
        raise ValueError(f'a Frechet distance needs at least 2 pictures on each side, got {len(pred)} and {len(truth)}')
    statistics = [fid_features_to_statistics(features) for features in (pred, truth)]
    return fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]


def _fast_frechet(pred: Tensor, truth: Tensor) -> float:
    """Return the same number for the bootstrap, some ten times faster, in float64.

    With centred features A and B over sqrt(N - 1), the trace of sqrt(S1 S2) is the sum of the singular values of
    R1 R2^T, R the triangular factors of A and B: no square root of a product that is not symmetric.
    """
    means, factors, traces = [], [], 0.0
    for features in (pred, truth):
        features = features.double()
        mean = features.mean(dim=0)
        centred = (features - mean) / (len(features) - 1) ** 0.5
        means.append(mean)
        traces += centred.square().sum().item()
        factors.append(torch.linalg.qr(centred, mode='r').R)
    shared = torch.linalg.svdvals(factors[0] @ factors[1].T).sum().item()
    return (means[0] - means[1]).square().sum().item() + traces - 2 * shared


def frechet_interval(
    pred: Tensor, truth: Tensor, resamples: int = 50, seed: int = 0, progress: Callable = iter
) -> tuple[float, float]:
    """Return a 95 % interval of the Frechet distance over draws of pairs with replacement.

    A draw holds some pictures twice and others not at all, which raises the distance: the percentiles of the draws
    would lie above the value itself. So the interval is the value plus and minus 1.96 standard deviations of the draws.

    Args:
        pred: (N, D) float32.
        truth: (N, D) float32, row by row of the same pictures.
        resamples: number of draws.
        seed: of the draws.
        progress: wraps the iterable of draws, as tqdm does.

    Raises:
        ValueError: fewer than two draws.
    """
    if resamples < 2:
        raise ValueError(f'an interval needs at least 2 draws, got {resamples}')
    generator = torch.Generator().manual_seed(seed)
    distances = []
    for _ in progress(range(resamples)):
        drawn = torch.randint(len(pred), (len(pred),), generator=generator)
        distances.append(_fast_frechet(pred[drawn], truth[drawn]))
    value, spread = _fast_frechet(pred, truth), float(np.std(distances, ddof=1))
    return max(0.0, value - 1.96 * spread), value + 1.96 * spread
