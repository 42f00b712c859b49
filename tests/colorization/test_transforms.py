"""Transforms: torchvision's by their registered names, and the colour enhancement against its formula."""

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from torchvision.transforms import v2

import colorization.data  # noqa: F401  registers the transforms


def test_resize_keeps_proportions_and_antialiases():
    stripes = torch.zeros(3, 64, 128, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    image = TRANSFORMS.build(dict(type='torchvision/Resize', size=16))(stripes)
    assert image.shape == (3, 16, 32)
    # Without antialiasing one column of four is taken: black or white. With it, stripes become gray.
    assert (image.float() - 127.5).abs().max() < 20


@pytest.mark.parametrize(
    'name',
    [
        'Resize',
        'CenterCrop',
        'RandomCrop',
        'RandomResizedCrop',
        'RandomHorizontalFlip',
        'RandomGrayscale',
        'ColorJitter',
    ],
)
def test_torchvision_transforms_are_registered(name):
    assert TRANSFORMS.get(f'torchvision/{name}') is getattr(v2, name)


@pytest.mark.parametrize('factor', [0.0, 1.0, 1.2, 2.0])
def test_color_enhance_blends_with_the_gray_image(factor):
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.float64)
    gray = rgb @ np.array([0.299, 0.587, 0.114])  # the luma of ITU-R BT.601, as Pillow and torchvision use it
    expected = np.clip(factor * rgb + (1 - factor) * gray[..., None], 0, 255)
    enhance = TRANSFORMS.build(dict(type='ColorEnhance', factor=factor))
    enhanced = enhance(torch.from_numpy(rgb).permute(2, 0, 1).to(torch.uint8))
    assert enhanced.dtype == torch.uint8
    assert np.abs(enhanced.permute(1, 2, 0).numpy() - expected).max() <= 1 + abs(1 - factor)


def test_color_enhance_happens_with_its_probability():
    rgb = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    enhance = TRANSFORMS.build(dict(type='ColorEnhance', factor=2.0, prob=0.25))
    torch.manual_seed(0)
    changed = sum(not torch.equal(enhance(rgb), rgb) for _ in range(400))
    assert 70 <= changed <= 130
    never = TRANSFORMS.build(dict(type='ColorEnhance', prob=0.0))
    assert all(torch.equal(never(rgb), rgb) for _ in range(20))


@pytest.mark.parametrize('wrong', [dict(factor=-1.0), dict(prob=1.5), dict(probability=0.5)])
def test_color_enhance_errors(wrong):
    with pytest.raises((ValueError, TypeError)):
        TRANSFORMS.build(dict(type='ColorEnhance', **wrong))
