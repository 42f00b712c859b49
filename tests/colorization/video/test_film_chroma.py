"""Cb and Cr: the Lab colour asked for, at exactly the luma of the film."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

pytest.importorskip('av')

from colorization.color import lab_to_rgb_of_luma
from colorization.video.chroma import find_table, fit_to_luma
from colorization.video.flow import FlowFinder, compose, warp
from colorization.video.formats import Format
from colorization.video.writing import join_chroma

BT601, BT709 = (0.299, 0.587, 0.114), (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize('weights', [BT601, BT709])
def test_colors_of_srgb_come_back_from_their_luma_and_ab(weights):
    rgb = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ab = torch.from_numpy(rgb2lab(rgb[0].permute(1, 2, 0).numpy()))[..., 1:].permute(2, 0, 1)[None]
    luma = (rgb * torch.tensor(weights).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    found = lab_to_rgb_of_luma(luma, ab, weights)
    assert (found - rgb).abs().max() < 2e-4  # kornia's and scikit-image's Lab differ in their last digits


def test_what_srgb_cannot_show_keeps_luma_and_grows_paler():
    generator = torch.Generator().manual_seed(1)
    luma, chroma = torch.rand(1, 1, 30, 30, generator=generator), torch.rand(1, 2, 30, 30, generator=generator) - 0.5
    fitted = fit_to_luma(luma, chroma, BT709)
    red, blue = luma + 2 * (1 - BT709[0]) * fitted[:, 1:], luma + 2 * (1 - BT709[2]) * fitted[:, :1]
    green = (luma - BT709[0] * red - BT709[2] * blue) / BT709[1]
    rgb = torch.cat([red, green, blue], dim=1)
    assert rgb.min() > -1e-5 and rgb.max() < 1 + 1e-5
    factor = fitted / chroma
    assert torch.allclose(factor[:, 0], factor[:, 1], atol=1e-4) and factor.max() <= 1 + 1e-6
    at_edge = (rgb.amin(dim=1) < 1e-4) | (rgb.amax(dim=1) > 1 - 1e-4)
    assert (at_edge | (factor[:, 0] > 1 - 1e-4)).all()  # no paler than it has to be


@pytest.mark.parametrize('weights', [BT601, BT709])
def test_table_is_near_the_exact_solution(weights):
    generator = torch.Generator().manual_seed(2)
    luma = 0.15 + 0.85 * torch.rand(1, 1, 80, 80, generator=generator)
    ab = 20 * torch.randn(1, 2, 80, 80, generator=generator)
    rgb = lab_to_rgb_of_luma(luma, ab, weights)
    exact = torch.cat([(rgb[:, 2:] - luma) / (2 - 2 * weights[2]), (rgb[:, :1] - luma) / (2 - 2 * weights[0])], dim=1)
    apart = 224 * (find_table(weights).find(luma, ab) - fit_to_luma(luma, exact, weights)).abs()
    assert apart.mean() < 0.1 and apart.max() < 3


def make_format(bits=8, is_full=False, weights=BT709, chroma='420', height=20, width=30):
    name = f'yuv{chroma}p' + (f'{bits}le' if bits > 8 else '')
    return Format(width, height, name, name, bits, is_full, False, weights, chroma, 2 if is_full else 1, 1, 1, 1)


@pytest.mark.parametrize('bits', [8, 10])
@pytest.mark.parametrize('is_full', [False, True])
def test_planes_in_range_and_matrix_of_the_film(bits, is_full):
    """A colour that scikit-image describes comes out as ITU-T H.273 codes it."""
    shape = make_format(bits, is_full)
    rgb = np.array([0.7, 0.45, 0.3])
    luma = rgb @ np.array(BT709)
    cb, cr = (rgb[2] - luma) / (2 - 2 * BT709[2]), (rgb[0] - luma) / (2 - 2 * BT709[0])
    scale = (1 << bits) - 1 if is_full else 219 << (bits - 8)
    black = 0 if is_full else 16 << (bits - 8)
    chroma_scale = (1 << bits) - 1 if is_full else 224 << (bits - 8)
    plane = np.full((20, 30), round(black + scale * luma), shape.dtype)
    ab = torch.tensor(rgb2lab(rgb[None, None])[0, 0, 1:]).float()[:, None, None].expand(2, 8, 8)
    planes = join_chroma(plane, ab, shape)
    for found, wanted in zip(planes, (cb, cr), strict=True):
        assert found.shape == (10, 15) and found.dtype == shape.dtype
        assert np.abs(found - (chroma_scale * wanted + (1 << (bits - 1)))).max() <= 1.5 * (1 << (bits - 8))


def test_gray_stays_neutral_and_black_takes_no_color():
    shape = make_format()
    for luma, ab in ((120, 0.0), (16, 40.0), (5, 40.0)):
        planes = join_chroma(np.full((20, 30), luma, np.uint8), torch.full((2, 6, 6), ab), shape)
        assert all((plane == 128).all() for plane in planes)


def test_flow_finds_a_shift_and_distrusts_what_comes_into_view():
    picture = (np.random.default_rng(0).random((24, 36)) * 255).astype(np.uint8)
    import cv2

    picture = cv2.resize(picture, (260, 180), interpolation=cv2.INTER_CUBIC)
    before, middle, after = (picture[10:150, start : start + 200].copy() for start in (4, 10, 16))
    finder = FlowFinder()
    (one, _), (two, _) = finder.find(before, middle), finder.find(middle, after)
    whole = compose(two, one)
    inner = whole.trust > 0.5
    assert inner[20:-20, 20:-30].mean() > 0.9
    assert np.abs(whole.flow[inner] - [12, 0]).mean() < 0.3
    assert whole.trust[:, -8:].mean() < 0.2  # it was outside the earlier frame
    assert np.abs(warp(before, whole.flow).astype(int) - after)[inner].mean() < 4
