"""A reference picture: colours of what looks alike."""

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from colorization.models import build_network
from colorization.pipeline import Colorizer
from colorization.reference import ReferencePictureError


@pytest.fixture(scope='module')
def network():
    return Colorizer.from_pretrained().network


def psnr(image, truth):
    return 10 * np.log10(255**2 / np.mean((image.astype(float) - truth) ** 2))


def test_a_view_of_the_same_scene_gives_its_colours(network):
    scene = data.astronaut()
    here, there = scene[:, 40:440], np.clip(scene[60:460] * 0.9, 0, 255).astype(np.uint8)
    alone = psnr(Colorizer(network)(here), here)
    assert psnr(Colorizer(network, like=there)(here), here) > alone + 1


def test_a_gray_reference_is_refused(network):
    with pytest.raises(ReferencePictureError, match='is gray'):
        Colorizer(network, like=data.camera())


def test_a_network_without_maps_cannot_compare():
    class Flat(nn.Module):
        def forward(self, l):
            return torch.zeros(len(l), 2, *l.shape[2:])

    with pytest.raises(ReferencePictureError, match='no maps'):
        Colorizer(Flat(), like=data.astronaut())


def test_another_network_follows_too(tiny_mpt):
    torch.manual_seed(0)
    network = build_network(tiny_mpt)
    scene = data.astronaut()[::4, ::4]
    followed = Colorizer(network, size=64, like=scene)(scene)
    assert psnr(followed, scene) > psnr(Colorizer(network, size=64)(scene), scene)
