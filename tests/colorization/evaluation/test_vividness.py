"""The curve of PSNR against colourfulness, against pictures that are colorized and measured one by one."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from colorization.checkpoints import save_network
from colorization.commands.curve import CHROMA, VIVIDNESS, main
from colorization.evaluation.vividness import measure_curve
from colorization.models import build_network
from colorization.pipeline import Colorizer


@pytest.fixture
def network(tiny_mpt):
    torch.manual_seed(0)
    network = build_network(dict(tiny_mpt, num_queries=4, head='palette'))
    network.to_ab.set_palette([[0, 0], [40, 30], [-30, 30], [5, -40]], [0.4, 0.2, 0.2, 0.2])
    network.to_ab.scale = 2.0
    return network


def colourfulness(rgb):
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    rg, yb = r - g, (r + g) / 2 - b
    return np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())


def test_the_curve_is_what_single_pictures_give(network, make_photos, tmp_path):
    files = sorted(make_photos(tmp_path / 'photos', 3).iterdir())
    points = measure_curve(Colorizer(network, size=64), files, [0.5, 3.0], [1.0, 1.5])
    assert [(p.vividness, p.chroma) for p in points] == [(0.5, 1.0), (0.5, 1.5), (3.0, 1.0), (3.0, 1.5)]
    for point in points:
        colorize = Colorizer(network, size=64, vividness=point.vividness, chroma=point.chroma)
        gray = Colorizer(network, size=64, chroma=0)
        gains, found, truth = [], [], []
        for file in files:
            rgb = np.asarray(Image.open(file))
            gains.append(peak_signal_noise_ratio(rgb, colorize(rgb)) - peak_signal_noise_ratio(rgb, gray(rgb)))
            found.append(colourfulness(colorize(rgb)))
            truth.append(colourfulness(rgb))
        assert point.gain == pytest.approx(np.mean(gains), abs=0.02)
        assert point.cf_ratio == pytest.approx(np.mean(found) / np.mean(truth), rel=1e-3)


def test_the_command_compares_weights(network, tiny_mpt, make_photos, tmp_path, capsys):
    photos = make_photos(tmp_path / 'photos', 2)
    save_network(network, tmp_path / 'palette.safetensors')
    save_network(build_network(tiny_mpt), tmp_path / 'linear.safetensors')
    weights = [str(tmp_path / f'{name}.safetensors') for name in ('palette', 'linear')]
    arguments = [str(photos), '-o', str(tmp_path / 'curve.png'), '--size', '64', '--weights', *weights]
    assert main(arguments) == 0
    curves = json.loads((tmp_path / 'curve.json').read_text())['curves']
    assert [len(curves[name]) for name in weights] == [len(VIVIDNESS), len(CHROMA)]
    assert Image.open(tmp_path / 'curve.png').width > 500
    assert main(arguments) == 2 and 'exists' in capsys.readouterr().err
    assert main([str(tmp_path / 'none'), '-o', str(tmp_path / 'b.png')]) == 2


@pytest.mark.parametrize(
    ('options', 'message'), [(['-o', 'a.json'], 'takes a .png file'), (['-o', 'a.png', '--limit', '0'], 'at least 1')]
)
def test_wrong_arguments(options, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(['photos', *options])
    assert error.value.code == 2 and message in capsys.readouterr().err


def test_what_cannot_be_measured_is_refused(network, tiny_mpt, make_photos, tmp_path):
    files = sorted(make_photos(tmp_path / 'photos', 1).iterdir())
    with pytest.raises(ValueError, match='got none'):
        measure_curve(Colorizer(network, size=64), [], [1])
    with pytest.raises(ValueError, match='over chroma instead'):
        measure_curve(Colorizer(build_network(tiny_mpt), size=64), files, [1, 2])
