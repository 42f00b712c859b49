"""The pages on one's own data end with a run; it does what they say."""

import os
import re
import subprocess
import sys

import pytest

PAGES = {
    'classification': 'work_dirs/shapes/epoch_20.pth',
    'colorization': 'colored.png',
    'detection': 'found/001.json',
    'detection3d': 'found/000000.json',
}


def read_run(page):
    """The files of a page's last section, by name, and its commands."""
    text = page.read_text().split('\n## A run\n')[1]
    names = list(dict.fromkeys(re.findall(r'as `(\w+\.py)`', text)))
    programs = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    (commands,) = re.findall(r'```sh\n(.*?)```', text, re.DOTALL)
    return dict(zip(names, programs, strict=True)), commands.splitlines()


# those of detectors take a minute each; the commands are the same as on the other pages, and what is special about the
# detectors' data is tested in tests/transfer
LONG = ('detection', 'detection3d')


@pytest.mark.slow
@pytest.mark.mm
@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in sorted(PAGES)]
)
def test_page(name, repo_root, tmp_path):
    if name.startswith('detection'):
        pytest.importorskip('mmdet3d')
    files, commands = read_run(repo_root / 'docs' / f'own_data_{name}.md')
    for file, content in files.items():
        (tmp_path / file).write_text(content)
    environment = {**os.environ, 'PYTHONPATH': str(repo_root), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    for command in commands:
        program, *words = command.split()
        start = [sys.executable] if program == 'python' else [sys.executable, '-m', 'dualattn']
        assert program in ('python', 'dualattn')
        # an epoch or two are enough to see that every command is right
        short = [re.sub(r'epoch_\d+', 'epoch_2', word) for word in words]
        if words[0] == 'train' and '.max_iters=' not in command:
            short += ['train_cfg.max_epochs=2', 'train_cfg.val_interval=2']
        run = subprocess.run([*start, *short], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, f'{command}\n{run.stdout[-2000:]}\n{run.stderr[-3000:]}'
    assert (tmp_path / re.sub(r'epoch_\d+', 'epoch_2', PAGES[name])).is_file()


@pytest.mark.parametrize('name', sorted(PAGES))
def test_every_page_can_be_run(name, repo_root):
    files, commands = read_run(repo_root / 'docs' / f'own_data_{name}.md')
    assert files and commands[0] == f'python {next(iter(files))}'
    for file, content in files.items():
        compile(content, file, 'exec')
