"""Derivatives of every kind and counts of FLOPs through the kernels, against float64 and the plain form.

What takes the same path of dispatch has one case each: a transform of torch.func, a tangent of forward-mode AD, a
gradient that is differentiated again, and vmap.
"""

import copy
import logging

import fvcore.nn
import pytest
import torch
from torch import autograd, func
from torch.autograd import forward_ad
from torch.utils import _pytree
from torch.utils.flop_counter import FlopCounterMode

from dualattn.layers import DualAttnStage
from dualattn.ops import library

needs_kernels = pytest.mark.skipif(not library.is_loaded(), reason=f'no compiled kernels: {library.LOAD_PROBLEM}')


class Operators:
    """Both operators as torch calls them: maps of two heads, and windows that do not divide them."""

    @staticmethod
    def sda(qkv):
        return torch.ops.dualattn.sda(qkv, 4, 3, 2, 0.35) if qkv.dtype != torch.float64 else plain_sda(qkv)

    @staticmethod
    def fca(qkv):
        return torch.ops.dualattn.fca(qkv, 2, 0.1)[0] if qkv.dtype != torch.float64 else plain_fca(qkv)


def plain_sda(qkv):
    from dualattn.ops import reference

    return reference.separable_dilated_attention(qkv, (4, 3), 2, 0.35)


def plain_fca(qkv):
    from dualattn.ops import reference

    return reference.factorized_channel_attention(qkv, 2, 0.1)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def square(f):
    return lambda x: f(x).square().sum()


def by_dual_numbers(f, x, t):
    with forward_ad.dual_level():
        primal, tangent = forward_ad.unpack_dual(f(forward_ad.make_dual(x, t)))
        return primal.detach(), tangent.detach()


def forward_over_reverse(f, x, t):
    with forward_ad.dual_level():
        x = forward_ad.make_dual(x.clone().requires_grad_(), t)
        primal, tangent = forward_ad.unpack_dual(autograd.grad(square(f)(x), x)[0])
        return primal.detach(), tangent.detach()


def with_dual_gradient(f, x, t):
    x = x.clone().requires_grad_()
    out = f(x)
    with forward_ad.dual_level():
        grad = forward_ad.make_dual(torch.ones_like(out), torch.ones_like(out) * 0.3)
        primal, tangent = forward_ad.unpack_dual(autograd.grad(out, x, grad)[0])
        return primal.detach(), tangent.detach()


def nth_derivative(f, x, t, order):
    x = x.clone().requires_grad_()
    out = square(f)(x)
    for _ in range(order):
        out = (autograd.grad(out, x, create_graph=True)[0] * t).sum()
    return out.detach()


def in_batches(f, x, t):
    x = x.clone().requires_grad_()
    out = f(x)
    return autograd.grad(out, x, torch.stack([torch.ones_like(out), out.detach()]), is_grads_batched=True)


DERIVATIVES = {
    'jvp': lambda f, x, t: func.jvp(f, (x,), (t,)),
    'jvp without gradients': lambda f, x, t: torch.no_grad()(func.jvp)(f, (x,), (t,)),
    'linearize': lambda f, x, t: func.linearize(f, x)[1](t),
    'vjp': lambda f, x, t: func.vjp(f, x)[1](f(x)),
    'grad': lambda f, x, t: func.grad(square(f))(x),
    'jacrev': lambda f, x, t: func.jacrev(f)(x[:1, :2, :3]),
    'jacfwd': lambda f, x, t: func.jacfwd(f)(x[:1, :2, :3]),
    'hessian': lambda f, x, t: func.hessian(square(f))(x[:1, :2, :3]),
    'grad of grad': lambda f, x, t: func.grad(lambda y: (func.grad(square(f))(y) * t).sum())(x),
    'vmap': lambda f, x, t: func.vmap(f)(x[:, None]),
    'vmap over columns': lambda f, x, t: func.vmap(f, in_dims=3, out_dims=1)(torch.stack([x, t], 3)),
    'vmap of vmap': lambda f, x, t: func.vmap(func.vmap(f, in_dims=-1))(torch.stack([x, t], -1)[:, None]),
    'vmap of grad': lambda f, x, t: func.vmap(func.grad(square(lambda y: f(y[None]))))(x),
    'vmap of nothing': lambda f, x, t: func.vmap(f)(x[:, None][:, :0]),
    'vmap over nothing': lambda f, x, t: func.vmap(f)(x[:0, None]),
    'dual numbers': by_dual_numbers,
    'forward over reverse': forward_over_reverse,
    'dual gradient': with_dual_gradient,
    'second derivative': lambda f, x, t: nth_derivative(f, x, t, 2),
    'third derivative': lambda f, x, t: nth_derivative(f, x, t, 3),
    'gradients in batches': in_batches,
    'functional.jacobian': lambda f, x, t: autograd.functional.jacobian(f, x[:1, :2, :3], vectorize=True),
    'functional.hessian': lambda f, x, t: autograd.functional.hessian(square(f), x[:1, :2, :3]),
    'functional.hvp': lambda f, x, t: autograd.functional.hvp(square(f), x, t),
    'functional.jvp': lambda f, x, t: autograd.functional.jvp(f, x, t),
    'no batch': lambda f, x, t: (func.jvp(f, (x[:0],), (t[:0],)), func.grad(square(f))(x[:0])),
}


def assert_agree(results, expected):
    results, expected = _pytree.tree_leaves(results), _pytree.tree_leaves(expected)
    assert len(results) == len(expected)
    for result, other in zip(results, expected, strict=True):
        assert result.shape == other.shape
        if other.numel():
            assert (result - other).abs().max() <= 1e-5 * other.abs().max() + 1e-7


@needs_kernels
@pytest.mark.parametrize('derivative', DERIVATIVES)
@pytest.mark.parametrize('name', ['sda', 'fca'])
def test_derivatives_of_the_operators(name, derivative):
    f, x, t = getattr(Operators, name), draw(2, 5, 7, 3 * 16), draw(2, 5, 7, 3 * 16, seed=1)
    assert_agree(DERIVATIVES[derivative](f, x, t), DERIVATIVES[derivative](f, x.double(), t.double()))


@needs_kernels
@pytest.mark.parametrize('name', ['sda_backward', 'fca_backward'])
def test_vmap_of_the_backward_operators(name):
    x, grad = draw(3, 2, 5, 7, 3 * 16), draw(2, 5, 7, 16, seed=1)
    if name == 'sda_backward':
        call = lambda g, x: torch.ops.dualattn.sda_backward(g, x, 4, 3, 2, 0.35)  # noqa: E731
    else:
        call = lambda g, x: torch.ops.dualattn.fca_backward(g, x, torch.ops.dualattn.fca(x, 2, 0.1)[1], 2, 0.1)  # noqa: E731
    out = func.vmap(call, in_dims=(None, 0))(grad, x)
    torch.testing.assert_close(out, torch.stack([call(grad, one) for one in x]))


@needs_kernels
def test_vmap_keeps_the_kernels(recwarn):
    """One call for all, not torch's loop, which warns."""
    with FlopCounterMode(display=False) as counter:
        func.vmap(Operators.sda)(draw(3, 2, 5, 7, 3 * 16))
    assert torch.ops.dualattn.sda in counter.get_flop_counts()['Global']
    assert not [warning for warning in recwarn if 'vmap' in str(warning.message)]


@pytest.fixture(params=[('sda', 'fca'), ('da', 'ca')], ids='-'.join)
def model(request, build):
    return build('dualattn_tiny', depths=(1, 1), embed_dims=(32, 48), strides=(2, 2), attn_types=request.param)


def jvp_of_parameters(model, x, t):
    parameters = dict(model.named_parameters())
    tangents = {key: 0.1 * value for key, value in parameters.items()}
    return func.jvp(lambda p: func.functional_call(model, p, (x,)), (parameters,), (tangents,))


def gradients_of_samples(model, x, t):
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    loss = lambda p, one: func.functional_call(model, p, (one[None],)).square().sum()  # noqa: E731
    return func.vmap(func.grad(loss), in_dims=(None, 0))(parameters, x)


def ensemble(model, x, t):
    second = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(1.1)
        parameters, buffers = func.stack_module_state([model, second])
        return func.vmap(lambda p, b, x: func.functional_call(model, (p, b), (x,)), in_dims=(0, 0, None))(
            parameters, buffers, x
        )


def checkpointed(model, x, t):
    model.set_grad_checkpointing(True)
    results = func.jvp(model, (x,), (t,)), func.grad(square(model))(x), by_dual_numbers(model, x, t)
    model.set_grad_checkpointing(False)
    return results


MODEL_DERIVATIVES = {
    'jvp': lambda model, x, t: func.jvp(model, (x,), (t,)),
    'jvp of parameters': jvp_of_parameters,
    'gradients of samples': gradients_of_samples,
    'vmap': lambda model, x, t: func.vmap(model, in_dims=1)(x[None]),
    'ensemble': ensemble,
    'dual numbers': by_dual_numbers,
    'second derivative': lambda model, x, t: nth_derivative(model, x, t, 2),
    'checkpointing': checkpointed,
}


@pytest.mark.parametrize('derivative', MODEL_DERIVATIVES)
def test_derivatives_of_a_model(model, derivative):
    x, t = draw(2, 3, 37, 50), draw(2, 3, 37, 50, seed=1)
    exact = MODEL_DERIVATIVES[derivative](copy.deepcopy(model).double(), x.double(), t.double())
    assert_agree(MODEL_DERIVATIVES[derivative](model, x, t), exact)


def test_ensemble_of_large_maps_without_gradients(build):
    """Maps beyond the size at which the MLP works in pieces, with weights that are mapped where the images are not."""
    model, x = build('dualattn_tiny', depths=(1, 1), embed_dims=(32, 48), strides=(2, 2)), draw(1, 3, 200, 200)
    assert_agree(ensemble(model, x, None), ensemble(copy.deepcopy(model).double(), x.double(), None))


@needs_kernels
def test_transforms_inside_compiled_code():
    torch.compiler.reset()
    x, t = draw(2, 5, 7, 3 * 16), draw(2, 5, 7, 3 * 16, seed=1)
    for f in (Operators.sda, Operators.fca):
        for derivative in ('jvp', 'grad'):
            compiled = torch.compile(
                lambda x, t, f=f, d=derivative: DERIVATIVES[d](f, x, t), fullgraph=True, backend='aot_eager'
            )
            assert_agree(compiled(x, t), DERIVATIVES[derivative](f, x.double(), t.double()))


# --- FLOPs


def count(model, x, backward=False, context=None):
    with FlopCounterMode(display=False) as counter, context or torch.enable_grad():
        out = model(x)
        if backward:
            out.float().sum().backward()
    return counter.get_total_flops()


@needs_kernels
def test_flops_are_those_of_the_plain_form(model, monkeypatch):
    x = draw(2, 3, 37, 50)

    def count_all():
        counts = {
            'forward': count(model, x),
            'backward': count(model, x, backward=True),
            'no_grad': count(model, x, context=torch.no_grad()),
            'inference': count(model, x, context=torch.inference_mode()),
            'autocast': count(model, x, True, torch.autocast('cpu', dtype=torch.bfloat16)),
            'bfloat16': count(copy.deepcopy(model).bfloat16(), x.bfloat16(), True),
        }
        model.set_grad_checkpointing(True)
        counts['checkpointing'] = count(model, x, True)
        model.set_grad_checkpointing(False)
        return counts

    counts = count_all()
    monkeypatch.setenv('DUALATTN_BACKEND', 'reference')
    assert counts == count_all()
    assert counts['checkpointing'] > counts['backward'] > 2 * counts['forward'] > 0


@needs_kernels
def test_flops_of_compiled_code():
    """Counted as torch counts: compiled before, or by the counter's own call."""
    f = lambda x: Operators.sda(x) + Operators.fca(x)  # noqa: E731
    x = draw(2, 5, 7, 3 * 16).requires_grad_()
    expected = count(f, x, True)
    torch.compiler.reset()
    compiled = torch.compile(f, fullgraph=True, backend='aot_eager')
    assert count(compiled, x, True) == expected
    compiled(x)
    assert count(compiled, x, True) == expected


@needs_kernels
def test_flops_are_those_that_fvcore_counts():
    """As far as both count the same: linear layers and convolutions, and the products of the attentions."""
    stage = DualAttnStage(16, 32, 1, 2, ('sda', 'fca'), 3, 16, 2.0, True, [0.0], 'layernorm', 'gelu').eval()
    x = draw(2, 16, 22, 14)
    logging.getLogger('fvcore.nn.jit_analysis').setLevel(logging.ERROR)
    by_operator = fvcore.nn.FlopCountAnalysis(stage, x).by_operator()
    expected = sum(by_operator[name] for name in ('linear', 'conv', 'matmul'))
    assert count(stage, x) == 2 * expected  # fvcore's unit is a multiply-add
