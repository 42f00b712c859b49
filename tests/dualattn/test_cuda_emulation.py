"""The CUDA kernels, run on a CPU: the same source, compiled as C++, every thread a fiber (emulation/cuda_on_host.h).

Checks what needs no GPU: which thread reads and writes what, the layouts of the tensor cores, masks, barriers, and,
with AddressSanitizer, that no access leaves a tensor. `test_ops.py` runs the same kernels on a GPU.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from dualattn.ops import reference

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / 'dualattn' / 'csrc' / 'cuda'
EMULATION = Path(__file__).parent / 'emulation'
TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
HALF, FULL, BRAIN = torch.float16, torch.float32, torch.bfloat16

# path, dtype, (B, H, W, window, heads, channels of a head): full, partly filled and single-token windows, more tokens
# than one block of keys or threads holds, every compiled width, channels that fill no vector
SDA_CASES = [
    ('mma', BRAIN, (1, 14, 7, (7, 7), 2, 32)),
    ('mma', HALF, (1, 7, 7, (7, 7), 1, 32)),
    ('mma', BRAIN, (1, 9, 15, (8, 8), 1, 24)),
    ('mma', HALF, (1, 9, 10, (3, 5), 1, 16)),
    ('mma', BRAIN, (1, 12, 12, (12, 12), 1, 16)),
    ('mma', BRAIN, (1, 9, 11, (7, 7), 1, 64)),
    ('mma', HALF, (1, 13, 16, (16, 16), 1, 8)),
    ('mma', BRAIN, (2, 1, 1, (7, 7), 1, 40)),
    ('simt', FULL, (1, 7, 14, (7, 7), 1, 32)),
    ('simt', FULL, (1, 9, 10, (3, 5), 2, 10)),
    ('simt', FULL, (1, 4, 40, (1, 16), 1, 5)),
    ('simt', FULL, (1, 9, 9, (9, 9), 1, 16)),
    ('simt', BRAIN, (2, 5, 4, (7, 7), 1, 50)),
    ('simt', HALF, (1, 18, 16, (18, 14), 1, 3)),
]
# path, dtype, (B, H, W, groups, channels of a group); the kernels split 128 tokens off at a time here
FCA_CASES = [
    ('mma', BRAIN, (2, 7, 7, 2, 32)),
    ('mma', HALF, (1, 16, 9, 1, 24)),
    ('mma', BRAIN, (1, 20, 13, 1, 16)),
    ('mma', BRAIN, (1, 9, 9, 1, 64)),
    ('mma', HALF, (2, 1, 1, 2, 8)),
    ('simt', FULL, (1, 7, 7, 2, 32)),
    ('simt', FULL, (1, 20, 13, 1, 10)),
    ('simt', FULL, (1, 5, 9, 1, 64)),
    ('simt', FULL, (1, 3, 5, 4, 1)),
    ('simt', BRAIN, (1, 11, 12, 1, 20)),
]


@pytest.fixture(scope='module')
def emulator(tmp_path_factory):
    """The program emulation/emulate.cpp with all kernels."""
    compiler = shutil.which(os.environ.get('CXX', 'c++').split()[0])
    nvcc = Path(shutil.which('nvcc') or 'bin/nvcc').resolve()
    toolkits = [Path(os.environ.get('CUDA_HOME', '/usr/local/cuda')), nvcc.parents[1]]
    headers = next((path / 'include' for path in toolkits if (path / 'include/crt/host_defines.h').is_file()), None)
    if compiler is None or headers is None:
        pytest.skip('needs a C++ compiler and the headers of a CUDA toolkit')
    program = tmp_path_factory.mktemp('emulator') / 'emulate'
    subprocess.run(
        [
            compiler,
            '-std=c++17',
            '-O1',
            '-fsanitize=address',
            '-w',
            '-DDUALATTN_EMULATE_CUDA',
            f'-I{CSRC}',
            f'-I{EMULATION}',
            f'-I{headers}',
            EMULATION / 'emulate.cpp',
            '-x',
            'c++',
            *sorted(CSRC.glob('*_mma.cu')),
            *sorted(CSRC.glob('*_simt.cu')),
            '-o',
            program,
        ],
        check=True,
    )

    def run(path, operator, qkv, grad, window, parts, scale, order):
        b, h, w, c = grad.shape
        numbers = (TYPES[qkv.dtype], b, h, w, *window, parts, c // parts, scale, order)
        data = b''.join(tensor.contiguous().view(torch.uint8).numpy().tobytes() for tensor in (qkv, grad))
        done = subprocess.run([program, path, operator, *map(str, numbers)], input=data, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        size = grad.numel() * grad.element_size()
        parts_of = (done.stdout[:size], done.stdout[size : 4 * size], done.stdout[4 * size :])
        dtypes = (qkv.dtype, qkv.dtype, torch.float32)
        return [
            torch.frombuffer(bytearray(part), dtype=dtype) for part, dtype in zip(parts_of, dtypes, strict=True) if part
        ]

    return run


def out_and_grad(attend, qkv, grad):
    qkv = qkv.detach().requires_grad_()
    out = attend(qkv)
    (grad_qkv,) = torch.autograd.grad(out, qkv, grad.to(out.dtype))
    return out.detach(), grad_qkv


def check(emulator, path, operator, attend, qkv, window, parts, scale):
    """As test_ops.py: at most twice the reference's error; and the order of the threads changes no bit."""
    b, h, w, c3 = qkv.shape
    grad = torch.randn(b, h, w, c3 // 3, generator=torch.Generator().manual_seed(1)).to(qkv.dtype)
    ours, again = (emulator(path, operator, qkv, grad, window, parts, scale, order) for order in (0, 1))
    theirs, exact = out_and_grad(attend, qkv, grad), out_and_grad(attend, qkv.double(), grad)
    for mine, same, other, true in zip(ours, again, theirs, exact, strict=False):
        assert torch.equal(mine, same)
        mine = mine.view(true.shape).double()
        allowed = 2 * (other.double() - true).abs().max() + torch.finfo(qkv.dtype).eps * true.abs().max()
        assert (mine - true).abs().max() <= allowed
    return ours


@pytest.mark.slow
@pytest.mark.parametrize(('path', 'dtype', 'case'), SDA_CASES, ids=str)
def test_sda(emulator, path, dtype, case):
    b, h, w, window, heads, dim = case
    qkv = torch.randn(b, h, w, 3 * heads * dim, generator=torch.Generator().manual_seed(0)).to(dtype)
    scale = dim**-0.5
    check(
        emulator,
        path,
        'sda',
        lambda x: reference.separable_dilated_attention(x, window, heads, scale),
        qkv,
        window,
        heads,
        scale,
    )


@pytest.mark.slow
@pytest.mark.parametrize(('path', 'dtype', 'case'), FCA_CASES, ids=str)
def test_fca(emulator, path, dtype, case):
    b, h, w, groups, dim = case
    qkv = torch.randn(b, h, w, 3 * groups * dim, generator=torch.Generator().manual_seed(0))
    qkv[..., : groups * dim] *= 2 / (h * w) ** 0.5
    qkv, scale = qkv.to(dtype), dim**-0.5
    *_, attention = check(
        emulator,
        path,
        'fca',
        lambda x: reference.factorized_channel_attention(x, groups, scale),
        qkv,
        (1, 1),
        groups,
        scale,
    )
    q, k, _ = qkv.double().view(b, h * w, 3, groups, dim).permute(2, 0, 3, 4, 1)
    expected = (k @ q.transpose(-2, -1) * scale).softmax(dim=-2)  # the key channel first
    torch.testing.assert_close(attention.view(expected.shape).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('path', ['mma', 'simt'])
@pytest.mark.parametrize('scale', [0.0, -1.5, 40.0])
def test_unusual_scales(emulator, path, scale):
    qkv = torch.randn(1, 5, 6, 3 * 16, generator=torch.Generator().manual_seed(0)).to(BRAIN)
    grad = torch.zeros(1, 5, 6, 16).to(BRAIN)
    out, grad_qkv = emulator(path, 'sda', qkv, grad, (5, 3), 1, scale, 0)
    expected = reference.separable_dilated_attention(qkv.double(), (5, 3), 1, scale)
    torch.testing.assert_close(out.view(expected.shape).double(), expected, rtol=1e-2, atol=1e-2)
    assert torch.equal(grad_qkv, torch.zeros_like(grad_qkv))


@pytest.mark.slow
@pytest.mark.parametrize('path', ['mma', 'simt'])
def test_nan_stays_in_its_window(emulator, path):
    qkv = torch.randn(1, 6, 6, 3 * 16, generator=torch.Generator().manual_seed(0)).to(BRAIN)
    qkv[0, 3, 4, 0] = float('nan')
    out, grad_qkv = emulator(path, 'sda', qkv, qkv[..., 16:32], (3, 3), 1, 0.25, 0)
    hit = torch.zeros(6, 6, dtype=torch.bool)
    hit[1::2, 0::2] = True  # the window of (3, 4)
    assert out.view(6, 6, 16)[3, 4].isnan().all()
    assert not out.view(6, 6, 16)[~hit].isnan().any()
    assert not grad_qkv.view(6, 6, 48)[~hit].isnan().any()
