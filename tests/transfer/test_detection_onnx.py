"""Backbones of detectors and classifiers, written by `dualattn export onnx`, in ONNX Runtime."""

import json

import pytest
import torch
from mmengine.registry import MODELS

import transfer  # noqa: F401  registers the backbone
from dualattn.commands import export

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnx')
pytestmark = pytest.mark.mm

IMAGE = dict(type='DualAttn', depths=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32), stem_dim=8, head_dim=16, window_size=4)
VIEW = dict(
    type='DualAttnBEV', in_channels=6, out_channels=(32, 64), depths=(1, 1), strides=(1, 2), window_size=3, head_dim=16
)
# batch, height, width: whole and padded windows, fewer tokens than one, strips; none is among `CHECKED_SIZES`
SIZES = [(1, 72, 104), (2, 37, 61), (3, 20, 24)]
MORE_SIZES = [(1, 32, 32), (1, 9, 200), (1, 131, 7), (2, 64, 65), (5, 48, 40), (1, 180, 92), (1, 101, 33)]


@pytest.fixture(params=['DualAttn', 'DualAttnBEV', pytest.param('pts_backbone', marks=pytest.mark.slow)])
def detector(request, tmp_path):
    """A config, its trained network and the checkpoint of the whole detector."""
    description = IMAGE if request.param == 'DualAttn' else VIEW
    place = 'pts_backbone' if request.param == 'pts_backbone' else 'backbone'
    if description is VIEW:
        pytest.importorskip('mmdet3d')
        import transfer.detection3d  # noqa: F401  registers it
    config = tmp_path / 'detector.py'
    imports = 'transfer.detection3d' if description is VIEW else 'transfer'
    config.write_text(
        f'custom_imports = dict(imports=[{imports!r}], allow_failed_imports=False)\n'
        f'model = dict(type="Detector", {place}={description!r}, head=dict(type="Head"))\n'
    )
    torch.manual_seed(0)
    network = MODELS.build(dict(description)).eval()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    state = {f'{place}.{name}': tensor for name, tensor in network.state_dict().items()}
    torch.save(dict(state_dict={**state, 'head.weight': torch.ones(2)}), tmp_path / 'epoch_1.pth')
    return config, network, tmp_path / 'epoch_1.pth'


def assert_file_answers_as_the_network(path, network, channels, sizes):
    session = onnxruntime.InferenceSession(path)
    for batch, height, width in sizes:
        x = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(height))
        with torch.no_grad():
            answer = network(x)
        expected = answer if isinstance(answer, tuple) else (answer,)
        given = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        for theirs, ours in zip(given, expected, strict=True):
            tolerance = 1e-4 * max(1, float(ours.abs().max()))
            torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=0, atol=tolerance)


@pytest.mark.parametrize('sizes', [SIZES, pytest.param(SIZES + MORE_SIZES, marks=pytest.mark.long)], ids=['3', '10'])
def test_backbone_of_a_detector_by_the_command(detector, sizes, tmp_path):
    config, network, checkpoint = detector
    path = tmp_path / 'backbone.onnx'
    assert export.main(['onnx', str(config), '--weights', str(checkpoint), '-o', str(path)]) == 0
    channels = 6 if 'BEV' in type(network).__name__ else 3
    assert_file_answers_as_the_network(path, network, channels, sizes)
    notes = json.loads(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map['dualattn'])
    assert notes['model'] == type(network).__name__ and notes['exporter'].startswith('torch.onnx.export')


def test_weights_of_another_detector_are_refused(tmp_path, capsys):
    config = tmp_path / 'detector.py'
    config.write_text(f'model = dict(type="Detector", backbone={IMAGE!r})\n')
    other = MODELS.build({**IMAGE, 'embed_dims': (16, 16, 16, 32)})
    torch.save({f'backbone.{name}': tensor for name, tensor in other.state_dict().items()}, tmp_path / 'other.pth')
    arguments = ['onnx', str(config), '--weights', str(tmp_path / 'other.pth'), '-o', str(tmp_path / 'x.onnx')]
    assert export.main(arguments) == 2
    assert 'is not of this model' in capsys.readouterr().err
    config.write_text('model = dict(type="Detector", backbone=dict(type="ResNet", depth=50))\n')
    assert export.main(arguments) == 2
    assert 'is a config, but not of a colorizer, a classifier, or a detector' in capsys.readouterr().err
    assert not (tmp_path / 'x.onnx').exists()


def test_classifier_of_a_config(tmp_path, capsys):
    from transfer.classification.classifier import ImageClassifier

    # one stage of blocks at the smallest widths that keep every kind of layer
    sizes = dict(depths=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32), stem_dim=8, head_dim=16, window_size=4)
    backbone = dict(model_name='dualattn_tiny', num_classes=5, **sizes)
    config = tmp_path / 'classifier.py'
    config.write_text(
        'custom_imports = dict(imports=["transfer.classification"], allow_failed_imports=False)\n'
        f'default_scope = "mmengine"\nmodel = dict(type="ImageClassifier", backbone={backbone!r})\n'
    )
    torch.manual_seed(0)
    classifier = ImageClassifier(backbone).eval()
    torch.save(dict(state_dict=classifier.state_dict()), tmp_path / 'epoch_1.pth')
    path = tmp_path / 'classifier.onnx'
    assert export.main(['onnx', str(config), '-o', str(path)]) == 2
    assert '--weights names its weights' in capsys.readouterr().err
    assert export.main(['onnx', str(config), '--weights', str(tmp_path / 'epoch_1.pth'), '-o', str(path)]) == 0
    assert_file_answers_as_the_network(path, classifier.backbone, 3, SIZES)
