"""Whole photographs in onnxruntime: the same picture as the Colorizer's, at any size."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from colorization import Colorizer
from colorization.models import build_network
from dualattn.commands import export

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnx')
from colorization.photo_onnx import colorize_pixels, export_photo_files, open_photo_files  # noqa: E402

SHAPES = [(300, 420), (1, 1), (57, 33), (30, 400), (700, 64)]


@pytest.fixture(scope='module')
def network(describe_tiny_mpt):
    """A network whose colours are strong, and partly outside sRGB."""
    torch.manual_seed(0)
    network = build_network(describe_tiny_mpt() | dict(inference_size=96)).eval()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        for parameter in network.to_ab.parameters():
            parameter.mul_(40)
    return network


@pytest.fixture(scope='module')
def files(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp('photo')
    mean, largest = export_photo_files(network, folder)
    assert largest <= 1 and mean < 1e-3
    return folder


@pytest.mark.parametrize('shape', SHAPES)
def test_picture_is_the_colorizers(shape, files, network):
    coarse = np.random.default_rng(shape[0]).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))
    expected = Colorizer(network)(pixels)
    ours = colorize_pixels(open_photo_files(files), pixels)
    difference = np.abs(ours.astype(int) - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 5e-3
    if shape != (1, 1):
        assert np.ptp(expected.astype(int), axis=2).max() > 20


@pytest.mark.parametrize('level', [0, 1, 128, 255])
def test_one_level_everywhere(level, files, network):
    """Black and white show no colour, and other levels may leave nothing outside sRGB."""
    pixels = np.full((40, 50, 3), level, np.uint8)
    ours, expected = colorize_pixels(open_photo_files(files), pixels), Colorizer(network)(pixels)
    assert np.abs(ours.astype(int) - expected).max() <= 1
    if level in (0, 255):
        assert (ours == level).all()


def test_files_tell_of_themselves(files, network):
    notes = [json.loads(session.get_modelmeta().custom_metadata_map['dualattn']) for session in open_photo_files(files)]
    assert [each['kind'] for each in notes] == ['colors of photographs', 'join of photographs']
    assert notes[0]['config'] == json.loads(json.dumps(network.config)) and notes[0]['numbers'] == 'float32'
    assert all(each['exporter'].startswith('torch.onnx.export') for each in notes)


def test_half_precision_halves_the_file(files, network, tmp_path):
    mean, largest = export_photo_files(network, tmp_path, 'float16')
    assert 0 < mean < 0.5 and largest <= 5
    whole, half = (sum(file.stat().st_size for file in folder.iterdir()) for folder in (files, tmp_path))
    assert half < 0.8 * whole  # of so small a network the graph is a large part


def test_what_is_wrong_is_said_and_nothing_is_written(network, tmp_path, capsys):
    with pytest.raises(ValueError, match="float32 or float16, got 'int4'"):
        export_photo_files(network, tmp_path / 'none', 'int4')
    (tmp_path / 'colors.onnx').touch()
    assert export.main(['photo', 'packaged', '-o', str(tmp_path)]) == 2
    assert 'colors.onnx exists; use --overwrite' in capsys.readouterr().err
    assert export.main(['photo', 'dualattn_tiny', '-o', str(tmp_path / 'new')]) == 2
    assert 'is neither packaged, weights of a colorizer' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        export.main(['photos', 'packaged', '-o', str(tmp_path / 'new')])
    assert 'did you mean photo' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['colors.onnx']


def test_a_file_for_photographs_is_no_network(files, tmp_path):
    from colorization.onnx import OnnxNetwork
    from dualattn.io.weights import CheckpointError

    with pytest.raises(CheckpointError, match='holds a colors of photographs, expected a colorizer'):
        OnnxNetwork(files / 'colors.onnx')
