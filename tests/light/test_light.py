"""dualattn-light, built as a wheel and run from it: the pictures of `dualattn colorize`, without PyTorch."""

import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from colorization.commands import colorize
from colorization.samples import packaged_gray_photos
from dualattn.commands import export

pytest.importorskip('onnxruntime')
pytest.importorskip('onnx')
pytestmark = pytest.mark.slow

RUN = """
import sys
sys.path.insert(0, {site!r})
from dualattn_light.command import main
code = main(sys.argv[1:])
assert not {{'torch', 'timm', 'dualattn', 'colorization', 'kornia'}} & set(sys.modules), 'loads what it does without'
sys.exit(code)
"""


def build(source, folder):
    options = ['-q', '--no-deps', '--no-build-isolation', '--no-index', '-w', str(folder)]
    command = [sys.executable, '-m', 'pip', 'wheel', *options, str(source)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope='module')
def source(repo_root, tmp_path_factory):
    """A copy of the distribution's sources without the network, since building writes beside them."""
    folder = tmp_path_factory.mktemp('light') / 'light'
    ignored = shutil.ignore_patterns('model', 'build', '*.egg-info', '__pycache__')
    shutil.copytree(repo_root / 'light', folder, ignore=ignored)
    return folder


@pytest.fixture(scope='module')
def site(source, tmp_path_factory):
    """The unpacked wheel."""
    refused = build(source, source.parent / 'none')
    assert refused.returncode and 'dualattn export photo packaged -o' in refused.stderr + refused.stdout
    assert export.main(['photo', 'packaged', '-o', str(source / 'dualattn_light' / 'model')]) == 0
    done = build(source, source.parent / 'wheels')
    assert done.returncode == 0, done.stderr
    (wheel,) = (source.parent / 'wheels').iterdir()
    folder = tmp_path_factory.mktemp('site')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        assert 'dualattn_light/model/colors.onnx' in archive.namelist()
    return folder


@pytest.fixture
def run(site):
    """Function that runs the command in a process of its own."""

    def run(*arguments):
        command = [sys.executable, '-c', RUN.format(site=str(site)), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert 'loads what' not in done.stderr and 'Traceback' not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def photos(tmp_path):
    """Photographs of several kinds, one of them turned by its EXIF."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    gray = Image.open(packaged_gray_photos()['coins']).convert('L').resize((200, 150))
    exif = Image.Exif()
    exif[0x0112] = 6
    gray.save(folder / 'turned.png', exif=exif, dpi=(300, 300))
    rgba = gray.convert('RGBA')
    rgba.putalpha(Image.linear_gradient('L').resize(gray.size))
    rgba.save(folder / 'alpha.png')
    Image.fromarray(np.asarray(gray, np.uint16) * 257).save(folder / 'deep.png')
    return folder


def test_pictures_are_those_of_dualattn_colorize(run, photos, tmp_path):
    done = run(*sorted(photos.iterdir()), '-o', tmp_path / 'light')
    assert done.returncode == 0, done.stderr
    assert colorize.main([str(photos), '-o', str(tmp_path / 'whole')]) == 0
    for name, size, mode in (('turned', (150, 200), 'RGB'), ('alpha', (200, 150), 'RGBA'), ('deep', (200, 150), 'RGB')):
        ours = Image.open(tmp_path / 'light' / f'{name}.png')
        assert (ours.size, ours.mode) == (size, mode)
        theirs = tmp_path / 'whole' / f'{name}.png'
        if name == 'deep':  # of which Pillow reads eight bits of each channel
            expected = np.asarray(Image.open(theirs).convert('RGB'), int)
        else:
            expected = np.asarray(Image.open(theirs), int)
        assert np.ptp(expected[..., :3], axis=2).max() > 10
        difference = np.abs(np.asarray(ours, int) - expected)
        assert difference.max() <= 1
        if name != 'deep':
            assert (difference > 0).mean() < 1e-3
    turned = Image.open(tmp_path / 'light' / 'turned.png')
    assert turned.getexif().get(0x0112, 1) == 1 and round(turned.info['dpi'][0]) == 300


def test_bad_files_are_named_and_stop_nothing(run, photos, tmp_path):
    (photos / 'broken.png').write_bytes((photos / 'deep.png').read_bytes()[:2000])
    (photos / 'text.jpg').write_text('no photograph')
    out = tmp_path / 'out'
    done = run(photos / 'broken.png', photos / 'text.jpg', photos / 'absent.png', photos / 'alpha.png', '-o', out)
    assert done.returncode == 1
    assert [line.split(':')[1].split('/')[-1] for line in done.stderr.splitlines()] == [
        'broken.png',
        'text.jpg',
        'absent.png',
    ]
    assert [path.name for path in out.iterdir()] == ['alpha.png']
    before = (out / 'alpha.png').read_bytes()
    again = run(photos / 'alpha.png', '-o', out)
    assert again.returncode == 1 and 'use --overwrite' in again.stderr
    assert (out / 'alpha.png').read_bytes() == before


def test_nothing_is_started_with_a_foreign_network(run, site, photos, tmp_path):
    model = tmp_path / 'model'
    shutil.copytree(site / 'dualattn_light' / 'model', model)
    shutil.copy(model / 'join.onnx', model / 'colors.onnx')
    done = run(photos / 'alpha.png', '--model', model, '-o', tmp_path / 'out.png')
    assert done.returncode == 2 and "holds a 'join of photographs', expected 'colors of photographs'" in done.stderr
    (model / 'colors.onnx').write_bytes(b'no network')
    done = run(photos / 'alpha.png', '--model', model, '-o', tmp_path / 'out.png')
    assert done.returncode == 2 and 'no ONNX file that onnxruntime reads' in done.stderr
    same = run(photos / 'alpha.png', tmp_path / 'elsewhere' / 'alpha.png', '-o', tmp_path)
    assert same.returncode == 2 and 'as another photograph does' in same.stderr
    over = run(photos / 'alpha.png', '-o', photos / 'alpha.png', '--overwrite')
    assert over.returncode == 2 and 'nothing is written over those' in over.stderr
    assert not (tmp_path / 'out.png').exists()
