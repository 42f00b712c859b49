"""The commands on the pages of the documentation: their options exist, and what needs no data of the user's runs."""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from colorization.samples import packaged_gray_photos
from dualattn.commands.front import find_verbs

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
# a block of commands, and the line below it that says which data it needs
BLOCK = re.compile(r'^```(?:bash|sh)?\n(.*?)^```\n(\n?<!-- needs: [^\n]+ -->)?', re.MULTILINE | re.DOTALL)


def list_commands(page):
    """Return (words, needs data) of every command `dualattn ...` on a page, also those behind torchrun."""
    commands = []
    for text, needs in BLOCK.findall(page.read_text(encoding='utf-8')):
        for line in text.replace('\\\n', ' ').splitlines():
            if re.match(r'dualattn \w|torchrun .*-m dualattn \w', line) and '"$' not in line and '\'"' not in line:
                words = shlex.split(line, comments=True)
                commands.append((words[words.index('dualattn') + 1 :], bool(needs)))
    return commands


COMMANDS = [(page.name, words, needs) for page in PAGES for words, needs in list_commands(page)]


def test_the_pages_have_commands():
    assert len(COMMANDS) > 20 and {'README.md', 'colorize.md', 'train.md'} <= {name for name, _, _ in COMMANDS}
    assert ('README.md', ['colorize', 'PHOTO.jpg'], False) in COMMANDS


@pytest.mark.parametrize(('page', 'words', 'needs'), COMMANDS, ids=[f'{n}-{" ".join(w[:2])}' for n, w, _ in COMMANDS])
def test_options_on_the_pages_exist(page, words, needs, monkeypatch, tmp_path):
    verbs = find_verbs()
    assert words[0] in verbs, f'{page}: dualattn {words[0]}'
    module = importlib.import_module(verbs[words[0]].module)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'runs').mkdir()
    for name in ('parse_args', 'make_parser') if words[0] not in ('benchmark', 'data') else ():
        if getattr(getattr(module, name, None), '__module__', '') == module.__name__:
            parse = getattr(module, name)
            return parse(words[1:]) if name == 'parse_args' else parse().parse_args(words[1:])
    pytest.skip(f'{words[0]} hands its arguments to other verbs')


@pytest.mark.long
@pytest.mark.timeout(3600)  # several commands, on whatever machine
@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_commands_that_need_no_data_run(page, tmp_path):
    """In a folder with photographs of the names that the pages use, one page after the other as a user would."""
    photo = packaged_gray_photos()['coins']
    (tmp_path / 'scans' / 'deep').mkdir(parents=True)
    for name in ('PHOTO.jpg', 'grandma.jpg', 'photo.jpg', 'scans/a.jpg', 'scans/deep/b.jpg'):
        from PIL import Image

        Image.open(photo).convert('L').save(tmp_path / name)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    for words, needs in list_commands(page):
        if needs:
            continue
        done = subprocess.run(
            [sys.executable, '-m', 'dualattn', *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f'{page.name}: dualattn {" ".join(words)}\n{done.stdout}\n{done.stderr}'


def test_first_command_of_the_readme_colorizes(tmp_path):
    """What a stranger types first, on a small photograph."""
    from PIL import Image

    Image.open(packaged_gray_photos()['coins']).convert('L').resize((96, 64)).save(tmp_path / 'PHOTO.jpg')
    words = next(words for words, _ in list_commands(ROOT / 'README.md'))
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-m', 'dualattn', *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / 'PHOTO_color.jpg') as picture:
        assert picture.size == (96, 64) and picture.mode == 'RGB'


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(shutil.which('make') is None, reason='needs make')
def test_demo_colorizes_with_a_short_log(tmp_path):
    """`make demo`'s command, trained for next to nothing."""
    options = ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2']
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / 'demo.py', '--work-dir', tmp_path / 'demo', '--cfg-options', *options],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in ('before_after.png', 'curve.png', 'weights.safetensors', 'mpt_demo.py'):
        assert (tmp_path / 'demo' / name).is_file(), name
