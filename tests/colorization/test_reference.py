"""A reference picture: colours of what looks alike."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import nn

from colorization.benchmarks.references import make_pair
from colorization.checkpoints import save_network
from colorization.commands.colorize import main
from colorization.models import build_network
from colorization.pipeline import Colorizer
from colorization.reference import ReferencePictureError


@pytest.fixture(scope='module')
def network():
    return Colorizer.from_pretrained().network


@pytest.fixture(autouse=True)
def small_field(monkeypatch):
    """Spread colours on a quarter of the pixels, in a quarter of the time; what is tested does not hang on it."""
    monkeypatch.setattr('colorization.propagation.FIELD_SIZE', 128)


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


@pytest.fixture
def files(tmp_path, tiny_mpt):
    """A gray photograph, the same in colour, weights, and hints for a corner."""
    torch.manual_seed(0)
    save_network(build_network(tiny_mpt), tmp_path / 'tiny.safetensors')
    scene = Image.fromarray(data.astronaut()[::4, ::4])
    scene.save(tmp_path / 'color.png')
    scene.convert('L').save(tmp_path / 'gray.png')
    hint = dict(region=[[0, 0], [40, 0], [40, 40], [0, 40]], color=[-30, 35])
    (tmp_path / 'hints.json').write_text(json.dumps(dict(size=[128, 128], hints=[hint])))
    return tmp_path


def colorize(folder, name, *options):
    weights = ['--weights', str(folder / 'tiny.safetensors'), '--size', '64']
    return main([str(folder / 'gray.png'), '-o', str(folder / name), *weights, *options])


def test_the_command_takes_hints_on_top_of_a_reference(files, capsys):
    like, hints = ['--like', str(files / 'color.png')], ['--hints', str(files / 'hints.json')]
    assert colorize(files, 'like.png', *like) == colorize(files, 'hints.png', *hints) == 0
    assert colorize(files, 'both.png', *like, *hints) == 0
    both, followed, hinted = (np.asarray(Image.open(files / f'{n}.png')).astype(int) for n in ('both', 'like', 'hints'))
    np.testing.assert_allclose(both[4:34, 4:34], hinted[4:34, 4:34], atol=6)  # a region has exactly its colour
    assert np.abs(both - followed)[4:34, 4:34].mean() > 10
    far = np.s_[90:, 90:]  # where the hint has no say, the reference has
    assert np.abs(both - followed)[far].mean() < 0.3 * np.abs(both - hinted)[far].mean()
    assert colorize(files, 'no.png', '--like', str(files / 'gray.png')) == 2
    assert 'the reference picture is gray' in capsys.readouterr().err
    assert not (files / 'no.png').exists()


def test_pairs_of_one_scene(tmp_path):
    """The views of the benchmark overlap, differ, and are the same at each run."""
    pytest.importorskip('cv2')
    photograph = data.astronaut()
    first, second = make_pair(photograph, 3)
    again, _ = make_pair(photograph, 3)
    np.testing.assert_array_equal(first, again)
    assert first.shape == second.shape == (224, 224, 3)
    assert np.abs(first.astype(int) - second).mean() > 10
    assert np.abs(first.astype(int) - make_pair(photograph, 4)[0]).mean() > 3
