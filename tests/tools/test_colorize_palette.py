"""What `dualattn colorize` offers with weights that have a palette: vividness, other versions, doubt."""

import numpy as np
import pytest
import torch
from PIL import Image

from colorization.checkpoints import save_network
from colorization.commands.colorize import main
from colorization.models import build_network


@pytest.fixture
def weights(tmp_path, tiny_mpt):
    torch.manual_seed(0)
    network = build_network(dict(tiny_mpt, num_queries=4, head='palette'))
    network.to_ab.set_palette([[0, 0], [40, 30], [-30, 30], [5, -40]], [0.4, 0.2, 0.2, 0.2])
    network.to_ab.scale = 3.0
    with torch.no_grad():  # the scale is the network's, so what a file is to hold goes into its kernels
        network.color_decoder.layers[-1].norm3.weight *= 8
    save_network(network, tmp_path / 'palette.safetensors')
    return tmp_path / 'palette.safetensors'


@pytest.fixture
def photo(make_photos, tmp_path):
    return sorted(make_photos(tmp_path / 'photos', 2, (80, 60)).iterdir())[0]


@pytest.fixture
def run(weights):
    return lambda *args: main([*map(str, args), '--weights', str(weights), '--size', '64', '--device', 'cpu'])


def chroma(path):
    return float(np.ptp(np.asarray(Image.open(path)).astype(int), axis=2).mean())


def test_vividness(run, photo, tmp_path):
    found = []
    for vividness in ('0.3', '1', '4'):
        assert run(photo, '-o', tmp_path / f'v{vividness}.png', '--vividness', vividness) == 0
        found.append(chroma(tmp_path / f'v{vividness}.png'))
    assert found == sorted(found) and found[2] > found[0] + 1


def test_other_versions_on_a_sheet_and_as_files(run, photo, tmp_path):
    assert run(photo, '-o', tmp_path / 'a.png', '--variants', 4, '--doubt') == 0
    assert Image.open(tmp_path / 'a_variants.jpg').size == (3 * 80, 2 * 60)
    assert Image.open(tmp_path / 'a_doubt.jpg').size == (80, 60)
    for out in ('b', 'c'):
        assert run(photo, '-o', tmp_path / f'{out}.png', '--variants', 2, '--variant-files', '--seed', 7) == 0
    for number in (1, 2):
        first, second = (np.asarray(Image.open(tmp_path / f'{out}_variant{number}.png')) for out in ('b', 'c'))
        np.testing.assert_array_equal(first, second)


def test_folders_run_again_and_take_no_output_for_a_photograph(run, photo, tmp_path, capsys):
    arguments = (
        photo.parent,
        '-o',
        photo.parent / 'out',
        '-r',
        '--variants',
        2,
        '--doubt',
        '--compare',
        '--if-color',
        'redo',
    )
    assert run(*arguments) == 0
    names = sorted(path.name for path in (photo.parent / 'out').iterdir())
    assert names == sorted(
        f'{index}{kind}' for index in ('00', '01') for kind in ('.png', '_compare.jpg', '_doubt.jpg', '_variants.jpg')
    )
    (photo.parent / 'out' / '00_doubt.jpg').unlink()
    capsys.readouterr()
    assert run(*arguments) == 0  # only what is missing is made
    assert '1 colorized' in capsys.readouterr().out and (photo.parent / 'out' / '00_doubt.jpg').exists()
    assert run(*arguments) == 0
    assert '2 skipped' in capsys.readouterr().out


@pytest.mark.parametrize(
    'options', [('--vividness', '2'), ('--variants', '3'), ('--doubt',)], ids=lambda options: options[0]
)
def test_weights_without_a_palette_are_refused_before_work(tiny_mpt, photo, tmp_path, capsys, options):
    save_network(build_network(tiny_mpt), tmp_path / 'linear.safetensors')
    arguments = [str(photo), '-o', str(tmp_path / 'a.png'), '--weights', str(tmp_path / 'linear.safetensors')]
    assert main([*arguments, *options]) == 2
    assert 'palette' in capsys.readouterr().err and not (tmp_path / 'a.png').exists()


@pytest.mark.parametrize('options', [('--variants', '-1'), ('--variant-files',), ('--vividness', 'nan')])
def test_numbers_without_meaning(run, photo, tmp_path, options):
    assert run(photo, '-o', tmp_path / 'a.png', *options) == 2
