"""The graph tools of torch and timm take every variant, at sizes with and without padding."""

import pytest
import timm
import torch
from timm.models import create_feature_extractor

import dualattn  # noqa: F401  registers dualattn_* with timm

every_model = pytest.mark.parametrize('name', timm.list_models('dualattn_*'))
SIZES = [(64, 64), (70, 45)]


def images(size, batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@every_model
def test_fx_feature_extractor(name, build):
    model = build(name)
    nodes = {'stages.1': 'middle', 'stages.3': 'last', 'head.fc': 'logits'}
    extractor = create_feature_extractor(model, nodes)
    for size in SIZES:  # one graph serves all sizes
        out = extractor(images(size))
        final, (middle, last) = model.forward_intermediates(images(size), indices=[1, 3])
        torch.testing.assert_close(out['middle'], middle)
        torch.testing.assert_close(out['last'], last)
        torch.testing.assert_close(out['logits'], model.forward_head(final))


@every_model
def test_fx_gradient(name, build):
    model = build(name).train()
    extractor = create_feature_extractor(model, ['head.fc'])
    extractor(images((64, 64)))['head.fc'].sum().backward()
    assert all(parameter.grad is not None for parameter in extractor.parameters())


@every_model
def test_torchscript(name, build):
    model = build(name)
    script = torch.jit.script(model)
    for size in SIZES:
        torch.testing.assert_close(script(images(size)), model(images(size)))


@every_model
def test_torchscript_of_features(name, build):
    net = build(name, features_only=True)
    script = torch.jit.script(net)
    for size in SIZES:
        for feature, expected in zip(script(images(size)), net(images(size)), strict=True):
            torch.testing.assert_close(feature, expected)


@every_model
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_compile_finds_one_graph(name, dtype, build):
    model = build(name, dtype=dtype)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    for size in SIZES:
        torch.testing.assert_close(compiled(images(size).to(dtype)), model(images(size).to(dtype)))


@pytest.mark.slow
@pytest.mark.parametrize('dynamic', [False, True])
@pytest.mark.parametrize('name', ['dualattn_tiny', 'dualattn_mpt'])
def test_inductor_trains(name, dynamic, build):
    model, reference = build(name).train(), build(name).train()
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic)
    for size in SIZES:
        model.zero_grad()
        reference.zero_grad()
        out, expected = compiled(images(size)), reference(images(size))
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
        out.square().sum().backward()
        expected.square().sum().backward()
        for parameter, other in zip(model.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-5)


@every_model
@pytest.mark.parametrize('size', SIZES)
def test_export(name, size, build):
    model = build(name)
    program = torch.export.export(model, (images(size),))
    torch.testing.assert_close(program.module()(images(size)), model(images(size)))


@every_model
@pytest.mark.parametrize('size', SIZES)
def test_export_with_dynamic_batch(name, size, build):
    model = build(name)
    program = torch.export.export(model, (images(size),), dynamic_shapes=({0: torch.export.Dim('batch')},))
    for batch in (1, 2, 5):
        torch.testing.assert_close(program.module()(images(size, batch)), model(images(size, batch)))


def test_exported_graph_holds_plain_operators_only(build):
    program = torch.export.export(build('dualattn_tiny'), (images((70, 45)),))
    calls = [str(node.target) for node in program.graph.nodes if node.op == 'call_function']
    assert calls
    assert all(call.startswith('aten.') for call in calls), sorted(set(calls))
