"""tools/classify.py: names and scores of photographs, and what becomes of bad files."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from timm.data import ImageNetInfo

from transfer.commands import classify as command

NETWORK = dict(depths=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32), stem_dim=8, head_dim=8)


@pytest.fixture
def tool(repo_root):
    return command


@pytest.fixture
def make_files(tmp_path, repo_root, make_photos):
    """Function that writes a tiny classifier's config and checkpoint and two photographs; returns the arguments."""

    def make(classes, stored=None):
        cfg = Config.fromfile(str(repo_root / 'configs' / 'cls' / 'dualattn_t_in1k.py'))
        cfg.model.backbone.update(num_classes=len(classes), **NETWORK)
        cfg.test_dataloader.dataset.transform.input_size = 32
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        # the second class wins, whatever the photograph
        torch.nn.init.constant_(model.backbone.head.fc.bias[1:2], 5.0)
        meta = {} if stored is None else dict(dataset_meta=dict(classes=stored))
        torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'weights.pth')
        cfg.dump(tmp_path / 'config.py')
        photos = make_photos(tmp_path / 'photos', 2)
        return [
            str(photos / '00.png'),
            str(photos / '01.png'),
            '--config',
            str(tmp_path / 'config.py'),
            '--checkpoint',
            str(tmp_path / 'weights.pth'),
        ]

    return make


def test_names_and_scores(tool, make_files, tmp_path, capsys):
    args = make_files(['bird', 'cat', 'dog'], ['bird', 'cat', 'dog'])
    assert tool.main([*args, '--out', str(tmp_path / 'out.json')]) == 0
    result = json.loads((tmp_path / 'out.json').read_text())
    assert list(result) == args[:2]
    for classes in result.values():
        assert classes[0]['name'] == 'cat' and classes[0]['label'] == 1
        assert {one['name'] for one in classes} == {'bird', 'cat', 'dog'}
        assert [one['score'] for one in classes] == sorted((one['score'] for one in classes), reverse=True)
        assert sum(one['score'] for one in classes) == pytest.approx(1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == args[0] and lines[1].split()[1] == 'cat' and len(lines) == 8
    assert tool.main([*args, '--topk', '1']) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_imagenet_in_words(tool, make_files, capsys):
    synsets = ImageNetInfo().label_names()
    for stored in (synsets, None):  # the config names the classes where the weights do not
        assert tool.main([*make_files(synsets, stored), '--topk', '1']) == 0
        assert 'goldfish' in capsys.readouterr().out.splitlines()[1]


def test_bad_files(tool, make_files, tmp_path, capsys):
    args = make_files(['bird', 'cat'], ['bird', 'cat'])
    (tmp_path / 'text.png').write_text('no photograph')
    assert tool.main([str(tmp_path / 'text.png'), str(tmp_path / 'gone.png'), *args]) == 1
    printed = capsys.readouterr()
    assert args[0] in printed.out and args[1] in printed.out
    errors = printed.err.splitlines()
    assert errors[-2] == f'failed: {tmp_path}/text.png is no image' and 'gone.png' in errors[-1]


def test_weights_and_configs_that_cannot_be_used(tool, make_files, tmp_path, capsys):
    args = make_files(['bird', 'cat'], ['bird', 'cat', 'dog'])
    assert tool.main(args) == 2
    assert 'name 3 classes, the model has 2' in capsys.readouterr().err
    assert tool.main([*args[:4], '--checkpoint', str(tmp_path / 'gone.pth')]) == 2
    assert 'FileNotFoundError: no checkpoint at' in capsys.readouterr().err
    assert tool.main([args[0], '--config', str(tmp_path / 'gone.py'), *args[4:]]) == 2
    assert 'no config file at' in capsys.readouterr().err
    torch.save(dict(state_dict={'a': torch.zeros(1)}), tmp_path / 'weights.pth')
    assert tool.main(args) == 2
    assert 'is not of this model' in capsys.readouterr().err
