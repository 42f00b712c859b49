"""Weights from files of strangers: every form that is around is read, and nothing else gets in."""

import argparse
import gzip
import json
import pickle
import re
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from dualattn.io.weights import (
    NESTS,
    CheckpointError,
    check_weights,
    load_strictly,
    read_checkpoint,
    read_weights,
    select_prefix,
)


def build(width=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 2, 1))


STATE = build().state_dict()


def assert_same(found, expected=STATE):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


# --- forms


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('nest', [(), *((nest,) for nest in NESTS), ('model', 'state_dict'), ('state_dict', 'params')])
def test_torch_files(tmp_path, nest, legacy):
    content = STATE
    for name in reversed(nest):
        content = {name: content, 'epoch': 3, 'optimizer': dict(lr=[0.1])}
    torch.save(content, tmp_path / 'a.weights', _use_new_zipfile_serialization=not legacy)
    weights = read_weights(tmp_path / 'a.weights')
    assert_same(weights.tensors)
    assert weights.path == tmp_path / 'a.weights' and weights.config is None


@pytest.mark.parametrize(
    ('averaged', 'plain'), [('params_ema', 'params'), ('state_dict_ema', 'state_dict'), ('model_ema', 'model')]
)
def test_averaged_weights_are_preferred(tmp_path, averaged, plain):
    torch.save({plain: {name: tensor + 1 for name, tensor in STATE.items()}, averaged: STATE}, tmp_path / 'a.pth')
    assert_same(read_weights(tmp_path / 'a.pth').tensors)


def test_what_training_tools_store_beside_the_weights(tmp_path):
    """mmengine's description of a run, and timm's command line."""
    content = dict(state_dict=STATE, meta=dict(iter=7, cfg='a = 1'), args=argparse.Namespace(model='x'), epoch=3)
    torch.save(content, tmp_path / 'a.pth')
    assert read_weights(tmp_path / 'a.pth').meta == dict(iter=7, cfg='a = 1')
    assert read_checkpoint(tmp_path / 'a.pth')['args'].model == 'x'


@pytest.mark.parametrize('name', ['a.safetensors', 'wrongly_named.pth'])
def test_safetensors_under_any_name(tmp_path, name):
    save_file(STATE, tmp_path / name, metadata={'made': 'today'})
    weights = read_weights(tmp_path / name)
    assert_same(dict(sorted(weights.tensors.items())), dict(sorted(STATE.items())))
    assert weights.meta == {'made': 'today'}
    assert set(read_checkpoint(tmp_path / name)) == {'state_dict', 'meta'}


def test_every_length_of_a_header(tmp_path):
    """The length stands before the first brace; its own bytes may look like anything, a brace among them."""
    for length in range(1, 400, 7):
        data = save({'a': torch.ones(1)}, metadata={'text': 'x' * length})
        (tmp_path / 'a').write_bytes(data)
        assert read_weights(tmp_path / 'a').tensors['a'] == 1
    for head in (0x7B20, 0x0A3C20, 0x7B):  # as text: ` {`, ` <`, `{`
        header = json.dumps({'a': dict(dtype='F32', shape=[1], data_offsets=[0, 4])}).encode()
        data = struct.pack('<Q', head) + header.ljust(head) + struct.pack('<f', 1.0)
        (tmp_path / 'a').write_bytes(data)
        assert read_weights(tmp_path / 'a').tensors['a'] == 1


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('form', ['torch', 'safetensors'])
@pytest.mark.parametrize('assign', [True, False])
def test_numbers_of_another_width(tmp_path, dtype, form, assign):
    state = {name: tensor.to(dtype) for name, tensor in STATE.items()}  # counters too, as `.half()` on a dict would
    torch.save(state, tmp_path / 'a') if form == 'torch' else save_file(state, tmp_path / 'a')
    network = build()
    nn.init.zeros_(network[0].weight)
    load_strictly(network, read_weights(tmp_path / 'a').tensors, 'a', assign=assign)
    assert {name: tensor.dtype for name, tensor in network.state_dict().items()} == {
        name: tensor.dtype for name, tensor in STATE.items()
    }
    torch.testing.assert_close(network[0].weight, STATE['0.weight'], rtol=1e-2, atol=1e-2)


def test_parameters_and_tied_weights(tmp_path):
    network = build()
    state = OrderedDict(network.named_parameters()) | dict(tied=network[0].weight)
    torch.save(state, tmp_path / 'a.pth')
    assert list(read_weights(tmp_path / 'a.pth').tensors) == list(state)


# --- folders


def make_folder(folder, name, config='{"hidden": 3}'):
    folder.mkdir()
    if config is not None:
        (folder / 'config.json').write_text(config)
    if 'index' not in name:
        save_file(STATE, folder / name) if name.endswith('safetensors') else torch.save(STATE, folder / name)
        return folder
    stem, suffix = name.split('.')[:2]
    weight_map = {}
    for number, names in enumerate((list(STATE)[:3], list(STATE)[3:]), start=1):
        shard = f'{stem}-0000{number}-of-00002.{suffix}'
        part = {each: STATE[each] for each in names}
        save_file(part, folder / shard) if suffix == 'safetensors' else torch.save(part, folder / shard)
        weight_map |= dict.fromkeys(names, shard)
    (folder / name).write_text(json.dumps(dict(metadata=dict(total_size=1), weight_map=weight_map)))
    return folder


@pytest.mark.parametrize(
    'name',
    [
        'model.safetensors',
        'pytorch_model.bin',
        'model.safetensors.index.json',
        'pytorch_model.bin.index.json',
        'net.pth',
    ],
)
def test_folders_of_hugging_face(tmp_path, name):
    weights = read_weights(make_folder(tmp_path / 'model', name))
    assert_same(dict(sorted(weights.tensors.items())), dict(sorted(STATE.items())))
    assert weights.config == dict(hidden=3)


def test_safetensors_of_a_folder_are_preferred(tmp_path):
    folder = make_folder(tmp_path / 'model', 'model.safetensors', config=None)
    (folder / 'pytorch_model.bin').write_text('never read')
    weights = read_weights(folder)
    assert weights.config is None and weights.path.name == 'model.safetensors'


def change_index(folder, change):
    index = folder / 'model.safetensors.index.json'
    content = json.loads(index.read_text())
    change(content)
    index.write_text(json.dumps(content))


def lead_elsewhere(folder):
    save_file(STATE, folder.parent / 'secret.safetensors')
    change_index(folder, lambda content: content['weight_map'].update(a='../secret.safetensors'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda folder: [file.unlink() for file in folder.iterdir()], 'without weights: nothing; expected model.safe'),
        (lambda folder: (folder / 'model.safetensors.index.json').unlink(), 'several weights files: name one of model'),
        (lambda folder: (folder / 'model-00002-of-00002.safetensors').unlink(), 'which is missing; get the whole'),
        (lambda folder: (folder / 'config.json').write_text('{"hidden": '), 'config.json is broken'),
        (lambda folder: (folder / 'config.json').write_text('[1]'), 'config.json holds a list'),
        (lambda folder: (folder / 'config.json').write_text('[' * 100_000), 'config.json is broken'),
        (lambda folder: change_index(folder, lambda content: content.clear()), "has no 'weight_map'"),
        (lambda folder: change_index(folder, lambda content: content.update(weight_map={'a': 1})), "no 'weight_map'"),
        (
            lambda folder: change_index(
                folder, lambda content: content['weight_map'].update(b='model-00001-of-00002.safetensors')
            ),
            'names 1 tensors that its files do not hold, b',
        ),
        (lead_elsewhere, r"names the file '\.\./secret\.safetensors', which is not in its folder"),
    ],
)
def test_folders_that_are_broken(tmp_path, change, message):
    folder = make_folder(tmp_path / 'model', 'model.safetensors.index.json')
    change(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_weights(folder)
    assert str(folder) in str(caught.value)


# --- what is no weights file


def write_zip(path, **entries):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name.replace('__', '/').replace('_pth', '.pth').replace('_pkl', '.pkl'), data)


LFS_POINTER = (
    b'version https://git-lfs.github.com/spec/v1\n'
    b'oid sha256:1111111111111111111111111111111111111111111111111111111111111111\nsize 912345678\n'
)
OTHER_FILES = {
    'empty': (b'', 'is empty \\(0 bytes\\), as after a download that broke off'),
    'html': (b'<!DOCTYPE html>\n<html><head><title>Sign in</title>', 'web page.*/resolve/ where the page has /blob/'),
    'html with a mark': (b'\xef\xbb\xbf\r\n <HTML lang="en">', 'web page'),
    'xml': (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', 'web page'),
    'pointer': (LFS_POINTER, 'pointer of git-lfs.*git lfs pull'),
    'json': (b'{"error": "Repository not found"}', 'text in JSON'),
    'json with a brace': (b'{"a":1,{{{{', 'text in JSON'),
    'gzip': (gzip.compress(b'weights'), 'gzip archive; unpack it'),
    'hdf5': (b'\x89HDF\r\n\x1a\n' + bytes(50), 'HDF5'),
    'text': (b'just text, nothing else', 'neither safetensors nor a file of torch.save \\(23 bytes, beginning with'),
    'png': (b'\x89PNG\r\n\x1a\n' + bytes(50), 'neither safetensors nor'),
    'zeros': (bytes(1000), 'neither safetensors nor'),
}


@pytest.mark.parametrize('kind', OTHER_FILES)
@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_files_of_other_kinds_are_called_by_their_name(tmp_path, kind, name):
    data, message = OTHER_FILES[kind]
    (tmp_path / name).write_bytes(data)
    for read in (read_weights, read_checkpoint):
        with pytest.raises(CheckpointError, match=message) as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('entries', 'message'),
    [
        (dict(release__ddcolor_pth=b'x', readme=b'y'), r'a zip archive but no.*holds release/ddcolor\.pth: unpack it'),
        (dict(arr_0=b'x'), 'a zip archive but no.*holds arr_0: unpack it'),
        (dict(a__data_pkl=b'x', a__constants_pkl=b'y'), 'TorchScript program, which holds code'),
        (dict(a__data_pkl=bytes(200 * 2**20)), 'would unpack to 209715200 bytes'),
        (dict(a__data_pkl=b'x'), 'broken or truncated'),
    ],
)
def test_archives(tmp_path, entries, message):
    write_zip(tmp_path / 'a.pth', **entries)
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path / 'a.pth')


def test_a_program_of_torchscript(tmp_path):
    torch.jit.save(torch.jit.script(nn.ReLU()), tmp_path / 'a.pt')
    with pytest.raises(CheckpointError, match='TorchScript program'):
        read_weights(tmp_path / 'a.pt')


def test_nothing_and_things_that_are_no_files(tmp_path):
    for read in (read_weights, read_checkpoint):
        with pytest.raises(FileNotFoundError, match=r'no checkpoint at .*none\.pth'):
            read(tmp_path / 'none.pth')
        with pytest.raises(CheckpointError, match='is no regular file'):
            read('/dev/null')
    with pytest.raises(CheckpointError, match='is a folder, expected a file'):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize('form', ['safetensors', 'torch', 'legacy'])
def test_truncated_at_any_length(tmp_path, form):
    path = tmp_path / 'a'
    if form == 'safetensors':
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=form == 'torch')
    data = path.read_bytes()
    for length in [*range(0, 40), *range(40, len(data) - 1, len(data) // 40), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=re.escape(str(path))) as caught:
            read_weights(path)
        assert re.search('broken|truncated|empty', str(caught.value)), (length, str(caught.value))


# --- what could run code or fill the memory


class Trap:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.mark.parametrize('form', ['torch', 'legacy', 'pickle'])
@pytest.mark.parametrize('place', ['top', 'beside', 'inside'])
@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_code_is_not_run(tmp_path, form, place):
    trap = Trap(tmp_path / 'sprung')
    content = dict(top=trap, beside=dict(state_dict=STATE, meta=trap), inside=dict(STATE, extra=trap))[place]
    path = tmp_path / 'a.pth'
    if form == 'pickle':
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == 'torch')
    with pytest.raises(CheckpointError, match=r'can run code, so they are never loaded'):
        read_weights(path)
    assert not (tmp_path / 'sprung').exists()
    pickle.loads(pickle.dumps(trap)).close()  # the trap itself works
    assert (tmp_path / 'sprung').exists()


def test_what_an_unknown_object_is_is_said(tmp_path):
    torch.save(dict(state_dict=STATE, best=np.float64(0.5)), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'it asks for numpy\.\S*scalar.*save the plain state dict'):
        read_weights(tmp_path / 'a.pth')


def test_a_tensor_that_claims_terabytes_is_refused_before_it_is_copied(tmp_path):
    state = dict(STATE, **{'0.weight': torch.zeros(1).expand(2**40)})
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'1 misshapen \(0\.weight \(1099511627776,\) instead of \(3, 1, 3, 3\)'):
        load_strictly(build(), read_weights(tmp_path / 'a.pth').tensors, 'a.pth')
    header = json.dumps({'a': dict(dtype='F32', shape=[2**40], data_offsets=[0, 2**42])}).encode()
    (tmp_path / 'b').write_bytes(struct.pack('<Q', len(header)) + header + bytes(16))
    with pytest.raises(CheckpointError, match='broken or truncated'):
        read_weights(tmp_path / 'b')
    (tmp_path / 'c').write_bytes(struct.pack('<Q', 2**40) + b'{' + bytes(100))
    with pytest.raises(CheckpointError, match='broken or truncated'):
        read_weights(tmp_path / 'c')


@pytest.mark.parametrize(
    ('tensor', 'kind'),
    [
        (torch.eye(3).to_sparse(), 'sparse'),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), 'quantized'),
        (torch.ones(3, device='meta'), 'empty'),
    ],
)
def test_tensors_of_other_forms(tmp_path, tensor, kind):
    torch.save(dict(STATE, odd=tensor), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=f"'odd' is {kind}"):
        read_weights(tmp_path / 'a.pth')


# --- no weights inside, and weights of another network


@pytest.mark.parametrize(
    ('content', 'got'),
    [
        ({}, 'got nothing'),
        ({'epoch': 3}, r"got 'epoch' \(int\)"),
        ({'state_dict': {}}, 'got nothing'),
        ({'state_dict': {'a': 'text', 'b': torch.ones(1)}}, r"got 'a' \(str\)"),
        ({'weights': STATE}, r"got 'weights' \(OrderedDict\)"),
        ({'encoder': STATE, 'decoder': STATE, 'a': 1, 'b': 2}, r"got 'encoder' .*'decoder' .*'a' \(int\), \.\.\."),
        ({0: torch.ones(1)}, r'got 0 \(Tensor\)'),
    ],
)
def test_content_without_weights(tmp_path, content, got):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=f'holds no weights that can be found: expected a state dict.*{got}'):
        read_weights(tmp_path / 'a.pth')


@pytest.mark.parametrize('content', [[1, 2], 'text', torch.ones(3), None])
def test_content_of_another_kind(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=f'holds a {type(content).__name__}, no checkpoint'):
        read_weights(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda state: state.pop('2.bias'), r'1 missing \(2\.bias\)\. Likely it is for a variant with other parts'),
        (lambda state: state.update(a=torch.ones(1)), r'1 unexpected \(a\)\. Likely'),
        (
            lambda state: state.update(build(width=5).state_dict()),
            r'7 misshapen \(0\.weight \(5, 1, 3, 3\) instead of \(3, 1, 3, 3\), .*\)\. Likely it is.*other widths',
        ),
        (
            lambda state: [state.update({f'net.{name}': state.pop(name)}) for name in list(state)],
            r'9 missing \(0\.weight, 0\.bias, 1\.weight, \.\.\.\); 9 unexpected .*Likely.*another architecture',
        ),
        (
            lambda state: state.update({'0.weight': state['0.weight'].to(torch.int8)}),
            r'1 of other numbers \(0\.weight torch\.int8 instead of torch\.float32\)\. Likely it was quantized',
        ),
    ],
)
def test_weights_of_another_network(change, message):
    state = dict(STATE)
    change(state)
    network = build()
    nn.init.ones_(network[0].weight)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=rf'^a\.pth is not of this model: {message}'):
        load_strictly(network, state, 'a.pth')
    assert_same(network.state_dict(), before)


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_a_training_that_diverged(value):
    state = {name: tensor.clone() for name, tensor in STATE.items()}
    state['0.weight'][0] = value
    with pytest.raises(CheckpointError, match=r"a\.pth: '0\.weight' holds NaN or infinite values"):
        load_strictly(build(), state, 'a.pth')


def test_equal_weights_pass_and_keep_the_versions_of_layers():
    check_weights('a', STATE, build().state_dict())

    class Versioned(nn.Linear):
        _version = 7

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
            self.loaded = local_metadata.get('version')
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    layer = Versioned(2, 2)
    load_strictly(layer, dict(layer.state_dict()), 'a')
    assert layer.loaded == 7


def test_a_part_of_a_larger_model():
    tensors = {f'backbone.{name}': tensor for name, tensor in STATE.items()} | {'head.weight': torch.ones(1)}
    assert_same(select_prefix(tensors, 'backbone.', 'a.pth'))
    with pytest.raises(CheckpointError, match=r"a\.pth has no weights.*begin with 'neck\.'; they begin with back"):
        select_prefix(tensors, 'neck.', 'a.pth')
