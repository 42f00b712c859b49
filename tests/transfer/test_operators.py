"""What is said of libraries without CUDA operators."""

import logging

import pytest
import torch

from transfer.operators import warn_of_missing_operators

pytestmark = pytest.mark.mm
mmcv_ops = pytest.importorskip('mmcv.ops')


@pytest.mark.parametrize(
    'gpu, version, expected', [(False, 'not available', []), (True, 'not available', ['mmcv']), (True, '13.0', [])]
)
def test_a_gpu_without_operators_is_told_of(gpu, version, expected, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setattr(mmcv_ops, 'get_compiling_cuda_version', lambda: version)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert warn_of_missing_operators() == expected
    assert ('FORCE_CUDA=1' in caplog.text) == bool(expected)


def test_spconv_without_kernels_is_told_of(monkeypatch):
    constants = pytest.importorskip('spconv.cppconstants')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(constants, 'CPU_ONLY_BUILD', True)
    assert 'spconv' in warn_of_missing_operators()
