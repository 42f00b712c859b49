"""Which device commands compute on: the one that is named, else CUDA, else Metal, else the CPU."""

import ast
import os
import sys

import pytest
import torch

from dualattn.commands import front
from dualattn.devices import DeviceError, choose_device


@pytest.fixture
def machine(monkeypatch):
    """A machine with the GPUs that are named; none of them computes."""

    def pretend(*kinds):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: 'cuda' in kinds)
        monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: 'mps' in kinds)

    return pretend


@pytest.mark.parametrize(
    ('kinds', 'chosen', 'without_metal'),
    [((), 'cpu', 'cpu'), (('mps',), 'mps', 'cpu'), (('cuda',), 'cuda', 'cuda'), (('cuda', 'mps'), 'cuda', 'cuda')],
)
def test_the_best_device_is_chosen(machine, kinds, chosen, without_metal):
    machine(*kinds)
    assert choose_device() == torch.device(chosen)
    assert choose_device(metal=False) == torch.device(without_metal)
    assert choose_device('cpu') == torch.device('cpu')


@pytest.mark.parametrize('name', ['mps', 'cuda:99', 'gpu', 'cpu:x', ''])
def test_a_device_that_is_not_here_is_refused_in_one_line(name):
    if name == 'mps' and torch.backends.mps.is_available():
        pytest.skip('there is Metal here')
    with pytest.raises(DeviceError, match='--device') as error:
        choose_device(name)
    assert '\n' not in str(error.value) and name in str(error.value)


@pytest.mark.parametrize('verb', ['colorize', 'video', 'serve', 'queries', 'evaluate', 'classify', 'infer'])
def test_every_command_asks_the_one_place(repo_root, verb):
    """No command chooses for itself."""
    entry = front.find_verbs()[verb]
    source = repo_root.joinpath(*entry.module.split('.')).with_suffix('.py').read_text(encoding='utf-8')
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}
    assert 'choose_device' in called
    assert not {name for name in called if name.endswith('is_available')}


def test_the_command_tells_a_wrong_device(tmp_path, capsys):
    from colorization.samples import packaged_gray_photos

    photo = packaged_gray_photos()['coins']
    assert front.main(['colorize', str(photo), '-o', str(tmp_path / 'a.png'), '--device', 'cuda:99']) == 2
    said = capsys.readouterr().err
    assert said.startswith('colorize: --device cuda:99 cannot be used here: ') and said.count('\n') == 1
    assert not list(tmp_path.iterdir())


def test_operators_that_metal_lacks_run_on_the_cpu(monkeypatch):
    monkeypatch.setenv('PYTORCH_ENABLE_MPS_FALLBACK', '')  # so that it is put back
    del os.environ['PYTORCH_ENABLE_MPS_FALLBACK']
    for system, value in (('linux', None), ('darwin', '1')):
        monkeypatch.setattr(sys, 'platform', system)
        assert front.main(['--version']) == 0
        assert os.environ.get('PYTORCH_ENABLE_MPS_FALLBACK') == value
