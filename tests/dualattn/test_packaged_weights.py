"""Weights in the package: `pretrained=True` as timm's users type it, without network; the package is a copy of ours."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import dualattn
from dualattn.models import dualattn as models

PACKAGED = sorted(path.stem for path in Path(dualattn.__file__).parent.glob('weights/*.safetensors'))
TAG = 'dualattn_mpt_pico.lite2_photos'
SCRIPT = """
import socket
def refuse(*args, **kwargs):
    raise AssertionError('the network was asked')
socket.socket.connect = refuse
import sys, timm, torch
import dualattn
from safetensors.torch import load_file
expected = load_file(sys.argv[1])
assert dualattn.__file__.startswith(sys.argv[2]), dualattn.__file__
assert timm.list_pretrained('dualattn_*') == ['dualattn_mpt_pico.lite2_photos']
for name in ('dualattn_mpt_pico', 'dualattn_mpt_pico.lite2_photos'):
    model = timm.create_model(name, pretrained=True)
    for key, value in model.state_dict().items():
        assert torch.equal(value, expected[key].float()), key
assert timm.data.resolve_model_data_config(model)['input_size'] == (3, 96, 96)
model = timm.create_model('dualattn_mpt_pico', pretrained=True, num_classes=20, in_chans=1)
assert all(torch.equal(p, expected[n].float()) for n, p in model.named_parameters() if n.startswith('stages.'))
assert model.head.fc.out_features == 20
pyramid = timm.create_model('dualattn_mpt_pico', pretrained=True, features_only=True)
assert [m.shape[1] for m in pyramid(torch.zeros(1, 3, 64, 64))] == [48, 96, 192, 384]
try:
    timm.create_model('dualattn_tiny', pretrained=True)
except RuntimeError as error:
    assert 'published are those of dualattn_mpt_pico.lite2_photos' in str(error), error
else:
    raise AssertionError
print('all is well')
"""


def test_packaged_weights_are_pretrained(tmp_path):
    package = tmp_path / 'dualattn'
    ignore = shutil.ignore_patterns('__pycache__', 'csrc', '.mim', '*.so', 'weights')
    shutil.copytree(Path(dualattn.__file__).parent, package, ignore=ignore)
    (package / 'weights').mkdir()
    torch.manual_seed(3)
    state = timm.create_model('dualattn_mpt_pico').state_dict()
    file = package / 'weights' / f'{TAG}.safetensors'
    save_file({name: tensor.half() for name, tensor in state.items()}, file)
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, str(file), str(tmp_path)],
        cwd=tmp_path,
        env=dict(PATH='/usr/bin:/bin', PYTHONPATH=str(tmp_path), HOME=str(tmp_path), OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == 'all is well', done.stderr[-2000:]


@pytest.mark.parametrize('name', timm.list_models('dualattn_*'))
def test_pretrained_without_weights_raises(name, build):
    if name not in {entry.partition('.')[0] for entry in PACKAGED}:
        with pytest.raises(RuntimeError, match=f'no published weights of {name}'):
            build(name, pretrained=True)
    with pytest.raises(RuntimeError, match=r'Invalid pretrained tag \(in22k\) for .*\. Published are those of '):
        build(f'{name}.in22k', pretrained=True)


def test_without_the_file_nothing_is_promised(tmp_path, monkeypatch):
    monkeypatch.setattr(models, '_WEIGHTS', tmp_path)
    assert list(models._packaged('dualattn_mpt_pico', 'lite2_photos')) == ['dualattn_mpt_pico.untrained']


def test_a_wheel_takes_the_weights_along(repo_root):
    text = (repo_root / 'pyproject.toml').read_text(encoding='utf-8')
    table = text.partition('[tool.setuptools.package-data]')[2].partition('[tool.')[0]
    (line,) = (line for line in table.splitlines() if line.startswith('dualattn ='))
    assert '"weights/*.safetensors"' in line
