"""The compiled kernels against the reference: values, gradients, dispatch, and what torch asks of an operator.

GPU cases are marked `gpu` and skip without a device; `tools/check_gpu.sh` runs them.
"""

import pytest
import torch

from dualattn.ops import backends, factorized_channel_attention, library, reference, separable_dilated_attention

needs_kernels = pytest.mark.skipif(not library.is_loaded(), reason=f'no compiled kernels: {library.LOAD_PROBLEM}')
needs_gpu = pytest.mark.skipif(
    not (torch.cuda.is_available() and library.has_cuda_kernels()), reason='needs a CUDA device and the CUDA kernels'
)
gpu = [pytest.mark.gpu, needs_gpu]

DEVICES = [pytest.param('cpu', marks=needs_kernels), pytest.param('cuda', marks=gpu)]
KINDS = [
    pytest.param(
        device,
        dtype,
        marks=needs_kernels if device == 'cpu' else gpu,
        id=f'{device}-{str(dtype).removeprefix("torch.")}',
    )
    for device, dtypes in (('cpu', backends.DTYPES['cpu']), ('cuda', backends.DTYPES['cuda']))
    for dtype in dtypes
]
INSTRUCTION_SETS = ['generic', 'avx2', 'avx512']

# (B, H, W, window, heads, channels of a head): the model's own, every G and head dim, odd and unequal sides, maps
# smaller than the window, one token, vectors that end in the middle
SDA_CASES = [
    (2, 14, 14, (7, 7), 3, 32),
    (1, 16, 24, (8, 8), 2, 24),
    (1, 13, 29, (12, 12), 2, 16),
    (1, 33, 35, (16, 16), 1, 8),
    (1, 9, 11, (7, 7), 2, 64),
    (2, 5, 3, (7, 7), 2, 32),
    (1, 1, 1, (7, 7), 1, 8),
    (3, 9, 20, (3, 5), 2, 10),
    (1, 6, 5, (1, 1), 2, 12),
    (1, 4, 40, (1, 16), 1, 5),
    (0, 14, 14, (7, 7), 2, 32),
]
# (B, H, W, groups, channels of a group); the kernels split 1,024 tokens off at a time
FCA_CASES = [
    (2, 14, 14, 3, 32),
    (1, 16, 24, 2, 24),
    (1, 33, 35, 2, 16),
    (1, 7, 11, 3, 8),
    (1, 40, 33, 1, 64),
    (2, 1, 1, 2, 32),
    (1, 65, 3, 2, 10),
    (1, 3, 5, 4, 1),
    (0, 14, 14, 2, 32),
]


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request):
    """Every set that this processor runs, one after the other; the widest is put back."""
    before = library.cpu_instruction_set()
    try:
        library.select_cpu_instruction_set(request.param)
    except ValueError:
        pytest.skip(f'this processor does not run {request.param}')
    yield request.param
    library.select_cpu_instruction_set(before)


def make(*shape, dtype=torch.float32, device='cpu', seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def out_and_grad(attend, qkv, grad):
    qkv = qkv.detach().requires_grad_()
    out = attend(qkv)
    (grad_qkv,) = torch.autograd.grad(out, qkv, grad.to(out.dtype))
    return out.detach(), grad_qkv


def assert_as_close_as_reference(kernel, plain, qkv):
    """The largest error against float64 is at most twice the reference's, plus a few units in the last place."""
    b, h, w, c3 = qkv.shape
    grad = make(b, h, w, c3 // 3, dtype=qkv.dtype, device=qkv.device, seed=1)
    results = zip(
        out_and_grad(kernel, qkv, grad),
        out_and_grad(plain, qkv, grad),
        out_and_grad(plain, qkv.double(), grad),
        strict=True,
    )
    for ours, theirs, exact in results:
        assert ours.dtype == qkv.dtype
        assert ours.shape == exact.shape
        if not ours.numel():
            continue
        # a GPU's 2^x, of which float32 alone takes notice, is exact to about two units
        units = 4 if qkv.is_cuda and qkv.dtype == torch.float32 else 1
        rounding = units * torch.finfo(qkv.dtype).eps * exact.abs().max()
        allowed = 2 * (theirs.double() - exact).abs().max() + rounding
        assert (ours.double() - exact).abs().max() <= allowed


def check_sda(case, dtype, device):
    b, h, w, window, heads, dim = case
    qkv = make(b, h, w, 3 * heads * dim, dtype=dtype, device=device)
    arguments = (window, heads, dim**-0.5)
    assert backends.choose_backend('sda', device, dtype, '') == device
    assert_as_close_as_reference(
        lambda x: separable_dilated_attention(x, *arguments),
        lambda x: reference.separable_dilated_attention(x, *arguments),
        qkv,
    )


def check_fca(case, dtype, device):
    b, h, w, groups, dim = case
    # small queries keep the softmax away from one-hot, where every implementation is exact
    qkv = make(b, h, w, 3 * groups * dim, dtype=dtype, device=device)
    qkv[..., : groups * dim] *= 2 / (h * w) ** 0.5
    arguments = (groups, dim**-0.5)
    assert backends.choose_backend('fca', device, dtype, '') == device
    assert_as_close_as_reference(
        lambda x: factorized_channel_attention(x, *arguments),
        lambda x: reference.factorized_channel_attention(x, *arguments),
        qkv,
    )


# --- values and gradients


@needs_kernels
@pytest.mark.parametrize('dtype', backends.DTYPES['cpu'])
@pytest.mark.parametrize('case', SDA_CASES)
def test_sda_on_cpu(case, dtype, instruction_set):
    check_sda(case, dtype, 'cpu')


@needs_kernels
@pytest.mark.parametrize('dtype', backends.DTYPES['cpu'])
@pytest.mark.parametrize('case', FCA_CASES)
def test_fca_on_cpu(case, dtype, instruction_set):
    check_fca(case, dtype, 'cpu')


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize('dtype', backends.DTYPES['cuda'])
@pytest.mark.parametrize('case', SDA_CASES)
def test_sda_shapes_on_cuda(case, dtype):
    check_sda(case, dtype, 'cuda')


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize('dtype', backends.DTYPES['cuda'])
@pytest.mark.parametrize('dim', [8, 16, 24, 32, 64])
@pytest.mark.parametrize('size', [(28, 28), (19, 33)])
@pytest.mark.parametrize('window', [7, 8, 12, 16])
def test_sda_on_cuda(window, size, dim, dtype):
    check_sda((2, *size, (window, window), 3, dim), dtype, 'cuda')


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize('dtype', backends.DTYPES['cuda'])
@pytest.mark.parametrize('case', FCA_CASES)
def test_fca_on_cuda(case, dtype):
    check_fca(case, dtype, 'cuda')


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_tensors_off_16_byte_boundaries_on_cuda(dtype):
    """The copies of the tensor-core kernels need such boundaries; other tensors take the float32 ones."""
    storage = make(1 + 14 * 14 * 96, dtype=dtype, device='cuda')
    shifted = storage[1:].view(1, 14, 14, 96)
    grad = make(1, 14, 14, 32, dtype=dtype, device='cuda', seed=1)
    for attend in (
        lambda x: separable_dilated_attention(x, (7, 7), 1, 0.2),
        lambda x: factorized_channel_attention(x, 1, 0.01),
    ):
        pairs = zip(out_and_grad(attend, shifted, grad), out_and_grad(attend, shifted.clone(), grad), strict=True)
        for ours, expected in pairs:
            torch.testing.assert_close(ours, expected, rtol=2e-2, atol=2e-2)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize('dtype', backends.DTYPES['cuda'])
def test_kernels_run_on_the_current_stream(dtype):
    """A graph records what its own stream runs; work on any other stream would be missing or refused."""
    qkv, grad = make(2, 14, 14, 96, dtype=dtype, device='cuda'), make(2, 14, 14, 32, dtype=dtype, device='cuda')

    def all_operators():
        out, attention = torch.ops.dualattn.fca(qkv, 1, 0.05)
        return (
            out,
            attention,
            torch.ops.dualattn.fca_backward(grad, qkv, attention, 1, 0.05),
            torch.ops.dualattn.sda(qkv, 7, 7, 1, 0.2),
            torch.ops.dualattn.sda_backward(grad, qkv, 7, 7, 1, 0.2),
        )

    all_operators()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = all_operators()
    qkv.copy_(qkv.flip(1))
    expected = all_operators()
    graph.replay()
    for ours, other in zip(recorded, expected, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=0)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize('dtype', backends.DTYPES['cuda'])
def test_nan_stays_in_its_window_on_cuda(dtype):
    qkv = make(1, 14, 14, 3 * 16, dtype=dtype, device='cuda')
    qkv[0, 3, 4, 0] = float('nan')
    out, grad = out_and_grad(lambda x: separable_dilated_attention(x, (7, 7), 1, 0.25), qkv, qkv[..., 16:32])
    hit = torch.zeros(14, 14, dtype=torch.bool)
    hit[1::2, 0::2] = True  # the window of (3, 4)
    assert out[0, 3, 4].isnan().all()
    assert not out[0, ~hit].isnan().any()
    assert not grad[0, ~hit].isnan().any()


@needs_gpu
@pytest.mark.gpu
def test_cuda_operators_refuse_other_types():
    for dtype in (torch.float64, torch.int32):
        with pytest.raises(RuntimeError, match='float32, float16 and bfloat16'):
            torch.ops.dualattn.sda(torch.zeros(1, 7, 7, 48, dtype=dtype, device='cuda'), 7, 7, 2, 1.0)


@needs_kernels
@pytest.mark.parametrize('window', [7, 8, 12, 16])
@pytest.mark.parametrize('dim', [8, 16, 24, 32, 64])
def test_every_window_and_head(window, dim):
    check_sda((1, 19, 25, (window, window), 2, dim), torch.float32, 'cpu')


@needs_kernels
@pytest.mark.parametrize('scale', [0.0, -1.5, 40.0])
def test_unusual_scales(scale, instruction_set):
    """Equal weights, the smallest logit wins, and logits far beyond the range of exp."""
    qkv = make(1, 14, 9, 3 * 32)
    expected = reference.separable_dilated_attention(qkv.double(), (7, 7), 2, scale)
    out = separable_dilated_attention(qkv, (7, 7), 2, scale)
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-4)
    expected = reference.factorized_channel_attention(qkv.double(), 2, scale)
    torch.testing.assert_close(factorized_channel_attention(qkv, 2, scale).double(), expected, rtol=0, atol=1e-3)


@needs_kernels
@pytest.mark.parametrize('dtype', backends.DTYPES['cpu'])
def test_nan_stays_in_its_window(dtype, instruction_set):
    qkv = make(1, 14, 14, 3 * 16, dtype=dtype)
    qkv[0, 3, 4, 0] = float('nan')
    out = separable_dilated_attention(qkv, (7, 7), 1, 0.25)
    hit = out.isnan().any(-1)[0]
    assert hit[3, 4]
    hit[1::2, 0::2] = False  # the window of (3, 4)
    assert not hit.any()
    assert factorized_channel_attention(qkv, 1, 0.25).isnan().any()


@pytest.mark.parametrize('device, dtype', KINDS)
@pytest.mark.parametrize('name', ['sda', 'fca'])
def test_memory_layout_of_input_and_gradient_is_free(device, dtype, name):
    qkv = make(2, 9, 11, 3 * 32, dtype=dtype, device=device)
    grad = make(2, 9, 11, 32, dtype=dtype, device=device, seed=1)

    def attend(x):
        if name == 'sda':
            return separable_dilated_attention(x, (7, 7), 2, 0.25)
        return factorized_channel_attention(x, 2, 0.05)

    expected = out_and_grad(attend, qkv, grad)
    strided = qkv.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    strided_grad = grad.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    assert not strided.is_contiguous() and not strided_grad.is_contiguous()
    for ours, other in zip(out_and_grad(attend, strided, strided_grad), expected, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=0)
    one = grad.new_ones(()).expand_as(grad)  # what `out.sum().backward()` sends
    for ours, other in zip(out_and_grad(attend, qkv, one), out_and_grad(attend, qkv, one.contiguous()), strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=0)


@pytest.mark.parametrize('device, dtype', KINDS)
def test_same_input_gives_the_same_bits(device, dtype):
    qkv, grad = make(2, 40, 33, 3 * 48, dtype=dtype, device=device), make(2, 40, 33, 48, dtype=dtype, device=device)
    attends = (
        lambda x: separable_dilated_attention(x, (8, 8), 2, 0.2),
        lambda x: factorized_channel_attention(x, 2, 0.01),
    )
    for attend in attends:
        first = out_and_grad(attend, qkv, grad)
        for again in (out_and_grad(attend, qkv, grad), out_and_grad(attend, qkv, grad)):
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@needs_kernels
def test_number_of_threads_changes_no_bit():
    qkv, grad = make(2, 40, 33, 3 * 48), make(2, 40, 33, 48)
    attends = (
        lambda x: separable_dilated_attention(x, (8, 8), 2, 0.2),
        lambda x: factorized_channel_attention(x, 2, 0.01),
    )
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append([part for attend in attends for part in out_and_grad(attend, qkv, grad)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


# --- what torch asks of an operator


@pytest.mark.parametrize('device, dtype', KINDS)
@pytest.mark.parametrize('size', [(7, 7), (5, 9)])
def test_opcheck(device, dtype, size):
    qkv = make(2, *size, 3 * 32, dtype=dtype, device=device)
    grad = make(2, *size, 32, dtype=dtype, device=device)
    attention = torch.ops.dualattn.fca(qkv, 2, 0.05)[1]
    tolerance = dict(rtol=1e-3, atol=1e-5) if dtype == torch.float32 else dict(rtol=2e-2, atol=2e-2)
    for name, arguments in (
        ('sda', (qkv.clone().requires_grad_(), 7, 7, 2, 0.25)),
        ('fca', (qkv.clone().requires_grad_(), 2, 0.05)),
        ('sda_backward', (grad, qkv, 7, 7, 2, 0.25)),
        ('fca_backward', (grad, qkv, attention, 2, 0.05)),
    ):
        torch.library.opcheck(getattr(torch.ops.dualattn, name).default, arguments, **tolerance)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dynamic', [False, True])
def test_compile_keeps_one_graph_and_the_kernels(device, dynamic):
    def both(qkv):
        out = separable_dilated_attention(qkv, (7, 7), 2, 0.25)
        return out + factorized_channel_attention(qkv, 2, 0.05)

    graphs = []

    def backend(graph, inputs):
        graphs.append(str(graph.code))
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(both, fullgraph=True, dynamic=dynamic, backend=backend)
    for size in ((14, 14), (9, 11)):
        qkv = make(2, *size, 3 * 32, device=device)
        torch.testing.assert_close(compiled(qkv), both(qkv))
    assert graphs
    assert all('dualattn.sda' in code and 'dualattn.fca' in code for code in graphs)


@needs_kernels
def test_compiled_gradient():
    def both(qkv):
        out = separable_dilated_attention(qkv, (7, 7), 2, 0.25)
        return out + factorized_channel_attention(qkv, 2, 0.05)

    torch.compiler.reset()
    compiled = torch.compile(both, fullgraph=True, backend='aot_eager')
    qkv, grad = make(2, 9, 11, 3 * 32), make(2, 9, 11, 32)
    for ours, expected in zip(out_and_grad(compiled, qkv, grad), out_and_grad(both, qkv, grad), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('operator', ['public', 'torch.ops'])
def test_autocast(device, operator):
    """The operators run in the lower precision, and the gradient returns in that of the input."""
    qkv = make(2, 9, 11, 3 * 32, device=device).requires_grad_()
    for attend, direct in (
        (lambda x: separable_dilated_attention(x, (7, 7), 2, 0.25), lambda x: torch.ops.dualattn.sda(x, 7, 7, 2, 0.25)),
        (lambda x: factorized_channel_attention(x, 2, 0.05), lambda x: torch.ops.dualattn.fca(x, 2, 0.05)[0]),
    ):
        function = attend if operator == 'public' else direct
        with torch.autocast(device, dtype=torch.bfloat16):
            out = function(qkv)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out, direct(qkv.bfloat16()), rtol=0, atol=0)
        (grad,) = torch.autograd.grad(out.float().sum(), qkv)
        assert grad.dtype == torch.float32


@needs_kernels
def test_autocast_leaves_double_precision_alone():
    qkv = make(1, 7, 7, 3 * 16).double()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(
            separable_dilated_attention(qkv, (7, 7), 1, 0.25),
            reference.separable_dilated_attention(qkv, (7, 7), 1, 0.25),
        )


# --- bad input


@pytest.mark.parametrize(
    'qkv, error, message',
    [
        (torch.zeros(7, 7, 48), ValueError, r'\(B, H, W, 3C\), got 3 dimensions'),
        (torch.zeros(1, 1, 7, 7, 48), ValueError, r'\(B, H, W, 3C\), got 5 dimensions'),
        (torch.zeros(1, 7, 7, 48, dtype=torch.int32), TypeError, 'floating-point tensor, got torch.int32'),
        (torch.zeros(1, 7, 7, 48, dtype=torch.complex64), TypeError, 'floating-point tensor, got torch.complex64'),
        (torch.zeros(1, 0, 7, 48), ValueError, r'at least one token .* = 0, 7, 48'),
        (torch.zeros(1, 7, 0, 48), ValueError, r'at least one token .* = 7, 0, 48'),
        (torch.zeros(1, 7, 7, 0), ValueError, r'at least one token and one channel'),
        (torch.zeros(1, 7, 7, 50), ValueError, r'3 \* 2 (heads|groups) of equal width, got 50 channels'),
    ],
)
def test_bad_maps_are_refused(qkv, error, message):
    for attend in (
        lambda x: separable_dilated_attention(x, (7, 7), 2, 1.0),
        lambda x: factorized_channel_attention(x, 2, 1.0),
    ):
        with pytest.raises(error, match=message):
            attend(qkv)


@pytest.mark.parametrize(
    'attend, message',
    [
        (lambda x: separable_dilated_attention(x, (0, 7), 2, 1.0), 'window_size has to be positive, got 0 x 7'),
        (lambda x: separable_dilated_attention(x, (7, -7), 2, 1.0), 'window_size has to be positive, got 7 x -7'),
        (lambda x: separable_dilated_attention(x, (7, 7), 0, 1.0), r'3 \* 0 heads'),
        (lambda x: separable_dilated_attention(x, (7, 7), -2, 1.0), r'3 \* -2 heads'),
        (lambda x: factorized_channel_attention(x, 0, 1.0), r'3 \* 0 groups'),
    ],
)
def test_bad_arguments_are_refused(attend, message):
    with pytest.raises(ValueError, match=message):
        attend(torch.zeros(1, 7, 7, 48))


@needs_kernels
@pytest.mark.parametrize(
    'call, message',
    [
        (lambda o, x: o.sda(x[0], 7, 7, 2, 1.0), 'got 3 dimensions'),
        (lambda o, x: o.sda(x, 7, 7, 5, 1.0), 'equal width'),
        (lambda o, x: o.sda(x, 0, 7, 2, 1.0), '1 to 256 tokens'),
        (lambda o, x: o.sda(x, 2**40, 2**40, 2, 1.0), '1 to 256 tokens'),
        (lambda o, x: o.sda(x.double(), 7, 7, 2, 1.0), 'float32 and bfloat16'),
        (lambda o, x: o.sda(x.int(), 7, 7, 2, 1.0), 'float32 and bfloat16'),
        (lambda o, x: o.sda(x[:, :0], 7, 7, 2, 1.0), 'no token'),
        (lambda o, x: o.sda(torch.zeros(1, 7, 7, 3 * 65), 7, 7, 1, 1.0), 'at most 64 channels'),
        (lambda o, x: o.sda_backward(x, x, 7, 7, 2, 1.0), 'shape of the output'),
        (lambda o, x: o.sda_backward(x[..., :16].bfloat16(), x, 7, 7, 2, 1.0), 'dtype of qkv'),
        (lambda o, x: o.fca(x, -2, 1.0), 'equal width'),
        (lambda o, x: o.fca_backward(x[..., :16], x, torch.zeros(1, 2, 8, 7), 2, 1.0), 'attention has to be'),
        (lambda o, x: o.fca_backward(x[..., :16], x, torch.zeros(1, 2, 8, 8).double(), 2, 1.0), 'float32'),
    ],
)
def test_operators_refuse_what_would_leave_their_memory(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(torch.ops.dualattn, torch.zeros(1, 7, 7, 48))


@needs_kernels
def test_grid_larger_than_the_map_is_one_window():
    """As documented: the window then holds the tokens that there are, and nothing beyond the map is read."""
    qkv = make(1, 3, 2, 3 * 16)
    out = separable_dilated_attention(qkv, (16, 16), 1, 0.25)
    torch.testing.assert_close(out, separable_dilated_attention(qkv, (3, 2), 1, 0.25), rtol=0, atol=0)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.slow
def test_more_than_two_to_the_31_elements():
    rows = 2**31 // (1024 * 96) + 15
    rows -= rows % 7
    qkv = torch.randn(1, rows, 1024, 96, dtype=torch.bfloat16, device='cuda')
    out = separable_dilated_attention(qkv, (7, 8), 1, 32**-0.5)
    last = qkv[:, rows // 7 - 1 :: rows // 7, 127::128].contiguous()  # the tokens of the last window
    expected = separable_dilated_attention(last, (7, 8), 1, 32**-0.5)
    torch.testing.assert_close(out[:, rows // 7 - 1 :: rows // 7, 127::128], expected)
