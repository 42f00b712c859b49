"""A folder where a file is expected, the reverse, and what is not there: one line each, and exit code 2."""

import re
import subprocess
import sys

import pytest
from PIL import Image

from dualattn.commands import front
from dualattn.commands.parser import describe, explain


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with `folder`, `file.txt`, `photo.png` and `photos`, which becomes the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'file.txt').write_text('no weights, no photograph\n')
    for name in ('photo.png', 'photos/a.png'):
        Image.linear_gradient('L').resize((40, 32)).convert('RGB').save(tmp_path / name)
    return tmp_path


FOLDER, FILE = 'folder.* is a folder|folder: is a folder', r'file\.txt.* is a file|file\.txt: is a file'
CASES = [
    ('colorize photo.png --list folder', FOLDER),
    ('colorize --list gone.txt', 'gone.txt: no such file or folder'),
    ('colorize photo.png --hints gone.json', 'gone.json: no such file or folder'),
    ('colorize photo.png --manifest folder', FOLDER),
    ('colorize photo.png --weights folder', 'folder is a folder without weights'),
    ('convert file.txt -o folder', FOLDER),
    ('convert file.txt -o file.txt', 'file.txt exists; use --overwrite'),
    ('palette file.txt -o a.json', r'file.txt is no config: expected a file with .py'),
    ('palette colorize/mpt_demo.py -o folder', FOLDER),
    ('demo --work-dir file.txt', FILE),
    ('hues gone', 'gone: no such file or folder'),
    ('hues file.txt', FILE),
    ('tables folder', FOLDER),
    ('tables gone.json', 'gone.json: no such file or folder'),
    ('shard file.txt out', FILE),
    ('shard gone out', 'gone does not exist'),
    ('shard photos file.txt', FILE),
    ('data prepare ade20k file.txt', FILE),
    ('data prepare imagenet gone', 'gone does not exist'),
    ('create-data coco file.txt', FILE),
    ('create-data kitti gone', 'gone does not exist'),
    ('create-data kitti folder --out-dir file.txt', FILE),
    (
        'evaluate --pred photos --gt photos --protocol folder --inception folder',
        'folder is a folder.*weights get inception',
    ),
    ('evaluate --pred photos --gt photos --protocol folder --lpips-vgg gone.pth', 'no weights at.*weights get vgg16'),
    ('train file.txt', 'file.txt is no config'),
    ('train colorize/mpt_demo.py --work-dir file.txt', FILE),
    ('train colorize/mpt_demo.py --work-dir file.txt/below', FILE),
    ('train colorize/mpt_demo.py --resume folder', FOLDER),
    ('train colorize/mpt_demo.py --cfg-options load_from=gone.pth', 'load_from: no checkpoint at gone.pth'),
    ('test colorize/mpt_demo.py folder', FOLDER),
    ('test colorize/mpt_demo.py file.txt --work-dir file.txt', FILE),
    ('classify photo.png --config cls/dualattn_t_in1k.py --checkpoint file.txt --out folder', FOLDER),
    ('infer photo.png --config det/mask_rcnn_dualattn_t.py --checkpoint file.txt -o file.txt', FILE),
    ('weights get vgg19 -o file.txt', FILE),
]


@pytest.mark.parametrize(('line', 'said'), CASES, ids=[line for line, _ in CASES])
def test_one_line_says_what_was_expected(place, line, said, capsys):

    if line.startswith(('create-data', 'infer', 'classify')):
        pytest.importorskip('mmdet' if line.startswith('infer') else 'mmengine')
    before = sorted(place.rglob('*'))
    assert front.main(line.split()) == 2
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1 and '[Errno' not in told
    assert re.search(said, told), told
    assert sorted(place.rglob('*')) == before  # nothing was begun


WITHOUT_WEIGHTS = [
    'colorize photo.png --weights gone.safetensors',
    'video film.mp4 out.mkv --weights gone.pth',
    'serve --weights gone.safetensors',
    'queries photo.png -o sheet.png --weights gone.onnx',
    'curve photos -o curve.png --weights packaged gone.pth',
    'convert gone.pth -o new.safetensors',
    'export onnx gone.safetensors -o new.onnx',
    'export onnx dualattn_tiny --weights vgg19-dcbb9e9d.pth -o new.onnx',
]


def test_weights_that_are_not_there_are_refused_before_torch_is_loaded(place):
    code = (
        'import sys\n'
        'from dualattn.commands.front import main\n'
        f'codes = [main(line.split()) for line in {WITHOUT_WEIGHTS!r}]\n'
        'print(codes, "torch" in sys.modules)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == f'{[2] * len(WITHOUT_WEIGHTS)} False\n'
    told = done.stderr.splitlines()
    assert len(told) == len(WITHOUT_WEIGHTS)
    for line, command in zip(told, WITHOUT_WEIGHTS, strict=True):
        name = re.search(r'\w*(gone|vgg19)\S*', command)[0]
        assert line.startswith(f'{command.split()[0]}: {name}: no such weights file')
    assert told[-1].endswith('fetch it with: dualattn weights get vgg19')


def test_the_systems_own_errors_are_told_in_words(tmp_path):
    with pytest.raises(IsADirectoryError) as caught:
        tmp_path.read_text()
    assert explain(caught.value) == describe(caught.value) == f'{tmp_path}: is a folder, expected a file'
    (tmp_path / 'a').touch()
    with pytest.raises(NotADirectoryError) as caught:
        list((tmp_path / 'a').iterdir())
    assert 'is a file' in explain(caught.value)
    assert describe(FileNotFoundError('no config')) == 'FileNotFoundError: no config'
    assert explain(ValueError('wrong')) == describe(ValueError('wrong')) == 'wrong'
