"""A COCO folder is checked by one command."""

import json

import pytest

pytest.importorskip('mmdet')
from transfer.commands import create_data

pytestmark = pytest.mark.mm


def test_a_coco_folder(coco, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    root, content = coco
    assert create_data.main(['coco', str(root)]) == 0
    assert capsys.readouterr().out.count('3 images and 6 objects of 2 classes fit') == 2
    assert create_data.main(['coco', str(root), '--classes', 'blue', 'red']) == 2
    assert 'another order than the classes' in capsys.readouterr().err
    del content['annotations'][0]['segmentation']
    (root / 'annotations' / 'instances_val2017.json').write_text(json.dumps(content))
    assert create_data.main(['coco', str(root)]) == 2
    assert '1 annotations have an empty outline: 10' in capsys.readouterr().err
    assert create_data.main(['coco', str(root), '--without-masks']) == 0
    del content['annotations']
    (root / 'annotations' / 'instances_val2017.json').write_text(json.dumps(content))
    assert create_data.main(['coco', str(root)]) == 2
    assert 'instances_val2017.json has no annotations' in capsys.readouterr().err
    assert create_data.main(['coco', str(tmp_path)]) == 2
    assert 'FileNotFoundError: no annotations at' in capsys.readouterr().err
