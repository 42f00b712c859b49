"""Intervals and Frechet distances against torch-fidelity, SciPy and what is known of normal samples."""

import numpy as np
import pytest
import scipy.linalg
import torch

from colorization.evaluation.statistics import bootstrap_means, frechet_distance, frechet_interval, full_rank_count


def features(count, dim, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator) @ torch.randn(dim, dim, generator=generator) + shift


def frechet_by_scipy(first, second):
    first, second = first.double().numpy(), second.double().numpy()
    covariances = np.cov(first.T), np.cov(second.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    difference = first.mean(axis=0) - second.mean(axis=0)
    return difference @ difference + np.trace(covariances[0] + covariances[1] - 2 * root)


def test_frechet_distance_is_the_formula_in_double_precision():
    pred, truth = features(60, 12, 0), features(60, 12, 1, shift=0.5)
    assert frechet_distance(pred, truth) == pytest.approx(frechet_by_scipy(pred, truth), rel=1e-4)
    assert frechet_distance(truth, truth) == pytest.approx(0, abs=1e-3)
    with pytest.raises(ValueError, match='at least 2 pictures'):
        frechet_distance(pred[:1], truth)


@pytest.mark.parametrize('count', [60, 8])  # more and fewer pictures than features
def test_the_interval_is_around_the_same_number(count):
    pred, truth = features(count, 12, 0), features(count, 12, 1, shift=0.5)
    low, high = frechet_interval(pred, truth, resamples=20)
    assert (low + high) / 2 == pytest.approx(frechet_by_scipy(pred, truth), rel=1e-3)
    assert 0 < high - low < high
    assert frechet_interval(pred, truth, resamples=20) == (low, high)
    with pytest.raises(ValueError, match='at least 2 draws'):
        frechet_interval(pred, truth, resamples=1)


def test_frechet_interval_has_the_width_of_repeated_experiments():
    """The spread that the bootstrap sees in one sample is the one over samples."""
    mix = torch.randn(4, 4, generator=torch.Generator().manual_seed(5))

    def sample(seed):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(200, 4, generator=generator) @ mix, torch.randn(200, 4, generator=generator) @ mix + 1

    spread = np.std([frechet_by_scipy(*sample(seed)) for seed in range(100, 160)])
    low, high = frechet_interval(*sample(1), resamples=100)
    assert (high - low) / (2 * 1.96) == pytest.approx(spread, rel=0.35)


def test_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(3, 2, size=400)
    interval = bootstrap_means({'x': values, 'y': values + 1}, resamples=4000)
    low, high = interval(lambda means: means['x'])
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)
    # the same pictures are drawn for both, so that the difference of the two is certain
    assert interval(lambda means: means['y'] - means['x']) == pytest.approx((1, 1))


def test_full_rank_takes_one_more_picture_than_features():
    for count in (full_rank_count(6) - 1, full_rank_count(6)):
        rank = np.linalg.matrix_rank(np.cov(features(count, 6, 0).double().numpy().T))
        assert bool(rank == 6) is (count == full_rank_count(6))
