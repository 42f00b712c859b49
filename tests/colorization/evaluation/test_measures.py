"""Figures against scikit-image, SciPy, published pairs of colours and forms in float64, and the traps of others."""

import numpy as np
import pytest
import skimage.color
import skimage.metrics
import torch

from colorization.evaluation.measures import (
    UNITS,
    color_distribution_consistency,
    is_gray,
    measure_pair,
    psnr_ab,
    to_float,
)


def picture(seed, size=(40, 48)):
    return torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def hwc(rgb):
    return rgb.permute(1, 2, 0).numpy()


def close_to(rgb, seed, amount=30):
    noise = torch.randint(-amount, amount + 1, rgb.shape, generator=torch.Generator().manual_seed(seed))
    return (rgb.int() + noise).clamp(0, 255).to(torch.uint8)


@pytest.fixture
def pair():
    truth = picture(0)
    return close_to(truth, 1), truth


def test_all_figures_have_a_unit(pair):
    assert set(measure_pair(*pair)) < set(UNITS)


def test_psnr_is_that_of_scikit_image(pair):
    pred, truth = (hwc(x) for x in pair)
    expected = skimage.metrics.peak_signal_noise_ratio(truth, pred, data_range=255)
    assert measure_pair(*pair)['PSNR'] == pytest.approx(expected, abs=1e-6)


def test_ssim_is_the_formula_in_double_precision(pair):
    """Wang et al. (2004): a window of 11 x 11 with sigma 1.5, where it lies wholly inside the picture."""
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = torch.from_numpy(np.outer(weights, weights) / weights.sum() ** 2)[None, None]
    x, y = (rgb.double()[:, None] for rgb in pair)  # channels as a batch

    def mean(values):
        return torch.nn.functional.conv2d(values, window)

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    cov = mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ssim = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    assert 0.1 < ssim.mean() < 0.99
    assert measure_pair(*pair)['SSIM'] == pytest.approx(ssim.mean().item(), abs=1e-6)


def test_colour_errors_are_those_of_scikit_image(pair):
    pred, truth = (skimage.color.rgb2lab(hwc(x)) for x in pair)
    found = measure_pair(*pair)
    error = np.mean((pred - truth)[..., 1:].astype(np.float64) ** 2)  # two channels, divided by two
    assert found['PSNR_ab'] == pytest.approx(10 * np.log10(255**2 / error), abs=0.01)
    assert found['CIEDE2000'] == pytest.approx(skimage.color.deltaE_ciede2000(truth, pred).mean(), rel=2e-3)


def test_ciede2000_of_published_pairs():
    """Sharma, Wu and Dalal (2005), Table 1, a few of its pairs that go wrong most often."""
    pairs = [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1.0, 2.0), (50, 0, 0), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 2.5, 0), (61, -5, 29), 22.8977),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ]
    first, second = (np.array([pair[i] for pair in pairs], dtype=np.float64) for i in (0, 1))
    found = skimage.color.deltaE_ciede2000(first, second)
    np.testing.assert_allclose(found, [pair[2] for pair in pairs], atol=1e-4)


def test_psnr_ab_by_hand():
    ab = torch.zeros(2, 4, 4)
    moved = ab.clone()
    moved[0] = 3.0  # a alone: the mean square over both channels is 4.5
    assert psnr_ab(moved, ab) == pytest.approx(10 * np.log10(255**2 / 4.5))
    assert psnr_ab(ab, ab) == 100.0


def test_identical_pictures(pair):
    found = measure_pair(pair[1], pair[1])
    assert found['PSNR'] == found['PSNR_ab'] == 100.0
    assert found['CIEDE2000'] == pytest.approx(0, abs=1e-9)
    assert found['SSIM'] == pytest.approx(1)


def test_a_gray_prediction_scores_what_the_gray_photograph_scores(pair):
    _, truth = pair
    level = skimage.color.rgb2lab(hwc(truth))
    level[..., 1:] = 0
    gray = torch.from_numpy((skimage.color.lab2rgb(level) * 255).round().astype(np.uint8)).permute(2, 0, 1)
    found = measure_pair(gray, truth)
    assert is_gray(gray) and not is_gray(truth)
    assert found['PSNR'] == pytest.approx(found['PSNR_gray'], abs=0.02)
    assert found['CF'] == pytest.approx(0, abs=1) and found['CF_truth'] > 50


def test_other_shapes_and_floats_are_refused(pair):
    with pytest.raises(ValueError, match='against a photograph'):
        measure_pair(pair[0][:, :, :20], pair[1])
    with pytest.raises(TypeError, match='8-bit'):
        measure_pair(pair[0].float() / 255, pair[1])


# --- the traps


def test_differences_do_not_wrap():
    """Differences of uint8 modulo 256 would call 250 against 5 a small error."""
    dark, bright = torch.full((3, 16, 16), 5, dtype=torch.uint8), torch.full((3, 16, 16), 250, dtype=torch.uint8)
    wrapped = 10 * np.log10(255**2 / np.mean((hwc(dark) - hwc(bright)).astype(np.float64) ** 2))
    found = measure_pair(dark, bright)['PSNR']
    assert found == pytest.approx(10 * np.log10(255**2 / 245**2), abs=1e-6)
    assert wrapped > found + 15  # what the trap says
    assert to_float(dark).dtype == torch.float64


def flicker(frame, index):
    """A film whose colours turn warm and cold from frame to frame."""
    shifted = frame.int()
    shifted[0] += 40 * (index % 2)
    return shifted.clamp(0, 255).to(torch.uint8)


def test_flicker_is_measured_on_ab():
    still = [picture(0)] * 6
    moving = [flicker(picture(0), index) for index in range(6)]
    assert color_distribution_consistency(still) == 0
    assert color_distribution_consistency(moving) > 0.005
    # a film of gray frames whose brightness pumps has no colour that could flicker; on RGB it would have
    pumping = [(picture(0)[:1] // (1 + index % 2)).expand(3, -1, -1) for index in range(6)]
    assert color_distribution_consistency(pumping) == pytest.approx(0, abs=1e-9)


def test_flicker_is_the_formula_over_two_channels():
    """Jensen-Shannon divergence by its definition, in nats; the sum over a and b is divided by two, not by three."""
    frames = [flicker(picture(seed), seed) for seed in range(4)]
    histograms = []
    for frame in frames:
        lab = skimage.color.rgb2lab(hwc(frame).astype(np.float64) / 255)
        counts = [np.histogram(lab[..., c], bins=256, range=(-128.5, 127.5))[0] for c in (1, 2)]
        histograms.append([count / count.sum() for count in counts])

    def divergence(p, q):
        m = (p + q) / 2
        kl = lambda x: np.sum(x[x > 0] * np.log(x[x > 0] / m[x > 0]))  # noqa: E731
        return (kl(p) + kl(q)) / 2

    steps = []
    for step in (1, 2):  # four frames are too few for a distance of four
        pairs = [
            sum(divergence(histograms[i][c], histograms[i + step][c]) for c in (0, 1)) / 2 for i in range(4 - step)
        ]
        steps.append(np.mean(pairs))
    assert color_distribution_consistency(frames) == pytest.approx(np.mean(steps), rel=0.02)
    with pytest.raises(ValueError, match='at least two frames'):
        color_distribution_consistency(frames[:1])
