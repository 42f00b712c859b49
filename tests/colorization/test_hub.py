"""Repositories in Hugging Face's form, written to and read from a stand-in for the hub on loopback."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hub_server import HubServer
from huggingface_hub import constants
from PIL import Image

from colorization import Colorizer
from colorization.hub import HubError, fetch_weights, is_repository
from colorization.models import build_network
from colorization.provenance import hash_weights
from dualattn.io.files import hash_file
from dualattn.io.weights import CheckpointError

RECORD = dict(
    kind='dualattn.evaluation',
    version=1,
    name='mine',
    date='2026-11-30T12:00:00+00:00',
    protocol=dict(name='imagenet-val5k'),
    figures=dict(
        FID=dict(value=12.3456, low=12.0, high=12.7, unit='', better='lower'),
        PSNR=dict(value=23.21, low=None, high=None, unit='dB', better='higher'),
    ),
    unverified={},
    pictures=dict(measured=5000, complete=True),
)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = HubServer()
    monkeypatch.setattr(constants, 'ENDPOINT', server.address)
    template = server.address + '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def colorizer(tiny_mpt):
    torch.manual_seed(0)
    return Colorizer(build_network(tiny_mpt))


@pytest.fixture
def folder(colorizer, tmp_path):
    colorizer.save_pretrained(tmp_path / 'mine')
    return tmp_path / 'mine'


def test_pushed_weights_come_back(hub, colorizer, tmp_path):
    (tmp_path / 'record.json').write_text(json.dumps(RECORD))
    address = colorizer.push_to_hub('someone/mine', records=[tmp_path / 'record.json'], token='hf_test')
    assert address.startswith(f'{hub.address}/someone/mine/commit/')
    assert set(hub.repositories['someone/mine']) == {'model.safetensors', 'config.json', 'README.md'}
    assert ('PUT', f'/put/{json.loads(hub.repositories["someone/mine"]["config.json"])["sha256"]}') in hub.requests

    there = Colorizer.from_pretrained('someone/mine', size=64, token=False)
    assert there.size == 64
    assert there.network.config == json.loads(json.dumps(colorizer.network.config))
    for name, tensor in colorizer.network.state_dict().items():
        assert torch.equal(there.network.state_dict()[name], tensor)
    fetched = {path.rpartition('/')[2] for method, path in hub.requests if method == 'GET' and '/resolve/' in path}
    assert fetched == {'model.safetensors', 'config.json'}


def test_a_folder_is_known_by_its_weights(hub, colorizer, folder):
    assert hash_weights(folder) == hash_file(folder / 'model.safetensors')
    colorizer.push_to_hub('someone/mine', token='hf_test')
    pushed = hub.repositories['someone/mine']['model.safetensors']
    assert hash_weights(fetch_weights('someone/mine')) == hashlib.sha256(pushed).hexdigest()
    assert fetch_weights(str(folder)) == str(folder)


def test_cache_serves_without_the_hub(hub, colorizer):
    colorizer.push_to_hub('someone/mine', token='hf_test')
    Colorizer.from_pretrained('someone/mine', token=False)
    count = len(hub.requests)
    Colorizer.from_pretrained('someone/mine', local_files_only=True)
    assert len(hub.requests) == count
    with pytest.raises(HubError, match='someone/other: is neither a file or folder here nor in the cache'):
        Colorizer.from_pretrained('someone/other', local_files_only=True)
    hub.shutdown()
    hub.server_close()
    Colorizer.from_pretrained('someone/mine', token=False)  # the hub is away


def test_card_has_the_figures_of_the_records(colorizer, tmp_path):
    from huggingface_hub import ModelCard

    (tmp_path / 'record.json').write_text(json.dumps(RECORD))
    options = dict(records=[tmp_path / 'record.json'], card_license='apache-2.0', notes='Trained on **my** album.')
    colorizer.save_pretrained(tmp_path / 'mine', **options)
    card = ModelCard.load(tmp_path / 'mine' / 'README.md')
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        'apache-2.0',
        'dualattn',
        'image-to-image',
    )
    assert {each.metric_type: each.metric_value for each in card.data.eval_results} == {'FID': 12.3456, 'PSNR': 23.21}
    assert '| FID | 12.35 | 12 to 12.7 |  | lower |' in card.text and '| PSNR | 23.21 |  | dB | higher |' in card.text
    assert 'Trained on **my** album.' in card.text and 'incomplete' not in card.text
    colorizer.save_pretrained(tmp_path / 'unmeasured')
    assert 'Nothing was measured' in (tmp_path / 'unmeasured' / 'README.md').read_text()
    (tmp_path / 'record.json').write_text('{"kind": "other"}')
    with pytest.raises(ValueError, match='is no record of `dualattn evaluate`'):
        colorizer.save_pretrained(tmp_path / 'none', **options)
    assert not (tmp_path / 'none').exists()


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda config: config.pop('sha256'), 'wrong, missing or unknown are sha256'),
        (lambda config: config.update(extra=1), 'wrong, missing or unknown are extra'),
        (lambda config: config.update(network='MPT'), 'wrong, missing or unknown are network'),
        (lambda config: config.update(format='dualattn.colorizer/9'), "this version reads 'dualattn.colorizer/1'"),
        (lambda config: config['network'].update(depth=3), 'describes another network than model.safetensors'),
        (lambda config: config.update(sha256='0' * 64), 'is for other weights than model.safetensors'),
    ],
)
def test_config_is_compared_strictly(folder, change, message):
    config = json.loads((folder / 'config.json').read_text())
    change(config)
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        Colorizer.from_pretrained(folder)


def test_what_the_hub_lacks_is_named(hub, colorizer):
    with pytest.raises(HubError, match='nobody/nothing: is neither a file or folder here nor a repository'):
        Colorizer.from_pretrained('nobody/nothing', token=False)
    colorizer.push_to_hub('someone/mine', token='hf_test')
    with pytest.raises(HubError, match="someone/mine: has no revision 'v9'"):
        Colorizer.from_pretrained('someone/mine', revision='v9', token=False)
    hub.repositories['someone/pickled'] = {'pytorch_model.bin': b'\x80', 'config.json': b'{}'}
    with pytest.raises(HubError, match=r'someone/pickled: has no model\.safetensors'):
        Colorizer.from_pretrained('someone/pickled', token=False)
    with pytest.raises(ValueError, match='revision belongs to a repository on the hub'):
        Colorizer.from_pretrained(revision='main')
    with pytest.raises(FileNotFoundError, match='no such weights file'):
        Colorizer.from_pretrained('runs/absent.safetensors')


@pytest.mark.parametrize(
    'name, expected',
    [
        ('someone/mine', True),
        ('some-one/my.model_2', True),
        ('mine', False),
        ('./someone/mine', False),
        ('/someone/mine', False),
        ('a/b/c', False),
        ('someone/mine.safetensors', False),
        ('someone/mine.onnx', False),
        ('../mine', False),
    ],
)
def test_which_names_are_repositories(name, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_repository(name) is expected
    if expected:
        (tmp_path / name).mkdir(parents=True)
        assert not is_repository(name)  # a folder here comes first


@pytest.mark.slow
def test_command_takes_weights_of_a_repository(hub, colorizer, make_photos, tmp_path):
    """By the variables of the environment, as a user sets them; the second time without the hub."""
    colorizer.push_to_hub('someone/mine', token='hf_test')
    photo = make_photos(tmp_path / 'photos', 1) / '00.png'
    environment = {**os.environ, 'HF_ENDPOINT': hub.address, 'HF_HOME': str(tmp_path / 'home'), 'HF_HUB_OFFLINE': '0'}

    def run(out):
        command = [
            sys.executable,
            '-m',
            'dualattn',
            'colorize',
            str(photo),
            '--weights',
            'someone/mine',
            '-o',
            str(out),
        ]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    done = run(tmp_path / 'first.png')
    assert done.returncode == 0, done.stderr
    count = len(hub.requests)
    environment['HF_HUB_OFFLINE'] = '1'
    assert run(tmp_path / 'second.png').returncode == 0 and len(hub.requests) == count
    first, second = (np.asarray(Image.open(tmp_path / f'{name}.png')) for name in ('first', 'second'))
    assert np.array_equal(first, second)
    environment['HF_HOME'] = str(tmp_path / 'empty')
    done = run(tmp_path / 'third.png')
    assert done.returncode == 2 and 'out of reach (HF_HUB_OFFLINE)' in done.stderr and 'Traceback' not in done.stderr
