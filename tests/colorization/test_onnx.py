"""Colorizers as ONNX files: exact at every size, refused where they are of another kind, one of the engines."""

import numpy as np
import pytest
import torch
from PIL import Image

from colorization import Colorizer
from colorization.commands import colorize
from colorization.models import build_network
from dualattn.commands import export
from dualattn.io.weights import CheckpointError

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnx')
from colorization.onnx import OnnxNetwork, export_colorizer  # noqa: E402
from dualattn.onnx import CHECKED_SIZES  # noqa: E402

TINY_DDCOLOR = dict(
    type='DDColor',
    encoder='convnext_atto',
    encoder_kwargs=dict(depths=(1, 1, 1, 1), dims=(8, 16, 16, 32)),
    decoder_dims=(16, 16, 16, 16),
    num_queries=6,
    num_heads=2,
    depth=3,
)


def build(config):
    """Build a network whose answers are far from gray."""
    torch.manual_seed(0)
    network = build_network(config).eval()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    if config.get('head') == 'palette':
        network.to_ab.set_palette((torch.randn(6, 2) * 40).tolist(), [1 / 6] * 6)
    return network


@pytest.mark.parametrize('kind', ['linear', 'palette', 'ddcolor'])
def test_file_answers_as_the_network(kind, tiny_mpt, tmp_path):
    network = build(TINY_DDCOLOR if kind == 'ddcolor' else dict(tiny_mpt, head=kind))
    error = export_colorizer(network, tmp_path / 'network.onnx')
    assert 0 < error <= 1e-4
    session = onnxruntime.InferenceSession(tmp_path / 'network.onnx')
    for batch, height, width in CHECKED_SIZES:
        l = torch.rand(batch, 1, height, width, generator=torch.Generator().manual_seed(height)) * 100
        with torch.no_grad():
            expected = network(l)
        assert expected.std() > 0.05
        (ab,) = session.run(None, {'l': l.numpy()})
        torch.testing.assert_close(torch.from_numpy(ab), expected, rtol=0, atol=1e-4 * float(expected.abs().max() + 1))


@pytest.fixture(scope='module')
def packaged(tmp_path_factory):
    """The packaged colorizer, written by the command."""
    path = tmp_path_factory.mktemp('onnx') / 'colorizer.onnx'
    assert export.main(['onnx', 'packaged', '-o', str(path)]) == 0
    return path


def test_packaged_colorizer_makes_the_same_picture(packaged, make_photos, tmp_path):
    photo = make_photos(tmp_path / 'photos', 1, size=(180, 150)) / '00.png'
    arguments = [str(photo), '--weights', str(packaged), '--engine', 'onnx', '-o', str(tmp_path / 'onnx.png')]
    assert colorize.main(arguments) == 0
    assert colorize.main([str(photo), '-o', str(tmp_path / 'torch.png')]) == 0
    ours, expected = (np.asarray(Image.open(tmp_path / f'{name}.png'), int) for name in ('onnx', 'torch'))
    assert ours.shape == (150, 180, 3)
    assert np.ptp(expected, axis=2).max() > 10  # in colour
    difference = np.abs(ours - expected)
    assert difference.max() <= 1  # where a number falls on the border of two levels
    assert (difference > 0).mean() < 1e-3


def test_file_describes_itself(packaged):
    network, torch_network = OnnxNetwork(packaged), Colorizer.from_pretrained().network
    assert network.config == torch_network.config
    assert network.inference_size == torch_network.inference_size


def test_files_of_another_kind_are_refused(packaged, tmp_path, capsys):
    import onnx

    model = onnx.load(packaged)
    onnx.helper.set_model_props(model, {'dualattn': '{"kind": "classifier"}'})
    onnx.save(model, tmp_path / 'classifier.onnx')
    onnx.helper.set_model_props(model, {'dualattn': '{"kind": "colorizer"}'})
    onnx.save(model, tmp_path / 'undescribed.onnx')
    del model.metadata_props[:]
    onnx.save(model, tmp_path / 'foreign.onnx')
    (tmp_path / 'broken.onnx').write_bytes(packaged.read_bytes()[:1000])
    for name, message in (
        ('classifier', 'holds a classifier, expected a colorizer'),
        ('undescribed', 'lacks its description'),
        ('foreign', 'was not written by'),
        ('broken', 'no ONNX file that onnxruntime reads'),
    ):
        with pytest.raises(CheckpointError, match=message):
            OnnxNetwork(tmp_path / f'{name}.onnx')
    with pytest.raises(FileNotFoundError, match='no such ONNX file'):
        OnnxNetwork(tmp_path / 'absent.onnx')


@pytest.mark.parametrize(
    'options, message',
    [
        (['--engine', 'onnx', '--vividness', '2'], 'need --engine torch'),
        (['--engine', 'onnx', '--hints', 'hints.json'], 'need --engine torch'),
        (['--engine', 'onnx', '--like', 'color.png'], 'need --engine torch'),
        (['--engine', 'onnx', '--device', 'cuda'], 'computes on the CPU'),
        ([], 'needs --engine onnx'),
    ],
)
def test_engine_refuses_what_the_file_cannot(options, message, packaged, make_photos, tmp_path, capsys):
    photo = make_photos(tmp_path / 'photos', 1) / '00.png'
    assert colorize.main([str(photo), '-o', str(tmp_path / 'out.png'), '--weights', str(packaged), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out.png').exists()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['packaged', '-o', 'x.bin'], r'has to be named \*.onnx'),
        (['packaged', '-o', 'there.onnx'], 'there.onnx exists; use --overwrite'),
        (['dualattn_tyni', '-o', 'x.onnx'], 'did you mean dualattn_tiny'),
        (['absent.safetensors', '-o', 'x.onnx'], 'no such weights file'),
        (['packaged', '--weights', 'more.pth', '-o', 'x.onnx'], 'is weights itself'),
        (['dualattn_tiny', '--weights', 'more.pth', '-o', 'x.onnx'], 'more.pth: no such weights file'),
    ],
)
def test_command_says_what_is_wrong(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'there.onnx').touch()
    assert export.main(['onnx', *arguments]) == 2
    captured = capsys.readouterr().err
    assert pytest.raises(AssertionError, match=message).matches(AssertionError(captured)), captured
    assert sorted(path.name for path in tmp_path.iterdir()) == ['there.onnx']
