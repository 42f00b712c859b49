"""The graph tools of torch and timm take every variant, at sizes with and without padding."""

import pytest
import timm
import torch
from timm.models import create_feature_extractor

import dualattn  # noqa: F401  registers dualattn_* with timm

MODELS = timm.list_models('dualattn_*')
# the first leaves 14 and 7 tokens a side after two stages: whole windows for G = 7, padded ones for G = 8 and 12
SIZES = [(56, 56), (70, 45)]

every_model = pytest.mark.parametrize('name', MODELS)
# one of each order of attentions by default, because these tools take seconds per model
every_model_slowly = pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=() if name in ('dualattn_tiny', 'dualattn_mpt') else pytest.mark.slow)
        for name in MODELS
    ],
)


@pytest.fixture(autouse=True)
def forget_compiled_code():
    """A second size would otherwise be compiled for all sizes, which takes minutes where sides have to be padded."""
    torch.compiler.reset()


@pytest.fixture
def build_shallow(build):
    """`build` with two stages: every kind of layer, and half of the graph."""
    return lambda name, **kwargs: build(name, depths=(1, 1), embed_dims=(32, 64), strides=(2, 2), **kwargs)


def images(size, batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@every_model
def test_fx_feature_extractor(name, build):
    model = build(name)
    extractor = create_feature_extractor(model, {'stages.1': 'middle', 'stages.3': 'last', 'head.fc': 'logits'})
    for size in SIZES:  # one graph serves all sizes
        out = extractor(images(size))
        final, (middle, last) = model.forward_intermediates(images(size), indices=[1, 3])
        torch.testing.assert_close(out['middle'], middle)
        torch.testing.assert_close(out['last'], last)
        torch.testing.assert_close(out['logits'], model.forward_head(final))
    out['logits'].sum().backward()
    assert all(parameter.grad is not None for parameter in extractor.parameters())


@every_model_slowly
def test_torchscript(name, build_shallow):
    model = build_shallow(name)
    script = torch.jit.script(model)
    for size in SIZES:
        torch.testing.assert_close(script(images(size)), model(images(size)))


def test_torchscript_of_features(build_shallow):
    net = build_shallow('dualattn_tiny', features_only=True)
    script = torch.jit.script(net)
    for size in SIZES:
        for feature, expected in zip(script(images(size)), net(images(size)), strict=True):
            torch.testing.assert_close(feature, expected)


@every_model_slowly
def test_compile_finds_one_graph(name, build_shallow):
    model = build_shallow(name)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(images(SIZES[0])), model(images(SIZES[0])))


def test_compile_in_half_precision(build_shallow):
    model = build_shallow('dualattn_tiny', dtype=torch.bfloat16)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    image = images((70, 45)).bfloat16()
    torch.testing.assert_close(compiled(image), model(image))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['dualattn_tiny', 'dualattn_mpt'])
def test_compiled_by_inductor_trains(name, build_shallow):
    model, reference = build_shallow(name).train(), build_shallow(name).train()
    out, expected = torch.compile(model, fullgraph=True)(images(SIZES[0])), reference(images(SIZES[0]))
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    out.square().sum().backward()
    expected.square().sum().backward()
    for (key, parameter), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        error = (parameter.grad - other.grad).abs().max()
        assert error <= 1e-3 * other.grad.abs().max(), key


@every_model_slowly
@pytest.mark.parametrize('size', SIZES)
def test_export(name, size, build_shallow):
    model = build_shallow(name)
    program = torch.export.export(model, (images(size),))
    torch.testing.assert_close(program.module()(images(size)), model(images(size)))
    calls = {str(node.target) for node in program.graph.nodes if node.op == 'call_function'}
    assert all(call.startswith('aten.') or 'getitem' in call for call in calls)  # nothing of ours has to be installed


@every_model_slowly
def test_export_with_dynamic_batch(name, build_shallow):
    model, size = build_shallow(name), SIZES[0]
    program = torch.export.export(model, (images(size),), dynamic_shapes=({0: torch.export.Dim('batch')},))
    for batch in (1, 2, 5):
        torch.testing.assert_close(program.module()(images(size, batch)), model(images(size, batch)))
