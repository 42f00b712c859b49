"""tools/infer.py: which detector a config gets, which files it takes, and what becomes of bad ones."""

import json

import pytest

from dualattn.engine import DataError
from transfer.commands import infer as command


@pytest.fixture
def tool(repo_root):
    return command


class Detector:
    """Finds one object in everything but files named `bad`."""

    def predict(self, path):
        if path.stem == 'bad':
            raise DataError(f'{path} is no image, or broken')
        return path

    def save(self, result, picture, text):
        picture.write_bytes(b'picture')
        text.write_text(json.dumps(dict(image=str(result), objects=[{}])))
        return 1


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    for name in ('a.jpg', 'bad.png', 'c.PNG', 'notes.txt'):
        (folder / name).touch()
    return folder


@pytest.fixture
def run(tool, tmp_path, monkeypatch):
    """The tool with the stand-in above, for photographs; returns its exit code."""
    monkeypatch.setattr(tool, 'make_detector', lambda args: (Detector(), tool.IMAGES))
    fixed = ['--config', 'c.py', '--checkpoint', 'w.pth', '-o', str(tmp_path / 'out')]
    return lambda *inputs: tool.main([*map(str, inputs), *fixed])


def test_folder_with_a_bad_file(run, photos, tmp_path, capsys):
    assert run(photos) == 1
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['a.jpg', 'a.json', 'c.jpg', 'c.json']
    assert capsys.readouterr().err.splitlines()[-1] == f'failed: {photos}/bad.png is no image, or broken'
    assert run(photos / 'a.jpg') == 0


def test_names_are_settled_before_the_work(run, photos, tmp_path, capsys):
    (photos / 'c.jpg').touch()
    assert run(photos) == 2
    assert 'would both become' in capsys.readouterr().err
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'a.jpg').touch()
    assert run(tmp_path / 'out' / 'a.jpg') == 2
    assert 'would be replaced by its result' in capsys.readouterr().err
    assert run(photos / 'notes.txt') == 2
    assert 'this detector takes .jpg' in capsys.readouterr().err
    (tmp_path / 'empty').mkdir()
    assert run(tmp_path / 'empty') == 2
    assert 'nothing found, expected a folder with such files in it itself' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (None, 'FileNotFoundError: no config file at'),
        ("default_scope = 'mmengine'", "is no config of a detector: its default_scope is 'mmengine'"),
        ("default_scope = 'mmdet'", 'FileNotFoundError: no checkpoint at'),
    ],
)
def test_configs_that_cannot_be_used(tool, tmp_path, capsys, text, message):
    if text and 'mmdet' in text:
        pytest.importorskip('mmdet')
    if text:
        (tmp_path / 'c.py').write_text(text + '\n')
    options = ['--config', str(tmp_path / 'c.py'), '--checkpoint', str(tmp_path / 'w.pth'), '-o', 'out']
    assert tool.main(['a.jpg', *options]) == 2
    assert message in capsys.readouterr().err
