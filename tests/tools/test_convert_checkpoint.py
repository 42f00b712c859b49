"""tools/convert_checkpoint.py and tools/visualize_queries.py: what they write, and what they refuse."""

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from colorization.checkpoints import load_network, save_network
from colorization.checkpoints.released_ddcolor import released_name, unused_tensors
from colorization.commands import convert as convert_command
from colorization.commands import queries as queries_command
from colorization.models import build_network

SMALL = dict(
    type='DDColor',
    encoder='convnext_atto',
    encoder_kwargs=dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)),
    decoder_dims=(16, 16, 8, 8),
    num_queries=6,
    depth=3,
    num_heads=2,
    mlp_ratio=2.0,
    inference_size=64,
)


@pytest.fixture
def convert():
    return lambda *args: convert_command.main([str(arg) for arg in args])


@pytest.fixture
def visualize():
    return lambda *args: queries_command.main([str(arg) for arg in args])


@pytest.fixture
def released(tmp_path):
    """A released DDColor-tiny whose tensors are constants, which take no room in the file."""
    with torch.device('meta'):
        network = build_network(dict(type='DDColor', encoder='convnext_tiny'))
    shapes = {released_name(name): tensor.shape for name, tensor in network.state_dict().items()}
    shapes |= {name: tensor.shape for name, tensor in unused_tensors(network).items()}
    state = {name: torch.tensor(0.5 if shape else 3).expand(shape) for name, shape in shapes.items()}
    state['mean'] = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    state['std'] = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    torch.save({'params': state}, tmp_path / 'net_g_400000.pth')
    return tmp_path / 'net_g_400000.pth'


@pytest.fixture
def weights(tmp_path):
    """Our own file of a small DDColor."""
    torch.manual_seed(0)
    network = build_network(SMALL)
    torch.nn.init.normal_(network.color_decoder.head[-1].weight)
    save_network(network, tmp_path / 'weights.safetensors')
    return tmp_path / 'weights.safetensors'


@pytest.mark.slow
def test_a_released_file_becomes_one_that_describes_itself(convert, released, tmp_path, capsys):
    out = tmp_path / 'tiny.safetensors'
    assert convert(released, '-o', out, '--half') == 0
    assert 'DDColor, encoder convnext_tiny, 55.0 M parameters, 111 MB' in capsys.readouterr().out
    with safe_open(out, framework='pt') as file:
        assert file.metadata()['source'] == 'net_g_400000.pth'
        assert 'to_ab.bias' in file.keys() and 'refine_net.0.0.bias' not in file.keys()  # noqa: SIM118
    one, other = load_network(released), load_network(out)
    assert one.config == other.config
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_a_training_checkpoint_with_its_config(convert, weights, tmp_path):
    network = load_network(weights)
    state = {f'generator.{name}': tensor for name, tensor in network.state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(iter=7)), tmp_path / 'iter_7.pth')
    generator = dict(SMALL, encoder_weights='weights/none.pth')
    (tmp_path / 'config.py').write_text(f'model = dict(generator={generator!r})\n')
    out = tmp_path / 'out.safetensors'
    assert convert(tmp_path / 'iter_7.pth', '-o', out, '--config', tmp_path / 'config.py') == 0
    assert torch.equal(load_network(out).to_ab.bias, network.to_ab.bias)


@pytest.mark.parametrize(
    ('case', 'message'),
    [
        ('missing', 'no such weights file'),
        ('no config', 'give the network config'),
        ('config without network', 'has no model.generator'),
        ('broken config', 'broken.py is no config: '),
        ('no such config', 'none.py'),
        ('exists', 'use --overwrite to replace it'),
        ('suffix', r"saved as .safetensors, got the suffix '.pth'"),
    ],
)
def test_what_convert_refuses(convert, weights, tmp_path, capsys, case, message):
    source, out, extra = weights, tmp_path / 'out.safetensors', []
    if case == 'missing':
        source = tmp_path / 'none.pth'
    elif case == 'no config':
        source = tmp_path / 'plain.pth'
        torch.save(load_network(weights).state_dict(), source)
    elif case == 'config without network':
        (tmp_path / 'config.py').write_text('model = dict()\n')
        extra = ['--config', tmp_path / 'config.py']
    elif case == 'broken config':
        (tmp_path / 'broken.py').write_text('model = dict(\n')
        extra = ['--config', tmp_path / 'broken.py']
    elif case == 'no such config':
        extra = ['--config', tmp_path / 'none.py']
    elif case == 'exists':
        out.write_bytes(b'mine')
    elif case == 'suffix':
        out = tmp_path / 'out.pth'
    assert convert(source, '-o', out, *extra) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.out == '' and 'Traceback' not in printed.err
    assert not out.exists() or out.read_bytes() == b'mine'


def test_overwrite(convert, weights, tmp_path):
    out = tmp_path / 'out.safetensors'
    out.write_bytes(b'old')
    assert convert(weights, '-o', out, '--overwrite') == 0
    assert load_network(out).config['type'] == 'DDColor'


def test_heat_maps_for_both_systems(visualize, weights, tiny_mpt, make_photos, tmp_path, capsys):
    photos = make_photos(tmp_path / 'photos', 2)
    torch.manual_seed(0)
    save_network(build_network(tiny_mpt), tmp_path / 'mpt.safetensors')
    sizes = []  # in columns
    for name, count in (('weights', 3), ('mpt', 4)):
        out = tmp_path / f'{name}.png'
        assert (
            visualize(
                photos,
                '-o',
                out,
                '--weights',
                tmp_path / f'{name}.safetensors',
                '--count',
                count,
                '--size',
                64,
                '--tile',
                40,
            )
            == 0
        )
        sheet = Image.open(out)
        sizes.append((sheet.width - 4) // 44)
        for column in range(2, sizes[-1]):  # in the columns of the maps, from blue to red
            left = 4 + 44 * column
            pixels = sheet.crop((left, 0, left + 40, sheet.height)).getcolors(1 << 20)
            warmth = [red - blue for _, (red, _, blue) in pixels]
            assert min(warmth) < -100 and max(warmth) > 100
    assert sizes == [2 + 3, 2 + 4]
    assert '2 photographs, queries' in capsys.readouterr().out


def test_chosen_queries_are_those_that_move_the_colours(visualize, weights, make_photos, tmp_path, capsys):
    network = load_network(weights)
    with torch.no_grad():
        network.to_ab.parametrizations.weight.original[:, [0, 1, 3, 5]] = 0
    save_network(network, weights)
    photos = make_photos(tmp_path / 'photos', 1)
    assert visualize(photos, '-o', tmp_path / 'a.png', '--weights', weights, '--count', 2) == 0
    chosen = capsys.readouterr().out.rpartition('queries ')[2].split(',')
    assert {int(number) for number in chosen} == {2, 4}


def test_of_a_palette_those_are_chosen_whose_colours_come_and_go(visualize, tiny_mpt, make_photos, tmp_path, capsys):
    torch.manual_seed(0)
    network = build_network(dict(tiny_mpt, head='palette'))
    network.to_ab.set_palette([[0, 0], [0, 0], [50, 20], [0, 0], [-40, 30], [0, 0]], [1 / 6] * 6)
    save_network(network, tmp_path / 'palette.safetensors')
    photos = make_photos(tmp_path / 'photos', 1)
    options = ('--weights', tmp_path / 'palette.safetensors', '--size', 64, '--count', 2)
    assert visualize(photos, '-o', tmp_path / 'a.png', *options) == 0
    chosen = capsys.readouterr().out.rpartition('queries ')[2].split(',')
    assert {int(number) for number in chosen} == {2, 4}


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['-o', 'a.jpg'], 'the sheet is a .png file'),
        (['-o', 'a.png', '--queries', '2', '6'], 'queries are numbered 0 to 5, got 6'),
    ],
)
def test_what_visualize_refuses(visualize, weights, make_photos, tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    assert visualize(make_photos(tmp_path / 'photos', 1), '--weights', weights, *args) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / args[1]).exists()


def test_visualize_never_replaces_a_photograph_and_a_file_only_on_demand(visualize, weights, tmp_path, capsys):
    photo, out = tmp_path / 'vis.png', tmp_path / 'out.png'
    Image.new('RGB', (40, 30), (90, 120, 60)).save(photo)
    before = photo.read_bytes()
    options = ('--weights', weights, '--size', 64)
    assert visualize(photo, '-o', tmp_path / '.' / 'vis.png', *options, '--overwrite') == 2
    assert 'is an input and would be replaced' in capsys.readouterr().err and photo.read_bytes() == before
    out.write_text('mine')
    assert visualize(photo, '-o', out, *options) == 2
    assert 'exists; use --overwrite' in capsys.readouterr().err and out.read_text() == 'mine'
    assert visualize(photo, '-o', out, *options, '--overwrite') == 0
    assert Image.open(out).format == 'PNG'


def test_visualize_goes_on_after_a_photograph_that_cannot_be_read(visualize, weights, make_photos, tmp_path, capsys):
    photos = make_photos(tmp_path / 'photos', 2)
    (photos / 'broken.png').write_text('no image')
    options = ('-o', tmp_path / 'a.png', '--weights', weights, '--size', 64)
    assert visualize(photos, *options) == 1
    captured = capsys.readouterr()
    assert '2 photographs' in captured.out and 'broken.png: cannot be read: not an image' in captured.err
    assert (tmp_path / 'a.png').exists()
    assert visualize(photos / 'broken.png', *options, '--overwrite') == 2
    assert 'broken.png: cannot be read: not an image' in capsys.readouterr().err


@pytest.mark.parametrize(('option', 'value'), [('--count', -3), ('--count', 0), ('--tile', 0)])
def test_visualize_refuses_numbers_that_cannot_be(visualize, weights, tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as stopped:
        visualize(tmp_path / 'a.jpg', '-o', tmp_path / 'a.png', '--weights', weights, option, value)
    assert stopped.value.code == 2 and f'{option} has to be at least 1, got {value}' in capsys.readouterr().err


def test_visualize_takes_a_checkpoint_with_its_config(visualize, weights, make_photos, tmp_path, capsys):
    torch.save({'state_dict': load_network(weights).state_dict()}, tmp_path / 'iter_10.pth')
    (tmp_path / 'run.py').write_text(f"model = dict(type='GANColorizer', generator={SMALL!r})\n")
    args = (make_photos(tmp_path / 'photos', 1), '-o', tmp_path / 'a.png', '--weights', tmp_path / 'iter_10.pth')
    assert visualize(*args) == 2
    assert 'give the network config' in capsys.readouterr().err
    assert visualize(*args, '--config', tmp_path / 'run.py') == 0
    assert visualize(*args, '--config', tmp_path / 'gone.py', '--overwrite') == 2
