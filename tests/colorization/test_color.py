"""Colour conversions against scikit-image, which computes them in float64 from the CIE definitions."""

import numpy as np
import pytest
import skimage.color
import torch

from colorization.color import gray_rgb_from_l, lab_to_rgb, lab_to_rgb_keeping_l, normalize_l, rgb_to_lab

# in Lab units, and in RGB of [0, 1]
LAB_TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-11}
RGB_TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


@pytest.fixture(scope='module')
def rgb():
    """(1, 3, 3125, 5) float64: a grid over the cube of all colours with its corners, finer near black."""
    levels = np.concatenate([np.linspace(0, 1, 22), np.linspace(0, 0.05, 4)[1:]])
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing='ij'), axis=-1).reshape(1, -1, 5, 3)
    return torch.from_numpy(grid).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope='module')
def lab(rgb):
    """The same colours in scikit-image's Lab: (1, 3, H, W) float64."""
    return torch.from_numpy(skimage.color.rgb2lab(rgb.permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_rgb_to_lab_is_scikit_images(rgb, lab, dtype):
    l, ab = rgb_to_lab(rgb.to(dtype))
    assert l.dtype == ab.dtype == dtype and l.shape[1] == 1 and ab.shape[1] == 2
    assert (torch.cat([l, ab], dim=1) - lab).abs().max() < LAB_TOLERANCE[dtype]
    assert l.min() >= -1e-4 and l.max() <= 100 + 1e-4


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_lab_to_rgb_is_scikit_images(lab, dtype):
    found = lab_to_rgb(lab[:, :1].to(dtype), lab[:, 1:].to(dtype))
    expected = skimage.color.lab2rgb(lab.permute(0, 2, 3, 1).numpy()).transpose(0, 3, 1, 2)
    assert found.dtype == dtype
    assert np.abs(found.numpy() - expected).max() < RGB_TOLERANCE[dtype]


def test_colours_outside_srgb_are_clipped_as_in_scikit_image():
    rng = np.random.default_rng(0)
    lab = np.stack([rng.uniform(0, 100, (40, 50)), *rng.uniform(-110, 110, (2, 40, 50))], axis=-1)
    with pytest.warns(UserWarning, match='negative Z'):  # scikit-image says that it clips
        expected = skimage.color.lab2rgb(lab)
    lab = torch.from_numpy(lab).permute(2, 0, 1)[None]
    found = lab_to_rgb(lab[:, :1], lab[:, 1:])
    assert found.min() == 0 and found.max() == 1
    assert np.abs(found[0].permute(1, 2, 0).numpy() - expected).max() < RGB_TOLERANCE[torch.float64]


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_round_trip(rgb, dtype):
    image = rgb.to(dtype)
    assert (lab_to_rgb(*rgb_to_lab(image)) - image).abs().max() < RGB_TOLERANCE[dtype]


def test_colours_outside_srgb_lose_chroma_but_neither_lightness_nor_hue():
    rng = torch.Generator().manual_seed(0)
    l = torch.rand(2, 1, 40, 50, generator=rng, dtype=torch.float64) * 100
    ab = torch.rand(2, 2, 40, 50, generator=rng, dtype=torch.float64) * 220 - 110
    found_l, found_ab = rgb_to_lab(lab_to_rgb_keeping_l(l, ab))
    assert (found_l - l).abs().max() < 5e-3  # clipping moves it by up to 70
    factor = (found_ab * ab).sum(dim=1) / ab.square().sum(dim=1)
    assert (found_ab - factor[:, None] * ab).abs().max() < 0.02
    # not paler than has to be: a five-hundredth more of the colour is out of sRGB
    outside = factor < 0.99
    assert outside.float().mean() > 0.5 and factor.max() < 1.001
    wider = torch.cat([l, ab * (factor[:, None] + 0.002)], dim=1).permute(0, 2, 3, 1)[outside].numpy()
    linear = skimage.color.lab2xyz(wider) @ np.linalg.inv(skimage.color.colorconv.xyz_from_rgb).T
    assert ((linear < 0) | (linear > 1)).any(axis=-1).mean() > 0.999


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_colours_within_srgb_are_not_touched(lab, dtype):
    l, ab = lab[:, :1].to(dtype), lab[:, 1:].to(dtype)
    assert (lab_to_rgb_keeping_l(l, ab) - lab_to_rgb(l, ab)).abs().max() < 100 * RGB_TOLERANCE[torch.float32]


def test_black_and_white_stay_black_and_white():
    l = torch.tensor([0.0, 100.0]).view(1, 1, 1, 2)
    found = lab_to_rgb_keeping_l(l, torch.full((1, 2, 1, 2), 30.0))
    assert found[..., 0].max() < 1e-4 and found[..., 1].min() > 1 - 1e-4


def test_gray_has_no_colour_and_keeps_lightness():
    l = torch.linspace(0, 100, 101).view(1, 1, 1, 101)
    gray = gray_rgb_from_l(l)
    assert torch.equal(gray[:, 0], gray[:, 1]) and torch.equal(gray[:, 0], gray[:, 2])
    found, ab = rgb_to_lab(gray)
    assert (found - l).abs().max() < 2e-3 and ab.abs().max() < 1e-2
    assert gray[0, :, 0, 0].abs().max() < 1e-6 and (gray[0, :, 0, -1] - 1).abs().max() < 1e-4


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_does_not_lower_the_precision(rgb, dtype):
    image = rgb.float()
    l, ab = rgb_to_lab(image)
    with torch.autocast('cpu', dtype=dtype):
        l_auto, ab_auto = rgb_to_lab(image)
        back = lab_to_rgb(l, ab)
    assert torch.equal(l, l_auto) and torch.equal(ab, ab_auto) and l_auto.dtype == torch.float32
    assert torch.equal(back, lab_to_rgb(l, ab))


@pytest.mark.parametrize(
    ('l_dtype', 'ab_dtype', 'expected'),
    [
        (torch.float32, torch.bfloat16, torch.float32),  # a prediction under mixed precision
        (torch.float16, torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.float32, torch.float64, torch.float64),
    ],
)
def test_mixed_types_meet_at_the_better_one(l_dtype, ab_dtype, expected):
    l, ab = torch.tensor([50.3]).view(1, 1, 1, 1).to(l_dtype), torch.tensor([20.7, -33.1]).view(1, 2, 1, 1).to(ab_dtype)
    found = lab_to_rgb(l, ab)
    assert found.dtype == expected
    assert (found - lab_to_rgb(l.double(), ab.double())).abs().max() < 1e-5


@pytest.mark.parametrize('value', [0.0, 1.0, 0.04045, 0.5])
def test_gradients_are_finite_there_and_back(value):
    image = torch.full((1, 3, 2, 2), value, dtype=torch.float64, requires_grad=True)
    l, ab = rgb_to_lab(image)
    lab_to_rgb(l, ab).sum().backward()
    assert image.grad.isfinite().all()


@pytest.mark.parametrize('lightness', [0.0, 100.0, 50.0])
def test_gradients_reach_a_gray_prediction(lightness):
    """An untrained network answers zero everywhere, also in black and white places: there it has to start to learn."""
    ab = torch.zeros(1, 2, 2, 2, requires_grad=True)
    rgb = lab_to_rgb(torch.full((1, 1, 2, 2), lightness), ab)
    (rgb - 0.5).square().sum().backward()
    assert ab.grad.isfinite().all()
    if lightness == 50:
        assert ab.grad.abs().min() > 0


def test_gradients_are_right():
    torch.manual_seed(0)
    # inside sRGB, away from the clipping and from the joint of the two branches
    image = torch.rand(1, 3, 2, 2, dtype=torch.float64) * 0.6 + 0.2
    assert torch.autograd.gradcheck(lambda x: torch.cat(rgb_to_lab(x), dim=1), image.requires_grad_())
    l, ab = (x.detach() for x in rgb_to_lab(image))
    assert torch.autograd.gradcheck(lambda x: lab_to_rgb(l, x), ab.requires_grad_())


def test_networks_see_lightness_between_minus_one_and_one():
    assert normalize_l(torch.tensor([0.0, 50.0, 100.0])).tolist() == [-1, 0, 1]
