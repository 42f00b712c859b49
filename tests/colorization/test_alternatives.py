"""Variants and doubt, on distributions whose regions and entropies are known."""

import numpy as np
import pytest
import scipy.stats
import torch

from colorization.alternatives import draw_variants, measure_doubt

COLORS = torch.tensor([[0.0, 0.0], [60.0, 40.0], [10.0, -60.0], [-50.0, 50.0]])


def test_doubt_is_entropy_over_its_largest_value():
    scores = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0)) * 3
    p = scores.double().softmax(dim=1).numpy()
    expected = scipy.stats.entropy(p, axis=1) / np.log(5)
    torch.testing.assert_close(measure_doubt(scores).double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)
    assert measure_doubt(torch.zeros(1, 5, 2, 2)).min() > 1 - 1e-6
    certain = torch.zeros(1, 5, 2, 2)
    certain[:, 2] = 50
    assert measure_doubt(certain).max() < 1e-6


@pytest.fixture
def coat_and_sky():
    """Left: a coat, red or blue, nobody knows. Right: a sky, surely the color 2; each with a texture of its own."""
    scores = torch.full((1, 4, 16, 24), -4.0)
    scores[:, 1, :, :12] = 3.0
    scores[:, 3, :, :12] = 3.0
    scores[:, 2, :, 12:] = 6.0
    return scores + 0.05 * torch.randn(scores.shape, generator=torch.Generator().manual_seed(1))


def test_what_is_open_changes_as_a_whole_and_what_is_sure_stays(coat_and_sky):
    versions = draw_variants(coat_and_sky, COLORS, 12, seed=3).softmax(dim=1)
    coats = versions[:, :, :, 2:10].argmax(dim=1)
    for coat in coats:
        assert len(coat.unique()) == 1  # never two-coloured
    assert set(coats.flatten().tolist()) == {1, 3}  # but both come up
    assert (versions[:, :, :, 14:].argmax(dim=1) == 2).all()


def test_a_seed_names_its_versions(coat_and_sky):
    three, five = (draw_variants(coat_and_sky, COLORS, count, seed=7) for count in (3, 5))
    torch.testing.assert_close(three, five[:3])
    others = draw_variants(coat_and_sky, COLORS, 5, seed=8)
    assert not torch.equal(five, others)


def test_a_picture_smaller_than_the_number_of_regions():
    assert draw_variants(torch.randn(1, 4, 1, 2), COLORS, 2).shape == (2, 4, 1, 2)


def test_what_cannot_be_drawn_is_refused(coat_and_sky):
    with pytest.raises(ValueError, match='at least 1, got 0'):
        draw_variants(coat_and_sky, COLORS, 0)
    with pytest.raises(ValueError, match='one picture at a time, got 2'):
        draw_variants(coat_and_sky.repeat(2, 1, 1, 1), COLORS, 1)
