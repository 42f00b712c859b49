"""Files for any batch, height and width: ONNX by both exporters in onnxruntime, torch.export with dimensions left open.

A graph made from one image is compared with the network at ten other sizes.
"""

import numpy as np
import pytest
import timm
import torch

import dualattn  # noqa: F401  registers dualattn_* with timm

onnxruntime = pytest.importorskip('onnxruntime')

MODELS = timm.list_models('dualattn_*')
# (batch, height, width); two stages leave from 1 to 28 tokens a side, so that windows are whole, padded and larger
# than the map
SIZES = [
    (1, 56, 56),
    (2, 224, 112),
    (1, 8, 8),
    (3, 70, 45),
    (1, 97, 130),
    (2, 33, 65),
    (1, 128, 96),
    (1, 111, 63),
    (5, 5, 7),
    (1, 64, 192),
]
OPEN = {'x': {0: 'batch', 2: 'height', 3: 'width'}, 'y': {0: 'batch'}}


@pytest.fixture
def build_shallow(build):
    """`build` with two stages, every kind of layer and half of the graph, and the window of the whole network."""

    def create(name):
        window = 8 if name == 'dualattn_mpt' else 12 if name.endswith('384') else 7
        return build(name, depths=(1, 1), embed_dims=(16, 32), strides=(2, 2), stem_dim=8, window_size=window)

    return create


def images(batch, height, width):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def assert_right_at_every_size(run, model, sizes=SIZES):
    for size in sizes:
        x = images(*size)
        with torch.no_grad():
            expected = model(x)
        torch.testing.assert_close(torch.as_tensor(np.asarray(run(x))), expected, rtol=0, atol=1e-5)


def open_session(path):
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda x: session.run(None, {'x': x.numpy()})[0]


@pytest.mark.parametrize(
    'name',
    [
        # one of each window and order of attentions by default
        pytest.param(
            name, marks=() if name in ('dualattn_tiny', 'dualattn_tiny_384', 'dualattn_mpt') else pytest.mark.slow
        )
        for name in MODELS
    ],
)
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::torch.jit.TracerWarning')
def test_onnx_by_tracing(name, build_shallow, tmp_path):
    model, path = build_shallow(name), tmp_path / 'model.onnx'
    # the example needs no padding for G = 7, and some for G = 8 and 12
    torch.onnx.export(
        model,
        (images(1, 56, 56),),
        path,
        dynamo=False,
        input_names=['x'],
        output_names=['y'],
        dynamic_axes=OPEN,
    )
    assert_right_at_every_size(open_session(path), model)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['dualattn_tiny', 'dualattn_mpt'])
def test_onnx_by_torch_export(name, build_shallow, tmp_path):
    model, path = build_shallow(name), tmp_path / 'model.onnx'
    torch.onnx.export(
        model,
        (images(2, 130, 150),),
        path,
        dynamo=True,
        input_names=['x'],
        output_names=['y'],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},),
        verbose=False,
    )
    assert_right_at_every_size(open_session(path), model)


@pytest.mark.slow
@pytest.mark.parametrize('name, tokens', [('dualattn_tiny', 7), ('dualattn_mpt', 8)])
def test_torch_export_with_open_sides(name, tokens, build_shallow):
    """Wherever the smallest map has more tokens than a window: torch.export takes a size of one for a constant."""
    model, least = build_shallow(name), 8 * tokens + 1
    dims = {0: torch.export.Dim('batch')}
    dims.update({2: torch.export.Dim('height', min=least), 3: torch.export.Dim('width', min=least)})
    program = torch.export.export(model, (images(2, least + 40, least + 70),), dynamic_shapes=(dims,))
    module = program.module()
    sizes = [
        (batch, least + 37 * i % 100, least + 61 * i % 150) for i, batch in enumerate([1, 2, 3, 1, 5, 1, 2, 1, 1, 2])
    ]
    assert_right_at_every_size(lambda x: module(x).detach(), model, sizes)
    with pytest.raises(AssertionError, match=f'>= {least}'):
        module(images(1, 40, 64))


def test_set_input_size_changes_nothing(build):
    model, x = build('dualattn_tiny'), images(1, 75, 64)
    before = model(x)
    model.set_input_size((64, 96))
    model.set_input_size(384)
    assert torch.equal(model(x), before)
    with pytest.raises(ValueError, match='img_size has to be positive, got 0'):
        model.set_input_size(0)
    with pytest.raises(TypeError, match='window_size'):  # which timm's Swin takes, and which would change the network
        model.set_input_size(384, window_size=12)


@pytest.mark.parametrize('name', ['dualattn_tiny', 'dualattn_mpt.untrained'])
def test_pretrained_without_published_weights_says_what_to_do(name):
    with pytest.raises(RuntimeError, match=r'no published weights of dualattn_.*pretrained_cfg_overlay=dict\(file='):
        timm.create_model(name, pretrained=True)


def test_pretrained_loads_a_file(build, tmp_path):
    torch.save(build('dualattn_tiny').state_dict(), tmp_path / 'weights.pth')
    overlay = dict(file=str(tmp_path / 'weights.pth'), num_classes=10)
    torch.manual_seed(1)
    model = build('dualattn_tiny', pretrained=True, pretrained_cfg_overlay=overlay)
    for key, value in build('dualattn_tiny').state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
