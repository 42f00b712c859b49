"""The operators that join a residual block for inference, when the layers take them, and subnormal numbers on a CPU."""

import copy
import platform

import pytest
import torch
from timm.layers import LayerNorm
from torch import func, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from dualattn.layers import ResidualAttention, joined
from dualattn.ops import block, library

pytestmark = pytest.mark.skipif(not library.has_block_kernels(), reason='no compiled kernels of a block')

OPERATORS = ('residual_mlp', 'linear_residual', 'norm_project')
# (B, H, W, C, wider): stages of the model, odd sides, one column or row, channels that end a vector in the middle, more
# tokens than a piece holds, one image beside another in a piece, nothing
CASES = [
    (2, 14, 14, 96, 4),
    (1, 7, 9, 64, 2),
    (3, 1, 1, 32, 1),
    (2, 1, 13, 24, 3),
    (2, 13, 1, 10, 3),
    (1, 5, 6, 1, 5),
    (5, 3, 4, 19, 2),
    (1, 61, 37, 12, 4),
    (0, 4, 4, 32, 2),
    (2, 0, 4, 32, 2),
    (2, 4, 0, 32, 2),
]


def draw(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def make_arguments(name, case):
    b, h, w, c, wider = case
    x, norm = draw(b, h, w, c), (draw(c, seed=1), draw(c, seed=2), 1e-6)
    if name == 'linear_residual':
        return x, draw(wider * c, c, scale=c**-0.5), draw(wider * c, seed=3), draw(b, h, w, wider * c, seed=4)
    wide = wider * c
    first = draw(wide, c, seed=3, scale=c**-0.5), draw(wide, seed=4)
    if name == 'residual_mlp':
        return x, *norm, *first, draw(c, wide, seed=5, scale=wide**-0.5), draw(c, seed=6)
    return x, *norm, *first, draw(wide, 1, 3, 3, seed=5), draw(wide, seed=6)


def convert(arguments, dtype):
    return [argument.to(dtype) if isinstance(argument, torch.Tensor) else argument for argument in arguments]


def assert_as_close_as_plain(name, arguments):
    """The root of the mean squared error against float64 is at most 1.5 times that of torch's own functions."""
    exact = getattr(block, name)(*convert(arguments, torch.float64))
    result, plain = getattr(torch.ops.dualattn, name)(*arguments), getattr(block, name)(*arguments)
    assert result.shape == exact.shape and result.dtype == torch.float32 and result.is_contiguous()
    if result.numel():
        size = exact.square().mean().sqrt()
        error, allowed = ((y - exact).square().mean().sqrt() / size for y in (result, plain))
        assert error <= 1.5 * allowed + 3e-8
        assert (result - exact).abs().max() <= 2 * (plain - exact).abs().max() + 1e-6 * exact.abs().max()


@pytest.fixture(params=['generic', 'avx2', 'avx512'])
def instruction_set(request):
    before = library.cpu_instruction_set()
    try:
        library.select_cpu_instruction_set(request.param)
    except ValueError:
        pytest.skip(f'this processor does not run {request.param}')
    yield request.param
    library.select_cpu_instruction_set(before)


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('name', OPERATORS)
def test_values(name, case, instruction_set):
    arguments = make_arguments(name, case)
    with torch.no_grad():
        if name == 'norm_project' and 0 in case[1:3]:  # torch's convolution refuses a map of no tokens
            assert torch.ops.dualattn.norm_project(*arguments).shape == (*case[:3], case[3] * case[4])
        else:
            assert_as_close_as_plain(name, arguments)


@pytest.mark.parametrize('name', OPERATORS)
def test_memory_layout_is_free(name):
    arguments = make_arguments(name, (2, 6, 5, 16, 2))
    strided = [
        argument.transpose(0, -1).contiguous().transpose(0, -1) if isinstance(argument, torch.Tensor) else argument
        for argument in arguments
    ]
    with torch.no_grad():
        operator = getattr(torch.ops.dualattn, name)
        torch.testing.assert_close(operator(*strided), operator(*arguments))


@pytest.mark.parametrize('name', OPERATORS)
def test_threads(name):
    """Pieces grow with the threads: more rows of a map than one thread takes at a time, so that bands meet."""
    arguments, before = make_arguments(name, (2, 45, 40, 24, 4)), torch.get_num_threads()
    try:
        with torch.no_grad():
            for threads in (1, 3):
                torch.set_num_threads(threads)
                assert_as_close_as_plain(name, arguments)
    finally:
        torch.set_num_threads(before)


def test_gelu_of_unusual_numbers():
    """Beyond the range of the rational function, and what is no number: as torch computes it."""
    values = torch.tensor([-1e30, -100.0, -5.7, -5.6, -1e-30, 0.0, 1e-30, 5.6, 5.7, 100.0, 1e30, torch.nan])
    n = len(values)
    one, zero = torch.ones(1), torch.zeros(1)
    with torch.no_grad():
        # the normal token is 0, so that the bias of the first layer is what GELU sees
        out = torch.ops.dualattn.residual_mlp(
            torch.zeros(n, n, 1), one, zero, 1e-5, torch.zeros(n, 1), values, torch.eye(n)[:1] * 0 + 1, zero
        )
        assert out.isnan().all()
        for value in values[:-1]:
            result = torch.ops.dualattn.residual_mlp(
                torch.zeros(1, 1), one, zero, 1e-5, torch.zeros(1, 1), value[None], torch.ones(1, 1), zero
            )
            torch.testing.assert_close(
                result[0], torch.nn.functional.gelu(value[None]), rtol=1e-6, atol=2e-6 if value.abs() < 6 else 0
            )


@pytest.mark.parametrize('name', OPERATORS)
def test_derivatives_are_those_of_the_plain_form(name):
    arguments = make_arguments(name, (2, 3, 4, 6, 2))
    operator, plain = getattr(torch.ops.dualattn, name), getattr(block, name)
    tensors = [i for i, argument in enumerate(arguments) if isinstance(argument, torch.Tensor)]

    def gradients(function, arguments):
        leaves = [a.clone().requires_grad_() if isinstance(a, torch.Tensor) else a for a in arguments]
        return torch.autograd.grad(function(*leaves).square().sum(), [leaves[i] for i in tensors])

    exact = gradients(plain, convert(arguments, torch.float64))
    for result, other in zip(gradients(operator, arguments), exact, strict=True):
        torch.testing.assert_close(result, other.float(), rtol=1e-3, atol=1e-4)

    tangents = tuple(torch.ones_like(arguments[i]) for i in tensors)

    def of_tensors(function):
        def call(*given):
            given = dict(zip(tensors, given, strict=True))
            return function(*[given.get(i, argument) for i, argument in enumerate(arguments)])

        return call

    primals = tuple(arguments[i] for i in tensors)
    for grad_mode in (torch.enable_grad, torch.no_grad):
        with grad_mode():
            _, tangent = func.jvp(of_tensors(operator), primals, tangents)
        torch.testing.assert_close(tangent, func.jvp(of_tensors(plain), primals, tangents)[1])
    with torch.no_grad(), forward_ad.dual_level():
        x = forward_ad.make_dual(primals[0], tangents[0])
        result, other = (forward_ad.unpack_dual(f(x, *primals[1:])) for f in (of_tensors(operator), of_tensors(plain)))
        torch.testing.assert_close(result.tangent, other.tangent)


@pytest.mark.parametrize('name', OPERATORS)
def test_gradients_of_the_plain_form(name):
    arguments = convert(make_arguments(name, (1, 2, 3, 3, 2)), torch.float64)
    leaves = [a.requires_grad_() if isinstance(a, torch.Tensor) else a for a in arguments]
    assert torch.autograd.gradcheck(getattr(block, name), leaves)


@pytest.mark.parametrize('name', OPERATORS)
def test_vmap(name):
    arguments = make_arguments(name, (2, 3, 4, 6, 2))
    operator = getattr(torch.ops.dualattn, name)
    stacked = torch.stack([arguments[0], arguments[0] * 2], dim=1)
    weights = torch.stack([arguments[-2], arguments[-2] * 0.5])
    in_dims = [None] * len(arguments)
    in_dims[0], in_dims[-2] = 1, 0
    with torch.no_grad():
        given = list(arguments)
        given[0], given[-2] = stacked, weights
        out = func.vmap(operator, in_dims=tuple(in_dims))(*given)
        for i in range(2):
            one = list(arguments)
            one[0], one[-2] = stacked[:, i], weights[i]
            torch.testing.assert_close(out[i], operator(*one))
        given[0], given[-2] = stacked[:, :0], weights[:0]
        assert func.vmap(operator, in_dims=tuple(in_dims))(*given).shape == (0, *out.shape[1:])


@pytest.mark.parametrize('name', OPERATORS)
def test_flops_are_those_of_the_plain_form(name):
    arguments, counts = make_arguments(name, (2, 3, 4, 6, 2)), []
    for function in (getattr(torch.ops.dualattn, name), getattr(block, name)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            function(*arguments)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize('name', OPERATORS)
def test_opcheck(name):
    arguments = tuple(make_arguments(name, (2, 3, 4, 6, 2)))
    operator = getattr(torch.ops.dualattn, name).default
    torch.library.opcheck(operator, arguments)
    leaves = tuple(a.clone().requires_grad_() if isinstance(a, torch.Tensor) else a for a in arguments)
    torch.library.opcheck(operator, leaves, test_utils=('test_schema', 'test_faketensor', 'test_autograd_registration'))


@pytest.mark.parametrize('name', OPERATORS)
def test_autocast(name):
    arguments = make_arguments(name, (2, 3, 4, 8, 2))
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        result, plain = getattr(torch.ops.dualattn, name)(*arguments), getattr(block, name)(*arguments)
    assert result.dtype == plain.dtype
    torch.testing.assert_close(result, plain)


@pytest.mark.parametrize('name', OPERATORS)
def test_arguments_that_do_not_fit_are_refused(name):
    arguments = make_arguments(name, (2, 3, 4, 8, 2))
    operator = getattr(torch.ops.dualattn, name)
    with torch.no_grad():
        for i, argument in enumerate(arguments):
            if not isinstance(argument, torch.Tensor):
                continue
            for wrong in (argument[..., :-1], argument[None], argument.double(), argument[:0], argument.flatten()[0]):
                if i == 0 and wrong.dim() in (3, 5) and name != 'norm_project':  # any rank will do
                    continue
                given = [*arguments[:i], wrong, *arguments[i + 1 :]]
                if i == 0 and wrong.shape == argument[:0].shape:  # no image
                    continue
                with pytest.raises(RuntimeError, match='has to|does not have|holds|dimension'):
                    operator(*given)


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='other processors have no price for subnormal numbers')
@pytest.mark.parametrize('threads', [1, 2])
def test_subnormal_numbers_are_zero_inside_and_nowhere_else(threads):
    """Each would cost a hundred cycles; the rest of the process keeps them."""
    qkv, before = draw(2, 6, 6, 3 * 32), torch.get_num_threads()
    qkv[..., 64:] = 1e-39
    try:
        torch.set_num_threads(threads)
        assert not torch.ops.dualattn.fca(qkv, 2, 0.1)[0].any()
        assert not torch.ops.dualattn.sda(qkv, 3, 3, 2, 0.1).any()
        assert (torch.full((100_000,), 1e-39) * 0.5).all()
    finally:
        torch.set_num_threads(before)


# --- the layers


@pytest.fixture(params=['sda', 'fca'])
def layer(request):
    torch.manual_seed(0)
    layer = ResidualAttention(32, request.param, window_size=3, head_dim=16).eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.2)
    return layer


def run_joined(layer, x, monkeypatch):
    """Return the result and which halves were joined."""
    taken = []
    for name in ('run_attention', 'run_mlp'):
        run = getattr(joined, name)
        monkeypatch.setattr(
            'dualattn.layers.blocks.' + name, lambda *a, run=run, name=name: (taken.append(name), run(*a))[1]
        )
    return layer(x), taken


def test_inference_is_joined_and_gives_the_same(layer, monkeypatch):
    x = draw(2, 7, 9, 32)
    exact = copy.deepcopy(layer).double()(x.double())
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            result, taken = run_joined(layer, x, monkeypatch)
        assert taken == ['run_attention', 'run_mlp']
        torch.testing.assert_close(result, exact.detach().float(), rtol=1e-4, atol=1e-5)


def hook(layer):
    layer.norm2.register_forward_hook(lambda module, args, out: None)


def hook_before(layer):
    layer.attn.qkv.depthwise.register_forward_pre_hook(lambda module, args: None)


def replace(layer):
    class Adapted(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    layer.mlp.fc1, layer.attn.proj = Adapted(32, 128), Adapted(32, 32)


def wrap(layer):
    forward = layer.mlp.fc2.forward
    layer.mlp.fc2.forward = lambda x: forward(x) * 2


def mask(layer):
    class Half(nn.Module):
        def forward(self, weight):
            return weight * 0.5

    parametrize.register_parametrization(layer.mlp.fc1, 'weight', Half())


def dilate(layer):
    layer.attn.qkv.depthwise.dilation = layer.attn.qkv.depthwise.padding = (2, 2)


def change_activation(layer):
    layer.mlp.act = nn.GELU(approximate='tanh')


def remove_affine(layer):
    layer.norm1, layer.norm2 = LayerNorm(32, affine=False), LayerNorm(32, affine=False)


CHANGES = {
    hook: ['run_attention'],
    hook_before: ['run_mlp'],
    replace: [],
    wrap: ['run_attention'],
    mask: ['run_attention'],
    dilate: ['run_mlp'],
    change_activation: ['run_attention'],
    remove_affine: [],
}


@pytest.mark.parametrize('change', CHANGES, ids=lambda change: change.__name__)
def test_what_was_changed_is_called(layer, change, monkeypatch):
    change(layer)
    x = draw(2, 7, 9, 32)
    with torch.no_grad():
        result, taken = run_joined(layer, x, monkeypatch)
    assert taken == CHANGES[change]
    torch.testing.assert_close(result, layer(x).detach(), rtol=1e-4, atol=1e-5)  # with gradients nothing is joined


def test_hooks_on_all_modules_see_every_module(layer, monkeypatch):
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, out: None)
    try:
        with torch.no_grad():
            assert run_joined(layer, draw(1, 3, 3, 32), monkeypatch)[1] == []
    finally:
        handle.remove()


def test_where_nothing_is_joined(layer, monkeypatch):
    x = draw(2, 4, 4, 32)
    assert run_joined(layer, x, monkeypatch)[1] == []
    with torch.no_grad():
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert run_joined(layer, x, monkeypatch)[1] == []
        assert run_joined(copy.deepcopy(layer).double(), x.double(), monkeypatch)[1] == []
        assert run_joined(copy.deepcopy(layer).to('meta'), x.to('meta'), monkeypatch)[1] == []
        parameters = dict(layer.named_parameters())
        func.vmap(lambda x: func.functional_call(layer, parameters, (x[None],)))(x)
        assert run_joined(layer, x, monkeypatch)[1] == ['run_attention', 'run_mlp']
        monkeypatch.setenv('DUALATTN_BACKEND', 'reference')
        assert run_joined(layer, x, monkeypatch)[1] == []


def test_stochastic_depth_is_not_joined(monkeypatch):
    layer, x = ResidualAttention(16, 'sda', 3, 8, drop_path=0.5), draw(2, 4, 4, 16)
    with torch.no_grad():
        assert run_joined(layer.train(), x, monkeypatch)[1] == []
        assert run_joined(layer.eval(), x, monkeypatch)[1] == ['run_attention', 'run_mlp']


def test_a_library_without_these_kernels_changes_nothing(layer, monkeypatch):
    monkeypatch.setattr(library, '_compiled', object())
    assert not library.has_block_kernels()
    with torch.no_grad():
        assert not block.takes_block(draw(1, 2, 2, 32), *layer.parameters())
