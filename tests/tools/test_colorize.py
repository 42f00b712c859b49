"""tools/colorize.py as a user runs it: names, folders, resuming, bad files, exit codes."""

import os
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from colorization.checkpoints import save_network
from colorization.commands import colorize as command
from colorization.jobs import Job, name_outputs, split_pages
from colorization.models import build_network
from dualattn.io.photos import read_photo

TOOL = Path(__file__).parents[2] / 'tools' / 'colorize.py'


@pytest.fixture
def weights(tmp_path_factory, tiny_mpt):
    torch.manual_seed(0)
    network = build_network(tiny_mpt)
    torch.nn.init.constant_(network.to_ab.bias, 20.0)  # so that an output is in colour for sure
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    save_network(network, path)
    torch.save(network.state_dict(), path.with_suffix('.pth'))
    return path


@pytest.fixture
def tool(monkeypatch, weights):
    """The tool's main with tiny weights, to be called with the other arguments."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', Image.MAX_IMAGE_PIXELS)  # the tool changes it; set back afterwards

    def run(*args):
        args = [str(arg) for arg in args]
        if '--weights' not in args:
            args += ['--weights', str(weights)]
        if '--jobs' not in args:
            args += ['--jobs', '0']  # no process of its own for each test
        return command.main([*args, '--size', '32', '--device', 'cpu'])

    run.module = command
    return run


@pytest.fixture
def photos(tmp_path):
    """Photographs in a tree, with names as people give them."""
    folder = tmp_path / 'Alte Fotos'
    for index, name in enumerate(('a.png', 'Tante Käthe.jpg', '1950/b c.tif', '1950/Köln/d.bmp', '1950/祖母.webp')):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30), 100 + 10 * index, np.uint8)).save(folder / name)
    return folder


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def is_colored(path):
    pixels = read_photo(path).pixels.astype(int)
    return pixels.shape == (20, 30, 3) and np.ptp(pixels, axis=-1).min() > 10


def test_one_file_to_a_named_file(tool, photos, tmp_path, capsys):
    assert tool(photos / 'Tante Käthe.jpg', '-o', tmp_path / 'Käthe in Farbe.png') == 0
    assert is_colored(tmp_path / 'Käthe in Farbe.png')
    assert '1 colorized' in capsys.readouterr().out


def test_one_file_to_a_folder(tool, photos, tmp_path):
    assert tool(photos / 'a.png', '-o', tmp_path / 'out' / 'deep') == 0
    assert tree(tmp_path / 'out') == ['deep/a.png']


def test_folder_alone(tool, photos, tmp_path):
    assert tool(photos, '-o', tmp_path / 'out') == 0
    assert tree(tmp_path / 'out') == ['Tante Käthe.jpg', 'a.png']


def test_folder_with_subfolders_keeps_the_structure(tool, photos, tmp_path):
    assert tool(photos, '--recursive', '-o', tmp_path / 'out') == 0
    assert tree(tmp_path / 'out') == ['1950/Köln/d.png', '1950/b c.tif', '1950/祖母.webp', 'Tante Käthe.jpg', 'a.png']
    assert all(is_colored(path) for path in (tmp_path / 'out').rglob('*.*'))


def test_pattern_format_suffix_and_compare(tool, photos, tmp_path):
    out = tmp_path / 'out'
    assert tool(f'{photos}/**/*.*', '-o', out, '--format', 'png', '--suffix', '_color', '--compare') == 0
    names = ['Tante Käthe', 'a', 'b c', 'd', '祖母']
    expected = [f'{name}_color.png' for name in names] + [f'{name}_color_compare.jpg' for name in names]
    assert tree(out) == sorted(expected)
    pair = read_photo(out / 'a_color_compare.jpg').pixels.astype(int)
    assert pair.shape == (20, 60, 3)
    assert np.ptp(pair[:, :24], axis=-1).max() < 6 and np.ptp(pair[:, 36:], axis=-1).min() > 10


def test_several_inputs(tool, photos, tmp_path):
    assert tool(photos / 'a.png', photos / '1950', photos / 'a.png', '-o', tmp_path / 'out') == 0
    assert tree(tmp_path / 'out') == ['a.png', 'b c.tif', '祖母.webp']


def test_run_again_skips_what_is_done(tool, photos, tmp_path, capsys):
    out = tmp_path / 'out'
    assert tool(photos, '-o', out) == 0
    (out / 'a.png').write_text('mine')
    os.remove(out / 'Tante Käthe.jpg')
    capsys.readouterr()
    assert tool(photos, '-o', out) == 0
    assert '1 colorized' in (said := capsys.readouterr().out) and '1 skipped' in said
    assert (out / 'a.png').read_text() == 'mine' and is_colored(out / 'Tante Käthe.jpg')
    assert tool(photos, '-o', out, '--overwrite') == 0
    assert is_colored(out / 'a.png')


def test_outputs_inside_the_input_folder_are_not_inputs_of_the_next_run(tool, photos, capsys):
    for expected in ('5 colorized', '0 colorized'):
        assert tool(photos, '-r', '-o', photos / 'color') == 0
        assert expected in capsys.readouterr().out
    assert len(tree(photos / 'color')) == 5


def test_existing_output_of_a_single_file(tool, photos, tmp_path, capsys):
    (tmp_path / 'out.png').write_text('mine')
    assert tool(photos / 'a.png', '-o', tmp_path / 'out.png') == 2
    assert 'exists; use --overwrite' in capsys.readouterr().err
    assert (tmp_path / 'out.png').read_text() == 'mine'
    assert tool(photos / 'a.png', '-o', tmp_path / 'out.png', '--overwrite') == 0
    assert is_colored(tmp_path / 'out.png')


@pytest.mark.parametrize('overwrite', [[], ['--overwrite']])
def test_inputs_are_never_replaced(tool, photos, overwrite, capsys):
    before = (photos / 'a.png').read_bytes()
    assert tool(photos / 'a.png', '-o', photos / 'a.png', *overwrite) == 2
    assert tool(photos, '-o', photos, *overwrite) == 2
    assert 'would be replaced' in capsys.readouterr().err
    assert (photos / 'a.png').read_bytes() == before
    assert tool(photos, '-o', photos, '--suffix', '_color') == 0
    assert is_colored(photos / 'a_color.png')
    assert tool(photos, '-o', photos, '--suffix', '_color') == 0  # again: its outputs are no inputs
    assert tree(photos)[-3:] == ['Tante Käthe_color.jpg', 'a.png', 'a_color.png']


def test_two_photographs_with_one_output_name_get_names_that_differ(tool, photos, tmp_path, capsys):
    for name in ('a.bmp', 'A.PNG', 'a.tif'):
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(photos / name)
    assert tool(photos, '-o', tmp_path / 'out', '--format', 'png', '--compare') == 0
    # also where the file system ignores case
    assert tree(tmp_path / 'out') == [
        *('A.PNG.png', 'A.PNG_compare.jpg', 'Tante Käthe.png', 'Tante Käthe_compare.jpg'),
        *('a.bmp.png', 'a.bmp_compare.jpg', 'a.png_2.png', 'a.png_2_compare.jpg', 'a.tif.png', 'a.tif_compare.jpg'),
    ]
    assert '5 colorized' in (said := capsys.readouterr().out) and '4 named with the suffix of their source' in said
    assert tool(photos, '-o', tmp_path / 'out', '--format', 'png', '--compare') == 0
    assert '0 colorized' in (said := capsys.readouterr().out) and '5 skipped' in said


def test_what_is_not_looked_at_is_counted(tool, photos, tmp_path, capsys):
    for name in ('notes.txt', 'more.TXT', 'film.mov', 'README', '.hidden', '1950/deep.xyz'):
        (photos / name).write_text('x')
    assert tool(photos, '-o', tmp_path / 'out') == 0
    assert '4 files of other kinds passed over: 2 .txt, ' in (said := capsys.readouterr().out)
    assert '1 .mov' in said and '1 without a suffix' in said and '.xyz' not in said
    only = tmp_path / 'only'
    only.mkdir()
    (only / 'film.mov').write_text('x')
    assert tool(only, '-o', tmp_path / 'o') == 0
    assert '0 colorized' in (said := capsys.readouterr().out) and '1 .mov' in said


def test_names_that_are_no_text(photos, tmp_path, weights):
    with open(os.fsencode(photos) + b'/caf\xe9.png', 'wb') as file:
        file.write(b'none')
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(TOOL.parents[1]), PYTHONIOENCODING='utf-8:strict')
    args = [TOOL, photos, '-o', 'out', '--weights', weights, '--size', '32', '--device', 'cpu']
    done = subprocess.run([sys.executable, *map(str, args)], capture_output=True, env=env, cwd=tmp_path)
    assert done.returncode == 1 and b'Traceback' not in done.stderr and b'caf\\xe9.png' in done.stderr
    assert b'2 colorized' in done.stdout


def test_list_shard_and_resume(tool, photos, tmp_path, capsys):
    names = ['1950/b c.tif', 'a.png', '1950/Köln/d.bmp']
    (tmp_path / 'list.txt').write_text('\n'.join(str(photos / name) for name in names) + '\n')
    command = ('--list', tmp_path / 'list.txt', '-o', tmp_path / 'out', '--manifest', tmp_path / 'm.jsonl', '--resume')
    assert tool(*command, '--shard', '2/2') == 0
    assert tree(tmp_path / 'out') == ['a.png']
    assert tool(*command, '--shard', '1/2') == 0
    assert tree(tmp_path / 'out') == ['1950/Köln/d.png', '1950/b c.tif', 'a.png']
    (tmp_path / 'out' / 'a.png').unlink()
    capsys.readouterr()
    assert tool(*command) == 0
    assert '0 colorized' in (said := capsys.readouterr().out) and '3 skipped' in said
    for wrong, reason in (('3/2', 'K from 1 to N'), ('x', 'K from 1 to N'), ('auto', 'neither RANK')):
        assert tool(*command, '--shard', wrong) == 2
        assert reason in capsys.readouterr().err
    (tmp_path / 'list.txt').write_text('gone.png\n')
    assert tool('--list', tmp_path / 'list.txt', '-o', tmp_path / 'out') == 2
    assert 'gone.png' in capsys.readouterr().err


def test_through_a_pipe(photos, tmp_path, weights):
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(TOOL.parents[1]))
    args = [sys.executable, str(TOOL), '-', '-o', '-', '--weights', str(weights), '--size', '32', '--device', 'cpu']
    done = subprocess.run(args, input=(photos / 'a.png').read_bytes(), capture_output=True, env=env, cwd=tmp_path)
    assert done.returncode == 0 and b'1 colorized' in done.stderr
    (tmp_path / 'got.png').write_bytes(done.stdout)
    assert is_colored(tmp_path / 'got.png')


def test_pages_of_a_document(tool, tmp_path):
    pages = [Image.fromarray(np.full((20, 30), 60 + 40 * index, np.uint8)) for index in range(3)]
    pages[0].save(tmp_path / 'doc.tif', save_all=True, append_images=pages[1:])
    assert tool(tmp_path / 'doc.tif', '-o', tmp_path / 'out') == 0
    assert tool(tmp_path / 'doc.tif', '-o', tmp_path / 'all', '--pages', 'all') == 0
    assert tree(tmp_path / 'out') == ['doc.tif']
    assert tree(tmp_path / 'all') == ['doc_p001.tif', 'doc_p002.tif', 'doc_p003.tif']
    means = [read_photo(tmp_path / 'all' / name).pixels.mean() for name in tree(tmp_path / 'all')]
    assert means == sorted(means)


def test_pages_never_take_the_name_of_another_photograph(tmp_path):
    target = tmp_path / 'out' / 'a.tif'
    document = Job(tmp_path / 'a.tif', target, {'compare': target.with_name('a_compare.jpg')})
    other = Job(tmp_path / 'A_P002.png', tmp_path / 'out' / 'A_P002.tif')
    free = split_pages(document, 3)
    assert [job.target.name for job in free] == ['a_p001.tif', 'a_p002.tif', 'a_p003.tif']
    jobs = split_pages(document, 3, name_outputs([other]))
    assert [job.target.name for job in jobs] == ['a.tif_p001.tif', 'a.tif_p002.tif', 'a.tif_p003.tif']
    assert jobs[1].beside['compare'].name == 'a.tif_p002_compare.jpg' and jobs[1].page == 2
    long = split_pages(Job(target, target.with_name('a' * 251 + '.tif'), {'compare': target}), 12)
    names = {path.name for job in long for path in job.outputs}
    assert len(names) == 24 and max(map(len, names)) <= 255


def test_names_that_differ_in_their_composition_alone_become_two(tool, tmp_path):
    (tmp_path / 'in').mkdir()
    for name in ('Mu\u0308ller.png', 'M\u00fcller.tif'):  # one letter, written in two ways
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / 'in' / name)
    assert tool(tmp_path / 'in', '-o', tmp_path / 'out', '--format', 'png') == 0
    names = [unicodedata.normalize('NFC', path.name) for path in (tmp_path / 'out').iterdir()]
    assert sorted(names) == ['Müller.png.png', 'Müller.tif.png']


def test_a_record_that_cannot_be_written_costs_no_photograph(tool, photos, tmp_path, monkeypatch, capsys):
    def fill(self, outcome):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('colorization.manifest.Manifest.add', fill)
    assert tool(photos, '-o', tmp_path / 'out', '--manifest', tmp_path / 'done.jsonl') == 1
    told = capsys.readouterr()
    assert 'could not be recorded' in told.err and 'No space left' in told.err and ' 0 failed' in told.out
    assert any((tmp_path / 'out').iterdir())


def test_longest_name_with_a_suffix(tool, tmp_path):
    name = 'n' * 251 + '.png'
    Image.fromarray(np.full((20, 30), 100, np.uint8)).save(tmp_path / name)
    assert tool(tmp_path, '-o', tmp_path / 'out', '--suffix', '_color', '--compare') == 0
    made = tree(tmp_path / 'out')
    assert len(made) == 2 and all(len(each) <= 255 and '~' in each for each in made)


def test_bad_files_are_reported_and_the_rest_goes_on(tool, photos, tmp_path, capsys):
    (photos / 'empty.jpg').write_bytes(b'')
    (photos / 'text.png').write_text('no image')
    truncated = (photos / 'Tante Käthe.jpg').read_bytes()[:-60]
    (photos / 'truncated.jpg').write_bytes(truncated)
    Image.fromarray(np.zeros((120, 100), np.uint8)).save(photos / 'large.png')
    assert tool(photos, '-o', tmp_path / 'out', '--max-megapixels', '0.01') == 1
    captured = capsys.readouterr()
    assert '2 colorized' in captured.out and '4 failed' in captured.out
    summary = captured.err.splitlines()[-4:]
    for name, reason in (
        ('empty.jpg', '0 bytes'),
        ('large.png', 'limit'),
        ('text.png', 'not an image'),
        ('truncated.jpg', 'trunc'),
    ):
        (line,) = [line for line in summary if name in line]
        assert reason in line and line.count(name) == 1
    assert tree(tmp_path / 'out') == ['Tante Käthe.jpg', 'a.png']


def test_a_bomb_is_reported_even_with_the_limit_raised(tool, tmp_path, capsys):
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / 'a.png')
    data = bytearray((tmp_path / 'a.png').read_bytes())
    data[16:24] = struct.pack('>II', 30_000, 30_000)
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    (tmp_path / 'a.png').write_bytes(data)
    assert tool(tmp_path / 'a.png', '-o', tmp_path / 'b.png', '--max-megapixels', '300') == 1
    assert '30000 x 30000 pixels are more than the limit of 300000000' in capsys.readouterr().err


def test_nothing_found(tool, photos, tmp_path, capsys):
    for name, wanted in ((photos / 'none.png', 'a file or a folder'), (f'{photos}/*.gif', 'match this pattern')):
        assert tool(name, '-o', tmp_path / 'out') == 2
        said = capsys.readouterr().err
        assert str(name) in said and wanted in said


def test_output_folder_that_cannot_be_made(tool, photos, tmp_path, capsys):
    (tmp_path / 'file').write_text('a file, no folder')
    for out in (tmp_path / 'file', tmp_path / 'file' / 'sub'):
        assert tool(photos, '-o', out) == 2
        assert f'{out}: this output folder cannot be written' in capsys.readouterr().err


def test_output_folder_without_permission(tool, photos, tmp_path, capsys, monkeypatch):
    real = tempfile.TemporaryFile

    def refuse(dir):
        if Path(dir).name == 'locked':  # root is never refused, so the answer is simulated
            raise PermissionError(13, 'Permission denied')
        return real(dir=dir)

    monkeypatch.setattr(tempfile, 'TemporaryFile', refuse)
    assert tool(photos, '-o', tmp_path / 'locked') == 2
    assert 'locked: this output folder cannot be written: Permission denied' in capsys.readouterr().err


def test_output_names_that_cannot_be(tool, photos, tmp_path, capsys):
    assert tool(photos, '-o', tmp_path / 'out.png') == 2
    assert 'looks like a file' in capsys.readouterr().err
    assert tool(photos / 'a.png', '-o', tmp_path / 'out.gif') == 2
    assert "'.gif' cannot be written" in capsys.readouterr().err


def test_weights_that_cannot_be_used(tool, photos, tmp_path, capsys, weights):
    (tmp_path / 'broken.safetensors').write_bytes(weights.read_bytes()[:1000])
    for path, reason in (
        (tmp_path / 'none.pth', 'no such weights file'),
        (tmp_path / 'broken.safetensors', 'truncated'),
        (photos / 'a.png', 'holds no weights'),
        (weights.with_suffix('.pth'), 'give the network config'),
    ):
        assert tool(photos / 'a.png', '-o', tmp_path / 'out.png', '--weights', path) == 2
        assert reason in capsys.readouterr().err


def test_config_of_a_training_run(tool, photos, tmp_path, weights, tiny_mpt, capsys):
    config = tmp_path / 'run.py'
    config.write_text(
        "custom_imports = dict(imports=['a_package_that_is_not_needed_here'], allow_failed_imports=False)\n"
        f"model = dict(type='GANColorizer', generator=dict(encoder_weights='gone.pth', **{tiny_mpt!r}))\n"
    )
    args = (photos / 'a.png', '-o', tmp_path / 'out.png', '--weights', weights.with_suffix('.pth'), '--config', config)
    assert tool(*args) == 0
    assert is_colored(tmp_path / 'out.png')
    config.write_text('model = dict(type="Other")\n')
    assert tool(*args, '--overwrite') == 2
    assert 'has no model.generator' in capsys.readouterr().err
    config.write_text(f'model = dict(generator=dict(unknown_key=1, **{tiny_mpt!r}))\n')
    assert tool(*args, '--overwrite') == 2
    assert 'unknown_key' in capsys.readouterr().err
    config.write_text('model = dict(\n')
    assert tool(*args, '--overwrite') == 2
    assert 'colorize:' in capsys.readouterr().err


@pytest.mark.parametrize(('option', 'value'), [('--chroma', '-1'), ('--device', 'tpu9')])
def test_settings_that_cannot_be(tool, photos, tmp_path, option, value, capsys):
    # the last one of an option given twice counts, so the fixture's device is put in front
    args = [str(photos / 'a.png'), '-o', str(tmp_path / 'out.png'), option, value]
    assert (tool.module.main(args) if option == '--device' else tool(*args)) == 2
    assert 'colorize:' in capsys.readouterr().err and not (tmp_path / 'out.png').exists()


def test_stopped_by_the_user(tool, photos, tmp_path, monkeypatch, capsys):
    def stop_at_second(path, **options):
        if path.name == 'a.png':
            raise KeyboardInterrupt
        return read_photo(path, **options)

    monkeypatch.setattr('dualattn.io.photos.workers.read_photo', stop_at_second)
    assert tool(photos, '-o', tmp_path / 'out') == 130
    assert 'run the same command again' in capsys.readouterr().err
    assert tree(tmp_path / 'out') == ['Tante Käthe.jpg']


STOPPED_HALFWAY = """
import os, runpy, signal, sys, time
from PIL import Image

def save(self, file, *args, **kwargs):
    file.write(b'half')
    file.flush()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)

Image.Image.save = save
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def test_terminated_it_leaves_no_half_file(photos, tmp_path, weights):
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(TOOL.parents[1]))
    args = [TOOL, photos / 'a.png', '-o', 'out', '--weights', weights, '--size', '32', '--device', 'cpu']
    stopped = subprocess.run(
        [sys.executable, '-c', STOPPED_HALFWAY, *args], capture_output=True, text=True, env=env, cwd=tmp_path
    )
    assert stopped.returncode == 130 and 'run the same command again' in stopped.stderr
    assert os.listdir(tmp_path / 'out') == []


def test_pair_that_was_lost_or_comes_later_is_made_without_the_photograph_being_touched(tool, photos, tmp_path):
    out = tmp_path / 'out'
    assert tool(photos, '-o', out) == 0
    (out / 'a.png').write_text('mine')
    for _ in range(2):
        assert tool(photos, '-o', out, '--compare') == 0
        assert tree(out) == ['Tante Käthe.jpg', 'Tante Käthe_compare.jpg', 'a.png', 'a_compare.jpg']
    assert (out / 'a.png').read_text() == 'mine'
    assert tool(photos / 'a.png', '-o', tmp_path / 'one.png') == 0
    assert tool(photos / 'a.png', '-o', tmp_path / 'one.png', '--compare') == 0
    assert (tmp_path / 'one_compare.jpg').exists()


def test_pair_never_replaces_a_photograph(tool, photos, tmp_path, capsys):
    (photos / 'a_compare.jpg').write_text('mine')
    assert tool(photos / 'a.png', '-o', photos, '--format', 'jpg', '--compare') == 2
    assert 'a_compare.jpg exists; use --overwrite' in capsys.readouterr().err
    assert tool(photos / 'a.png', photos / 'Tante Käthe.jpg', '-o', photos, '--format', 'webp', '--compare') == 1
    assert 'a_compare.jpg exists' in capsys.readouterr().err
    assert (photos / 'a_compare.jpg').read_text() == 'mine' and (photos / 'Tante Käthe_compare.jpg').exists()
    assert tool(f'{photos}/a*.*g', '-o', photos, '--format', 'tif', '--compare', '--overwrite') == 2
    assert 'a_compare.jpg is an input and would be replaced' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('pattern', 'options'),
    [('*.png', ['--suffix', '_color']), ('**/*.*', ['-o', 'colorized']), ('1950/**/*.*', ['-o', '1950/colorized'])],
)
@pytest.mark.parametrize('compare', [[], ['--compare']])
def test_pattern_goes_on_after_an_interruption(tool, photos, capsys, monkeypatch, pattern, options, compare):
    monkeypatch.chdir(photos)
    command = [pattern, '-o', '.', *options, *compare]
    assert tool(*command) == 0
    files = tree(photos)
    done = [name for name in files if 'color' in name and '_compare' not in name]
    os.remove(photos / done[0])
    for compared in photos.rglob('*_compare.jpg'):
        os.remove(compared)
    capsys.readouterr()
    assert tool(*command) == 0
    said = capsys.readouterr().out
    assert tree(photos) == files
    assert ('taken for outputs of an earlier run' in said) == (len(done) > 1)
    assert f'{len(done) if compare else 1} colorized' in said
    assert tool(*command) == 0
    said = capsys.readouterr().out
    assert tree(photos) == files and f'{len(done)} skipped (already there; --overwrite makes them anew)' in said


def test_pattern_over_the_output_folder_never_costs_a_photograph(tool, tmp_path, capsys):
    for folder in ('t1', 't3'):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / folder / 'a.png')
    before = (tmp_path / 't3' / 'a.png').read_bytes()
    assert tool(f'{tmp_path}/t*/*.png', '-o', tmp_path / 't3', '--overwrite') == 2
    assert tool(f'{tmp_path}/t*/*.png', '-o', tmp_path / 't3') == 0
    assert 't3/a.png' in capsys.readouterr().out and (tmp_path / 't3' / 'a.png').read_bytes() == before


def test_suffix_of_a_photographs_own_name_is_no_sign_of_an_earlier_run(tool, tmp_path, capsys):
    for name in ('barn_1.png', 'barn_2.png', 'house.png', 'house_1.png'):
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / name)
    assert tool(tmp_path, '-o', tmp_path / 'other', '--suffix', '_1') == 0
    assert tree(tmp_path / 'other') == ['barn_1_1.png', 'barn_2_1.png', 'house_1.png', 'house_1_1.png']
    capsys.readouterr()
    assert tool(tmp_path, '-o', tmp_path, '--suffix', '_1') == 0  # here house_1.png is what house.png becomes
    said = capsys.readouterr().out
    assert '2 colorized' in said and '1 skipped' in said
    assert said.count('taken for outputs') == 1 and said.rstrip().endswith('house_1.png')


def test_help_teaches(tool, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(['--help'])
    said = capsys.readouterr().out
    assert stopped.value.code == 0 and 'examples:' in said and 'exit codes:' in said


def test_as_a_script(photos, tmp_path, weights):
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(TOOL.parents[1]))
    args = [photos / 'a.png', photos / 'none.png', '-o', 'out', '--weights', weights]
    failed = subprocess.run([sys.executable, TOOL, *args], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert failed.returncode == 2 and 'Traceback' not in failed.stderr and 'none.png' in failed.stderr
