"""tools/test.py as a user runs it: which files it takes, what it measures, and what it refuses."""

import hashlib
import json
import shutil
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from safetensors.torch import load_file, save_file

from colorization.checkpoints import load_network, save_network
from colorization.metrics import FID
from colorization.models import build_network
from dualattn.commands import test as command

COLORIZER = """
_base_ = [{runtime!r}]
model = dict(
    type='GANColorizer',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
    generator={generator!r},
    generator_weights='weights/not_here.pth',
    pixel_loss=dict(type='PixelLoss'))
test_overrides = {{'model.generator_weights': None}}
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ColorImageDataset', data_root={photos!r}))
test_evaluator = [dict(type='PSNR')]
test_cfg = dict(type='TestLoop')
custom_hooks = []
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
"""
CLASSIFIER = """
default_scope = 'mmengine'
custom_imports = dict(imports=['dualattn.engine', 'transfer', 'transfer.classification'], allow_failed_imports=False)
model = dict(type='ImageClassifier', backbone=dict(
    model_name='dualattn_tiny', num_classes=2, depths=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32), stem_dim=8,
    head_dim=8))
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='ClassFolder', data_root={photos!r}, transform=dict(input_size=32)))
test_evaluator = dict(type='TopKAccuracy', topk=(1,))
test_cfg = dict(type='TestLoop')
"""


@pytest.fixture
def tool(repo_root):
    return command


@pytest.fixture
def config(tmp_path, repo_root, tiny_mpt, make_photos):
    path = tmp_path / 'colorizer.py'
    path.write_text(
        COLORIZER.format(
            runtime=str(repo_root / 'configs' / '_base_' / 'runtime' / 'colorize.py'),
            generator=tiny_mpt,
            photos=str(make_photos(tmp_path / 'photos', 3, size=(32, 32))),
        )
    )
    return path


@pytest.fixture
def weights(tmp_path, tiny_mpt):
    save_network(build_network(tiny_mpt), tmp_path / 'weights.safetensors')
    return tmp_path / 'weights.safetensors'


@pytest.fixture
def test(tool, tmp_path, monkeypatch, request):
    """Function that runs the tool in this process and returns the log and the metrics."""
    count = 0

    def test(config, checkpoint, *args, options=()):
        nonlocal count
        count += 1
        work_dir = tmp_path / f'run_{count}'
        monkeypatch.setattr(
            sys,
            'argv',
            [
                'test.py',
                str(config),
                str(checkpoint),
                '--work-dir',
                str(work_dir),
                *map(str, args),
                '--cfg-options',
                f'experiment_name={request.node.name}_{count}',
                *options,
            ],
        )
        code = tool.main()
        if code:
            return code
        (log,) = (path.read_text() for path in work_dir.glob('*/*.log'))
        (metrics,) = (path.read_text() for path in work_dir.glob('*/*.json'))
        return log, json.loads(metrics)

    return test


@pytest.fixture
def refuse(test, capsys):
    """Function that runs the tool, expects it to stop with exit code 2, and returns the one line that it says."""

    def refuse(*args, **kwargs):
        assert test(*args, **kwargs) == 2
        return capsys.readouterr().err.splitlines()[-1]

    return refuse


def test_a_checkpoint_needs_no_other_weights(test, config, weights, tmp_path):
    """What a fine-tuning began with is not asked for, and both kinds of file give the same numbers."""
    log, exported = test(config, weights)
    assert log.count('FID is not computed: it needs --fid FILE, which `dualattn weights get inception`') == 1
    state = {f'generator.{name}': tensor for name, tensor in load_network(weights).state_dict().items()}
    state['train_steps'] = torch.zeros((), dtype=torch.long)
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'iter_1.pth')
    _, trained = test(config, tmp_path / 'iter_1.pth')
    assert {name for name in exported if name.startswith('color/')} == {'color/PSNR', 'color/PSNR_gray'}
    assert exported['color/PSNR'] == trained['color/PSNR']


@pytest.mark.parametrize(
    'option', ['test_dataloder.dataset.data_root=nowhere', 'val_dataloader.batch_size=1', 'load_from=x.pth']
)
def test_options_that_nothing_reads(test, refuse, config, weights, option):
    name = option.split('.')[0].split('=')[0]
    assert refuse(config, weights, options=[option]).startswith(f'--cfg-options: {name} would have no effect')


def test_weights_of_another_network(test, refuse, config, tiny_mpt, tmp_path):
    save_network(build_network({**tiny_mpt, 'num_queries': 9}), tmp_path / 'other.safetensors')
    message = refuse(config, tmp_path / 'other.safetensors')
    assert message.startswith('CheckpointError: ') and 'num_queries: file 9, config 6' in message


def test_a_missing_config_is_one_line(test, refuse, tmp_path, weights):
    assert refuse(tmp_path / 'none.py', weights).startswith('FileNotFoundError: ')


# --- FID


def test_fid_joins_the_metrics(test, refuse, config, weights, tmp_path, monkeypatch):
    class Means(torch.nn.Module):
        def forward(self, images):
            return (images.double().mean(dim=(2, 3)),)

    monkeypatch.setattr(FID, 'network', Means())
    (tmp_path / 'inception.pth').write_bytes(b'stands for Inception')
    log, metrics = test(config, weights, '--fid', tmp_path / 'inception.pth')
    assert 'color/FID' in metrics and 'color/PSNR' in metrics
    (folder,) = (path for path in tmp_path.iterdir() if (path / '00.png').is_file())
    assert f'[3 pictures of {folder.as_posix()}, ' in log and '; 3 predictions' in log and 'not computed' not in log

    (tmp_path / 'other').mkdir()
    for path in sorted(folder.glob('*.png'))[:2]:
        shutil.copy(path, tmp_path / 'other')
    other = [f'test_dataloader.dataset.data_root={tmp_path}/other']
    log, _ = test(config, weights, '--fid', tmp_path / 'inception.pth', options=other)
    assert f'[2 pictures of {(tmp_path / "other").as_posix()}, ' in log


def test_fid_that_cannot_be_had(test, refuse, config, weights, tmp_path):
    message = refuse(config, weights, '--fid', tmp_path / 'none.pth')
    assert message.startswith('FileNotFoundError: ') and 'weights-inception-2015' in message


# --- records


@pytest.mark.slow
def test_the_record_says_what_was_measured_and_on_what(test, refuse, config, weights, tmp_path, monkeypatch, capsys):
    """The same photographs scored by `dualattn evaluate` have the same hashes, and its figures are these."""
    from colorization.commands import evaluate, tables
    from colorization.evaluation import protocols

    small = protocols.Protocol('ade20k', 'three', count=3, resize='squeeze', size=16)
    monkeypatch.setitem(protocols.PROTOCOLS, 'ade20k', small)
    options = ['test_dataloader.dataset.protocol=ade20k']
    log, metrics = test(config, weights, '--record', tmp_path / 'record.json', '--name', 'Mine', options=options)
    assert f'record: {tmp_path}/record.json' in log
    record = json.loads((tmp_path / 'record.json').read_text())
    assert record['protocol'] == small.to_dict() and record['pictures']['complete']
    assert record['figures']['PSNR']['value'] == metrics['color/PSNR']
    assert record['weights']['checkpoint']['sha256'] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert options[0] in record['settings']['options'] and torch.__version__.startswith(record['versions']['torch'])
    assert 'dualattn weights get inception' in record['not_measured']['FID']

    (photos,) = (path for path in tmp_path.iterdir() if (path / '00.png').is_file())
    arguments = ['--pred', str(photos), '--gt', str(photos), '--protocol', 'ade20k', '--workers', '0']
    assert evaluate.main([*arguments, '--out', str(tmp_path / 'truth.json')]) == 0
    truth = json.loads((tmp_path / 'truth.json').read_text())
    for name in ('list_sha256', 'photographs_sha256'):
        assert record['data'][name] == truth['data'][name]
    capsys.readouterr()
    assert tables.main([str(tmp_path / 'record.json'), '--beside', 'dd-1']) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('| Mine |'))
    assert row.endswith(f'{metrics["color/PSNR"]:.2f} |')
    count = sum(tensor.numel() for tensor in load_file(weights).values())  # the critic does not count
    assert record['network']['parameters'] == pytest.approx(count, rel=0.01) and f'| Mine | {count / 1e6:.1f} |' in row

    (photos / '01.png').write_bytes(b'broken')  # another one takes its place
    test(config, weights, '--record', tmp_path / 'record.json', options=options)
    record = json.loads((tmp_path / 'record.json').read_text())
    assert record['pictures'] == dict(measured=2, complete=False, unreadable=['01.png'])
    assert record['name'] == 'colorizer'

    test(config, weights)  # a folder of one's own, and the name that nobody asked for
    path = max(tmp_path.glob('run_*/test_colorizer.json'))
    assert json.loads(path.read_text())['protocol']['name'] is None
    assert tables.main([str(path)]) == 2
    assert 'under no protocol that has a name (3 pictures of' in capsys.readouterr().err


def test_weights_that_nobody_published_make_no_score(test, config, weights, tmp_path, monkeypatch):
    class Means(torch.nn.Module):
        def forward(self, images):
            return (images.double().mean(dim=(2, 3)),)

    monkeypatch.setattr(FID, 'network', Means())
    (tmp_path / 'inception.pth').write_bytes(b'stands for Inception')
    test(config, weights, '--fid', tmp_path / 'inception.pth', '--record', tmp_path / 'record.json')
    record = json.loads((tmp_path / 'record.json').read_text())
    assert set(record['unverified']) == {'FID'} and 'FID' not in record['figures'] | record['not_measured']
    assert record['weights']['inception'] == dict(
        file='inception.pth', sha256=hashlib.sha256(b'stands for Inception').hexdigest(), published=False
    )


@pytest.mark.parametrize('path, message', [('record.txt', 'takes a .json'), ('none/record.json', 'no folder none')])
def test_records_that_cannot_be_written(test, config, weights, capsys, path, message):
    with pytest.raises(SystemExit) as error:
        test(config, weights, '--record', path)
    assert error.value.code == 2 and message in capsys.readouterr().err


# --- classifiers


@pytest.mark.mm
def test_exported_weights_of_a_classifier(test, refuse, tmp_path, make_photos):
    for name, count in dict(cat=1, dog=3).items():
        make_photos(tmp_path / 'photos' / name, count)
    config = tmp_path / 'classifier.py'
    config.write_text(CLASSIFIER.format(photos=str(tmp_path / 'photos')))
    state = MODELS.build(Config.fromfile(config).model).state_dict()
    head = next(name for name in state if name.endswith('head.fc.bias'))
    for index, accuracy in enumerate([25.0, 75.0]):  # says the same class of every photograph
        state[head] = torch.nn.functional.one_hot(torch.tensor(index), 2) * 1e6
        save_file(state, tmp_path / 'weights.safetensors')
        log, metrics = test(config, tmp_path / 'weights.safetensors')
        assert metrics['accuracy/top1'] == accuracy and 'FID' not in log
    record = json.loads(max(tmp_path.glob('run_*/test_classifier.json')).read_text())
    assert record['figures']['accuracy/top1']['value'] == 75.0 and record['pictures']['measured'] == 4
    assert len(record['data']['list_sha256']) == 64 and '4 images of ' in record['protocol']['description']
    save_file({name: state[name] for name in list(state)[1:]}, tmp_path / 'part.safetensors')
    message = refuse(config, tmp_path / 'part.safetensors')
    assert message.startswith('CheckpointError: ') and '1 missing' in message
    assert 'is no colorizer' in refuse(config, tmp_path / 'part.safetensors', '--fid', 'any.pth')
