"""Which backend takes a call, why, and what the report says of it."""

import logging
import os
import re
import subprocess
import sys

import pytest
import torch

from dualattn.ops import backends, library, reference, separable_dilated_attention

needs_kernels = pytest.mark.skipif(not library.is_loaded(), reason=f'no compiled kernels: {library.LOAD_PROBLEM}')


def make(*shape, dtype=torch.float32, device='cpu', seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


@needs_kernels
@pytest.mark.parametrize(
    'device, dtype, tokens, dim, backend, reason',
    [
        ('cpu', torch.float32, 49, 32, 'cpu', 'kernels'),
        ('cpu', torch.bfloat16, 256, 64, 'cpu', 'kernels'),
        ('cpu', torch.float16, 49, 32, 'reference', 'no cpu kernel for torch.float16'),
        ('cpu', torch.float64, 49, 32, 'reference', 'no cpu kernel for torch.float64'),
        ('cpu', torch.float32, 289, 32, 'reference', 'over 256 tokens'),
        ('cpu', torch.float32, 0, 96, 'reference', 'over 64 channels'),
        ('meta', torch.float32, 49, 32, 'reference', 'no kernels for meta'),
        ('mps', torch.float32, 49, 32, 'reference', 'no kernels for mps'),
    ],
)
def test_choice_and_its_reason(device, dtype, tokens, dim, backend, reason):
    chosen, why = backends.explain(device, dtype, backends.find_size_problem(tokens, dim))
    assert chosen == backend
    assert re.search(reason, why)


@needs_kernels
def test_library_without_cuda_kernels_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(library, 'has_cuda_kernels', lambda: False)
    chosen, why = backends.explain('cuda', torch.bfloat16)
    assert chosen == 'reference'
    assert 'DUALATTN_BUILD=cuda' in why


def test_capability_is_that_of_the_tensors_device(monkeypatch):
    monkeypatch.setattr(library, '_compiled', object())
    monkeypatch.setattr(library, 'has_cuda_kernels', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cards = {'cuda': (8, 0), 'cuda:0': (8, 0), 'cuda:1': (6, 1), 'cuda:2': (7, 5)}  # the current one is new
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device=None: cards[str(device or 'cuda')])
    for name in ('cuda', 'cuda:0', 'cuda:2'):
        assert backends.explain(torch.device(name), torch.float16)[0] == 'cuda'
    assert backends.explain(torch.device('cuda:1'), torch.float16) == (
        'reference',
        'the CUDA kernels need compute capability 7.5, cuda:1 has 6.1',
    )


def test_without_kernels_everything_runs_on_the_reference(monkeypatch):
    monkeypatch.setattr(library, '_compiled', None)
    monkeypatch.setattr(library, 'LOAD_PROBLEM', 'the kernels were not built')
    for device in ('cpu', 'cuda'):
        assert backends.explain(device, torch.float32) == ('reference', 'the kernels were not built')
    with pytest.raises(RuntimeError, match='DUALATTN_BACKEND=cpu cannot be met: the kernels were not built'):
        backends.explain('cpu', torch.float32, forced='cpu')


@needs_kernels
def test_environment_forces_a_backend(monkeypatch):
    qkv = make(1, 14, 14, 3 * 16)
    monkeypatch.setenv('DUALATTN_BACKEND', 'reference')
    expected = reference.separable_dilated_attention(qkv, (7, 7), 1, 0.25)
    assert torch.equal(separable_dilated_attention(qkv, (7, 7), 1, 0.25), expected)
    monkeypatch.setenv('DUALATTN_BACKEND', 'cpu')
    assert torch.equal(separable_dilated_attention(qkv, (7, 7), 1, 0.25), torch.ops.dualattn.sda(qkv, 7, 7, 1, 0.25))
    with pytest.raises(RuntimeError, match='DUALATTN_BACKEND=cpu cannot be met: .* kernel for torch.float64'):
        separable_dilated_attention(qkv.double(), (7, 7), 1, 0.25)
    monkeypatch.setenv('DUALATTN_BACKEND', 'gpu')
    with pytest.raises(ValueError, match="DUALATTN_BACKEND has to be one of cuda, cpu, reference, got 'gpu'"):
        separable_dilated_attention(qkv, (7, 7), 1, 0.25)


@needs_kernels
def test_choice_is_logged_once(caplog):
    backends._choose_and_log.cache_clear()
    qkv = make(1, 7, 7, 3 * 16)
    with caplog.at_level(logging.INFO, logger='dualattn'):
        for _ in range(3):
            separable_dilated_attention(qkv, (7, 7), 1, 0.25)
    assert [record.message for record in caplog.records] == [
        f'sda on cpu, torch.float32: backend cpu ({library.cpu_instruction_set()} kernels)'
    ]


def test_unknown_instruction_set():
    error, message = (ValueError, "got 'mmx'") if library.is_loaded() else (RuntimeError, 'not built')
    with pytest.raises(error, match=message):
        library.select_cpu_instruction_set('mmx')


@pytest.mark.parametrize('forced', ['', 'reference'])
def test_report(forced):
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'dualattn.ops'],
        capture_output=True,
        text=True,
        env={**os.environ, 'DUALATTN_BACKEND': forced},
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line[:4] in ('cpu ', 'cuda')]
    rows = {tuple(line[:2]): line[2:4] for line in lines}
    expected = 'cpu' if library.is_loaded() and not forced else 'reference'
    assert rows['cpu', 'float32'] == [expected, expected]
    assert rows['cpu', 'float64'] == ['reference', 'reference']
