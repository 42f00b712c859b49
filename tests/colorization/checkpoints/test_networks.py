"""Weights files: what is saved comes back, and nothing else gets in."""

import json
import os
import pickle
import re
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from colorization.checkpoints import CheckpointError, default_weights_path, load_network, save_network
from colorization.checkpoints import networks as module


class TinyNetwork(nn.Module):
    """Stands in for a colorizer; the real ones only differ in size."""

    def __init__(self, width=4, kernel=3):
        super().__init__()
        self.config = dict(type='TinyNetwork', width=width, kernel=kernel)
        self.stem = nn.Conv2d(1, width, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, l):
        return self.head(self.norm(self.stem(l)))


class FlatNetwork(TinyNetwork):
    """Has the same tensors as TinyNetwork, but is another network."""

    def __init__(self, width=4, kernel=3):
        super().__init__(width, kernel)
        self.config['type'] = 'FlatNetwork'


class OtherNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.config = dict(type='OtherNetwork')
        self.layers = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    known = {cls.__name__: cls for cls in (TinyNetwork, FlatNetwork, OtherNetwork)}

    def build_network(config):
        kwargs = dict(config)
        name = kwargs.pop('type', None)
        if name not in known:
            raise ValueError(f'unknown network {name!r}')
        return known[name](**kwargs)

    monkeypatch.setattr(module, 'build_network', build_network)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = TinyNetwork().eval()
    network.norm.running_var.uniform_(1e-9, 2)  # float16 would flush the smallest to zero
    return network


def assert_same(network, other):
    expected = network.state_dict()
    found = other.state_dict()
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_round_trip(tmp_path, network):
    path = tmp_path / 'Gewichte für Opa.safetensors'
    save_network(network.train(), path, iteration='1000')
    loaded = load_network(path)
    assert_same(network, loaded)
    assert not any(module.training for module in loaded.modules())
    with safe_open(path, framework='pt') as file:
        metadata = file.metadata()
    assert metadata == {
        'format': 'dualattn.colorizer/1',
        'network': json.dumps(network.config),
        'iteration': '1000',
    }
    assert os.listdir(tmp_path) == [path.name]
    (tmp_path / 'plain').touch()
    assert path.stat().st_mode == (tmp_path / 'plain').stat().st_mode


def test_a_given_config_must_agree_with_the_file(tmp_path, network):
    path = tmp_path / 'a.safetensors'
    save_network(network, path)
    load_network(path, config=dict(type='TinyNetwork'))  # defaults left out: the same network
    with pytest.raises(CheckpointError, match=r"another network.*type: file 'TinyNetwork', config 'FlatNetwork'"):
        load_network(path, config=dict(type='FlatNetwork'))


def test_half_is_half_the_size_and_loads_as_float32(tmp_path, network):
    network = TinyNetwork(width=256)
    network.norm.running_var.fill_(1e-9)
    save_network(network, tmp_path / 'full.safetensors')
    save_network(network, tmp_path / 'half.safetensors', half=True)
    loaded = load_network(tmp_path / 'half.safetensors')
    for name, tensor in network.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == tensor.dtype
        torch.testing.assert_close(
            found, tensor, rtol=1e-3 if tensor.ndim > 1 else 0, atol=1e-6 if tensor.ndim > 1 else 0
        )
    kernels = [tensor.dtype for tensor in load_file(tmp_path / 'half.safetensors').values() if tensor.ndim > 1]
    assert kernels == [torch.float16] * 2


def test_values_that_half_cannot_hold_are_refused(tmp_path, network):
    with torch.no_grad():
        network.head.weight[0] = 1e5
    with pytest.raises(ValueError, match=r"'head\.weight'.*float16.*nothing was saved"):
        save_network(network, tmp_path / 'a.safetensors', half=True)
    assert os.listdir(tmp_path) == []


def test_tied_weights_are_saved(tmp_path, network):
    network.norm.bias = network.stem.bias
    save_network(network, tmp_path / 'a.safetensors')
    assert_same(network, load_network(tmp_path / 'a.safetensors'))


@pytest.mark.parametrize(
    ('kwargs', 'error', 'match'),
    [
        (dict(iteration=3), TypeError, 'iteration.*string, got int'),
        (dict(format='x'), ValueError, "'format' is written by save_network"),
        (dict(network='x'), TypeError, 'network'),
    ],
)
def test_metadata_is_checked(tmp_path, network, kwargs, error, match):
    with pytest.raises(error, match=match):
        save_network(network, tmp_path / 'a.safetensors', **kwargs)


def test_saving_elsewhere(tmp_path, network):
    with pytest.raises(ValueError, match=r"\.safetensors, got the suffix '\.pth'"):
        save_network(network, tmp_path / 'a.pth')
    (tmp_path / 'file').touch()
    for folder in ('file', 'missing'):
        with pytest.raises(OSError, match=r'a\.safetensors: cannot be written'):
            save_network(network, tmp_path / folder / 'a.safetensors')


def test_a_failing_save_leaves_the_old_file(tmp_path, network, monkeypatch):
    path = tmp_path / 'a.safetensors'
    save_network(network, path)
    before = path.read_bytes()

    def fail(temporary, data):
        with open(temporary, 'wb') as file:
            file.write(data[:9])
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', fail)
    with pytest.raises(OSError, match='No space'):
        save_network(network, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('nest', [None, 'state_dict', 'params', 'model'])
def test_torch_files(tmp_path, network, nest, legacy):
    state = network.state_dict()
    content = state if nest is None else {nest: state, 'epoch': 3}
    torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=not legacy)
    assert_same(network, load_network(tmp_path / 'a.pth', config=network.config))
    with pytest.raises(CheckpointError, match='give the network config'):
        load_network(tmp_path / 'a.pth')


def test_training_checkpoint_prefers_the_averaged_network(tmp_path, network):
    torch.manual_seed(1)
    trained, critic = TinyNetwork(), nn.Linear(3, 3)
    state = {f'generator.{name}': tensor for name, tensor in trained.state_dict().items()}
    state |= {f'critic.{name}': tensor for name, tensor in critic.state_dict().items()}
    torch.save(dict(meta=dict(iter=7), state_dict=state, optimizer=dict(lr=1e-4)), tmp_path / 'plain.pth')
    assert_same(trained, load_network(tmp_path / 'plain.pth', config=network.config))
    state |= {f'ema_generator.module.{name}': tensor for name, tensor in network.state_dict().items()}
    state['ema_generator.steps'] = torch.tensor(3)
    torch.save(dict(state_dict=state), tmp_path / 'averaged.pth')
    assert_same(network, load_network(tmp_path / 'averaged.pth', config=network.config))


@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.', 'generator._orig_mod.'])
def test_wrappers_are_unwrapped(tmp_path, network, prefix):
    torch.save({prefix + name: tensor for name, tensor in network.state_dict().items()}, tmp_path / 'a.pt')
    assert_same(network, load_network(tmp_path / 'a.pt', config=network.config))


def test_foreign_safetensors_need_a_config(tmp_path, network):
    path = tmp_path / 'a.safetensors'
    save_file(network.state_dict(), path, metadata={'format': 'pt'})
    assert_same(network, load_network(path, config=network.config))
    with pytest.raises(CheckpointError, match='give the network config'):
        load_network(path)


@pytest.mark.parametrize(
    ('config', 'details', 'cause'),
    [
        (
            dict(type='OtherNetwork'),
            r'8 missing \(layers.0.weight, layers.0.bias, layers.1.weight, \.\.\.\)',
            'architecture',
        ),
        (
            dict(type='TinyNetwork', width=8),
            r'misshapen \(stem.weight \(4, 1, 3, 3\) instead of \(8, 1, 3, 3\)',
            'widths',
        ),
    ],
)
def test_another_architecture(tmp_path, network, config, details, cause):
    torch.save(network.state_dict(), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=f'{details}.*Likely.*{cause}') as caught:
        load_network(tmp_path / 'a.pth', config=config)
    assert str(tmp_path / 'a.pth') in str(caught.value)


def test_one_tensor_too_many_or_too_few(tmp_path, network):
    state = network.state_dict()
    extra = dict(state, surplus=torch.zeros(1))
    torch.save(extra, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'1 unexpected \(surplus\)'):
        load_network(tmp_path / 'a.pth', config=network.config)
    del state['head.bias']
    torch.save(state, tmp_path / 'b.pth')
    with pytest.raises(CheckpointError, match=r'1 missing \(head\.bias\)'):
        load_network(tmp_path / 'b.pth', config=network.config)


@pytest.mark.parametrize('name', ['a.safetensors', 'a.pth', 'legacy.pth'])
@pytest.mark.parametrize('kept', [0, 3, 30, 0.5, 0.98, -1])
def test_truncated(tmp_path, network, name, kept):
    path = tmp_path / name
    if name == 'a.safetensors':
        save_network(network, path)
    else:
        torch.save(network.state_dict(), path, _use_new_zipfile_serialization=name == 'a.pth')
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        load_network(path, config=network.config)


@pytest.mark.parametrize(
    'data', [b'just text, nothing else', b'\x89PNG\r\n\x1a\n', b'PK\x03\x04 a zip but no checkpoint']
)
def test_other_files(tmp_path, data, network):
    (tmp_path / 'a.pth').write_bytes(data)
    with pytest.raises(CheckpointError, match=r'a\.pth'):
        load_network(tmp_path / 'a.pth', config=network.config)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such weights file'):
        load_network(tmp_path / 'none.pth')


class Exploit:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), 'w'))


@pytest.mark.parametrize('kind', ['torch', 'legacy', 'pickle'])
@pytest.mark.parametrize('nest', [False, True])
@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_a_pickle_that_would_run_code_is_not_executed(tmp_path, network, kind, nest):
    content = (
        {'state_dict': network.state_dict(), 'meta': Exploit(tmp_path / 'pwned')}
        if nest
        else Exploit(tmp_path / 'pwned')
    )
    path = tmp_path / 'a.pth'
    if kind == 'pickle':
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == 'torch')
    with pytest.raises(CheckpointError, match='can run code'):
        load_network(path, config=network.config)
    assert not (tmp_path / 'pwned').exists()
    if kind == 'pickle':  # the trap itself works
        pickle.loads(path.read_bytes())
        assert (tmp_path / 'pwned').exists()


@pytest.mark.parametrize('content', [[1, 2], {}, {'a': 1}, {'state_dict': {'a': 'text'}}, torch.zeros(3)])
def test_no_state_dict(tmp_path, network, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'holds (no weights that can be found|a (list|Tensor), no checkpoint)'):
        load_network(tmp_path / 'a.pth', config=network.config)


@pytest.mark.parametrize(
    ('metadata', 'match'),
    [
        ({'format': 'dualattn.colorizer/2', 'network': '{}'}, 'update the package'),
        ({'format': 'dualattn.colorizer/1'}, 'description of its network is broken'),
        ({'format': 'dualattn.colorizer/1', 'network': '{"type": '}, 'description of its network is broken'),
        ({'format': 'dualattn.colorizer/1', 'network': '[1]'}, 'description of its network is broken'),
        ({'format': 'dualattn.colorizer/1', 'network': '{"type": "Nobody"}'}, "unknown network 'Nobody'"),
        ({'format': 'dualattn.colorizer/1', 'network': '{"type": "TinyNetwork", "widht": 8}'}, 'widht'),
    ],
)
def test_broken_description(tmp_path, network, metadata, match):
    save_file(network.state_dict(), tmp_path / 'a.safetensors', metadata=metadata)
    with pytest.raises(CheckpointError, match=match):
        load_network(tmp_path / 'a.safetensors')


def test_header_that_claims_to_be_huge(tmp_path):
    (tmp_path / 'a.safetensors').write_bytes(struct.pack('<Q', 1 << 60) + b'{' + b' ' * 100)
    with pytest.raises(CheckpointError, match='broken or truncated'):
        load_network(tmp_path / 'a.safetensors')


def test_diverged_weights(tmp_path, network):
    with torch.no_grad():
        network.stem.weight[0] = torch.nan
    torch.save(network.state_dict(), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r"'stem\.weight' holds NaN"):
        load_network(tmp_path / 'a.pth', config=network.config)


def test_default_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(module, '__file__', str(tmp_path / 'checkpoints' / 'networks.py'))
    with pytest.raises(FileNotFoundError, match='no default weights'):
        default_weights_path()
    (tmp_path / 'weights').mkdir()
    (tmp_path / 'weights' / 'mpt_small.safetensors').touch()
    assert default_weights_path() == tmp_path / 'weights' / 'mpt_small.safetensors'
