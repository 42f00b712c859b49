"""The palette head, its loss and its palette, against float64 forms written out here and scikit-learn."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances_argmin

from colorization.checkpoints import load_network, save_network
from colorization.commands.palette import main
from colorization.decoders import PaletteHead
from colorization.losses import PaletteLoss
from colorization.models import MPT, build_network
from colorization.palette import Palette, make_palette, read_palette, write_palette
from colorization.pipeline import read_network_config
from colorization.systems import GANColorizer
from dualattn.io.weights import CheckpointError

COLORS = [[0.0, 0.0], [40.0, 20.0], [-30.0, 35.0], [5.0, -45.0], [10.0, 12.0], [-60.0, 50.0]]
SHARES = [0.5, 0.1, 0.1, 0.1, 0.15, 0.05]


@pytest.fixture
def palette_mpt(tiny_mpt):
    return dict(tiny_mpt, head='palette')


@pytest.fixture
def network(palette_mpt):
    torch.manual_seed(0)
    network = build_network(palette_mpt)
    network.to_ab.set_palette(COLORS, SHARES)
    return network.eval()


@pytest.fixture
def palette_file(tmp_path):
    write_palette(Palette(COLORS, SHARES), tmp_path / 'palette.json', made_from='a test')
    return tmp_path / 'palette.json'


def lightness(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 100


def softmax(z, axis):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize('temperature', [0.05, 0.4, 1.0, 3.0])
def test_colours_are_the_mean_of_the_distribution(temperature):
    head = PaletteHead(16, 6, temperature)
    head.set_palette(COLORS, SHARES)
    maps = torch.randn(2, 6, 5, 7) * 20
    z = maps.double().numpy() / 4 + np.log(SHARES)[:, None, None]
    expected = np.einsum('bkhw,kc->bchw', softmax(z / temperature, 1), COLORS)
    torch.testing.assert_close(head(maps).double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-4)


def test_an_untrained_head_answers_the_average_of_photographs(network):
    network.to_ab.scale = 0.0
    with torch.no_grad():
        ab = network(lightness(1, 1, 32, 32))
    expected = (np.array(COLORS) * np.array(SHARES)[:, None]).sum(axis=0)
    np.testing.assert_allclose(ab.mean(dim=(0, 2, 3)).numpy(), expected, atol=1e-4)


def test_a_low_temperature_makes_colours_more_vivid(network):
    z = torch.randn(1, 6, 16, 16, generator=torch.Generator().manual_seed(2)) * 2
    chroma = [float(network.to_ab.mix(z, t).norm(dim=1).mean()) for t in (2.0, 1.0, 0.5, 0.2, 0.05)]
    assert chroma == sorted(chroma)
    nearest = torch.tensor(COLORS)[z.argmax(dim=1)].permute(0, 3, 1, 2)
    torch.testing.assert_close(network.to_ab.mix(z, 1e-4), nearest, rtol=1e-3, atol=1e-2)


def test_gain_is_a_factor_on_the_colours(palette_mpt, network):
    stronger = build_network(dict(palette_mpt, gain=1.5))
    stronger.load_state_dict(network.state_dict())
    l = lightness(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(stronger.eval()(l), 1.5 * network(l))
    with pytest.raises(ValueError, match='gain has to be a number above 0'):
        build_network(dict(palette_mpt, gain=0.0))


@pytest.mark.parametrize('recovery', [0.3, 1.0])
@pytest.mark.parametrize('temperature', [0.4, 1.0])
def test_recovery_gives_back_chroma_that_the_mean_loses(temperature, recovery):
    head = PaletteHead(16, 6, temperature, gain=1.1, recovery=recovery)
    head.set_palette(COLORS, SHARES)
    z = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(3)) * 2
    shares = softmax(z.double().numpy() / temperature, 1)
    mean = np.einsum('bkhw,kc->bchw', shares, COLORS)
    chroma = np.einsum('bkhw,k->bhw', shares, np.linalg.norm(COLORS, axis=1))
    lost = np.clip(chroma / np.linalg.norm(mean, axis=1), 1, 4)
    expected = 1.1 * mean * lost[:, None] ** recovery
    torch.testing.assert_close(head.mix(z).double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-3)


def test_paler_colours_are_recovered_less():
    head = PaletteHead(16, 6, temperature=0.4, recovery=0.6)
    head.set_palette(COLORS, SHARES)
    plain, half = PaletteHead(16, 6), PaletteHead(16, 6, temperature=0.8, recovery=0.3)
    for each in (plain, half):
        each.set_palette(COLORS, SHARES)
    z = torch.randn(1, 6, 8, 8, generator=torch.Generator().manual_seed(4)) * 2
    torch.testing.assert_close(head.mix(z, 0.8), half.mix(z))
    chroma = [float(head.mix(z, 0.4 / vividness).norm(dim=1).mean()) for vividness in (0.25, 0.5, 1.0, 2.0, 4.0)]
    assert chroma == sorted(chroma)


def test_recovery_leaves_what_is_sure_and_gray_as_it_is():
    head, plain = PaletteHead(16, 6, recovery=0.6), PaletteHead(16, 6)
    for each in (head, plain):
        each.set_palette(COLORS, SHARES)
    sure = torch.full((1, 6, 1, 1), -30.0)
    sure[:, 1] = 30
    torch.testing.assert_close(head.mix(sure), plain.mix(sure))
    gray = torch.full((1, 6, 1, 1), -200.0)
    gray[:, 0] = 200
    gray.requires_grad_()
    ab = head.mix(gray)
    assert (ab == 0).all()
    ab.sum().backward()
    assert gray.grad.isfinite().all()


@pytest.mark.parametrize('recovery', [-0.1, 1.1, float('nan')])
def test_recovery_is_a_share(palette_mpt, recovery):
    with pytest.raises(ValueError, match='recovery has to be from 0 to 1'):
        build_network(dict(palette_mpt, recovery=recovery))


@pytest.mark.parametrize('size', [(32, 32), (33, 47), (64, 40)])
def test_scores_and_colours_come_from_one_pass(network, size):
    l = lightness(2, 1, *size)
    with torch.no_grad():
        ab, scores = network(l, return_scores=True)
        torch.testing.assert_close(ab, network(l))
        torch.testing.assert_close(scores, network.forward_scores(l))
    assert ab.shape == (2, 2, *size) and scores.shape == (2, 6, -(-size[0] // 4), -(-size[1] // 4))


@pytest.mark.parametrize('temperature', [0.0, -1.0, float('nan'), float('inf')])
def test_a_temperature_is_a_number_above_zero(palette_mpt, network, temperature):
    with pytest.raises(ValueError, match='temperature has to be a number above 0'):
        build_network(dict(palette_mpt, temperature=temperature))
    with pytest.raises(ValueError, match='temperature has to be a number above 0'):
        network.to_ab.mix(torch.zeros(1, 6, 2, 2), temperature)


def test_what_belongs_to_the_other_head_is_refused(tiny_mpt, palette_file):
    with pytest.raises(ValueError, match="head has to be 'linear' or 'palette', got 'softmax'"):
        MPT(head='softmax')
    for keyword in (dict(palette=str(palette_file)), dict(temperature=0.5), dict(gain=1.2), dict(recovery=0.5)):
        with pytest.raises(ValueError, match="belong to head='palette'"):
            build_network(dict(tiny_mpt, **keyword))
    with pytest.raises(TypeError, match='linear head'):
        build_network(tiny_mpt)(lightness(1, 1, 32, 32), return_scores=True)


def test_weights_bring_their_palette_and_temperature(network, palette_mpt, tmp_path):
    save_network(network, tmp_path / 'a.safetensors')
    again = load_network(tmp_path / 'a.safetensors')
    l = lightness(1, 1, 48, 32)
    with torch.no_grad():
        torch.testing.assert_close(again(l), network(l))
    # another temperature is the same network
    warm = load_network(tmp_path / 'a.safetensors', dict(palette_mpt, temperature=0.3))
    assert warm.to_ab.temperature == 0.3


def test_a_training_config_describes_the_network_when_its_files_are_gone(network, palette_mpt, tmp_path):
    torch.save(network.state_dict(), tmp_path / 'iter_10.pth')
    generator = dict(palette_mpt, palette='gone.json', encoder_weights='gone.pth', frozen_modules=['stem'])
    (tmp_path / 'run.py').write_text(f"model = dict(type='GANColorizer', generator={generator!r})\n")
    loaded = load_network(tmp_path / 'iter_10.pth', read_network_config(tmp_path / 'run.py'))
    assert loaded.config == network.config and torch.equal(loaded.to_ab.colors, network.to_ab.colors)


def test_weights_of_one_head_do_not_load_into_the_other(network, tiny_mpt, palette_mpt, tmp_path):
    save_network(network, tmp_path / 'palette.safetensors')
    save_network(build_network(tiny_mpt), tmp_path / 'linear.safetensors')
    assert 'head' not in load_network(tmp_path / 'linear.safetensors').config  # as in files of before the palette
    for name, config in (('palette', tiny_mpt), ('linear', palette_mpt)):
        with pytest.raises(CheckpointError, match='another network.*head'):
            load_network(tmp_path / f'{name}.safetensors', config)


@pytest.mark.parametrize('mixing', [0.2, 0.5, 1.0])
def test_loss_against_its_formula(mixing):
    generator = torch.Generator().manual_seed(3)
    ab = torch.randn(2, 2, 16, 24, generator=generator) * 25
    scores = torch.randn(2, 6, 4, 6, generator=generator)
    loss = PaletteLoss(sigma=7, mixing=mixing, loss_weight=2)(scores, ab, torch.tensor(COLORS), torch.tensor(SHARES))
    place = ab.double().numpy().reshape(2, 2, 4, 4, 6, 4).mean(axis=(3, 5)).transpose(0, 2, 3, 1).reshape(-1, 2)
    distance = ((place[:, None] - np.array(COLORS)) ** 2).sum(axis=2)
    target = np.exp(-distance / (2 * 7**2))
    target /= target.sum(axis=1, keepdims=True)
    q = np.array(SHARES)
    weight = 1 / ((1 - mixing) * q + mixing / 6)
    weight /= (q * weight).sum()
    weight = weight[pairwise_distances_argmin(place, COLORS)]
    z = scores.double().numpy().transpose(0, 2, 3, 1).reshape(-1, 6)
    entropy = -(target * np.log(softmax(z, 1))).sum(axis=1)
    np.testing.assert_allclose(float(loss), 2 * (weight * entropy).mean(), rtol=1e-5)


def test_loss_is_least_where_the_scores_foresee_the_colour():
    ab = torch.tensor(COLORS)[3][:, None, None].expand(1, 2, 8, 8)
    losses = []
    for guess in range(6):
        scores = torch.zeros(1, 6, 2, 2)
        scores[:, guess] = 5
        losses.append(float(PaletteLoss()(scores, ab, torch.tensor(COLORS), torch.tensor(SHARES))))
    assert int(np.argmin(losses)) == 3


@pytest.mark.parametrize('keyword', [dict(sigma=0), dict(sigma=-1), dict(mixing=0), dict(mixing=1.5)])
def test_a_loss_without_meaning_is_refused(keyword):
    with pytest.raises(ValueError, match=next(iter(keyword))):
        PaletteLoss(**keyword)


def test_kmeans_finds_the_colours_that_photographs_have():
    rng = np.random.default_rng(0)
    truth = np.array([[0, 0], [50, 40], [-40, 30], [10, -60]], float)
    counts = [9000, 500, 300, 200]
    photos = [rng.normal(c, 1.5, (n, 2)) for c, n in zip(truth, counts, strict=True)]
    palette = make_palette(photos, 4)
    nearest = pairwise_distances_argmin(truth, palette.colors)
    assert sorted(nearest) == [0, 1, 2, 3]
    np.testing.assert_allclose(np.array(palette.colors)[nearest], truth, atol=1)
    np.testing.assert_allclose(np.array(palette.frequencies)[nearest], np.array(counts) / 10000, atol=1e-3)
    assert make_palette(photos, 4) == palette


def test_gray_photographs_give_no_palette():
    with pytest.raises(ValueError, match='are they gray'):
        make_palette([np.zeros((100, 2))], 4)


def test_a_palette_survives_its_file(palette_file):
    palette = read_palette(palette_file)
    assert palette.colors == COLORS
    np.testing.assert_allclose(palette.frequencies, SHARES)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ('no json', 'is no palette'),
        ('{}', 'is no palette'),
        ('[]', 'is no palette'),
        (dict(format='dualattn.palette/2', colors=COLORS, frequencies=SHARES), 'format'),
        (dict(format='dualattn.palette/1', colors=COLORS, frequencies=SHARES[:-1]), 'as many frequencies'),
        (dict(format='dualattn.palette/1', colors=COLORS[:1], frequencies=SHARES[:1]), 'at least 2'),
        (dict(format='dualattn.palette/1', colors=[[0, 0], [300, 0]], frequencies=[1, 1]), 'within'),
        (dict(format='dualattn.palette/1', colors=[[0, 0], [float('nan'), 0]], frequencies=[1, 1]), 'within'),
        (dict(format='dualattn.palette/1', colors=[[0, 0], [9, 0]], frequencies=[1, 0]), 'above 0'),
        (dict(format='dualattn.palette/1', colors=[[0, 0], [9]], frequencies=[1, 1]), 'is no palette'),
    ],
)
def test_a_file_that_is_no_palette(tmp_path, content, reason):
    path = tmp_path / 'palette.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=reason):
        read_palette(path)


def test_a_palette_of_another_size(palette_mpt, palette_file, tmp_path):
    with pytest.raises(ValueError, match='6 colours.*the head has 7'):
        build_network(dict(palette_mpt, num_queries=7, palette=str(palette_file)))
    with pytest.raises(FileNotFoundError, match='dualattn palette'):
        build_network(dict(palette_mpt, palette=str(tmp_path / 'none.json')))


def system(generator, **kwargs):
    preprocessor = dict(type='ImgDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255])
    losses = dict(pixel_loss=dict(type='PixelLoss'), palette_loss=dict(type='PaletteLoss'))
    return GANColorizer(generator, data_preprocessor=preprocessor, **losses, **kwargs)


def test_the_system_trains_head_and_network(palette_mpt, palette_file):
    model = system(dict(palette_mpt, palette=str(palette_file)))
    losses = model(torch.rand(2, 3, 32, 32), mode='loss')
    assert set(losses) == {'loss_pix', 'loss_palette'}
    losses['loss_palette'].backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.generator.to_ab.parameters())
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.generator.encoder.parameters())


def test_a_palette_loss_needs_a_palette(tiny_mpt, palette_mpt):
    with pytest.raises(ValueError, match="needs a generator with head='palette'"):
        system(dict(tiny_mpt))
    with pytest.raises(ValueError, match='palette of the generator is empty'):
        system(dict(palette_mpt))


def test_the_command_reads_what_a_config_trains_on(make_photos, tmp_path, capsys):
    photos = make_photos(tmp_path / 'photos', 3)
    (tmp_path / 'mine.py').write_text(
        "_base_ = ['dualattn::colorize/mpt_small.py']\n"
        f"train_dataloader = dict(dataset=dict(data_root={str(photos)!r}, held_out='keep'))\n"
    )
    arguments = [str(tmp_path / 'mine.py'), '-o', str(tmp_path / 'palette.json'), '--colors', '5']
    assert main(arguments) == 0
    assert len(read_palette(tmp_path / 'palette.json').colors) == 5
    assert main(arguments) == 2 and 'exists; use --overwrite' in capsys.readouterr().err
    assert main(['no_such_config.py', '-o', str(tmp_path / 'b.json')]) == 2


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ('model = dict()', 'has no train_dataloader.dataset'),
        ("train_dataloader = dict(dataset=dict(type='ShardDataset', data_root='x'))", 'streams its photographs'),
    ],
)
def test_a_config_without_a_folder_of_photographs(tmp_path, capsys, config, message):
    (tmp_path / 'mine.py').write_text(config)
    assert main([str(tmp_path / 'mine.py'), '-o', str(tmp_path / 'palette.json')]) == 2
    assert f'{tmp_path / "mine.py"}: {message}' in capsys.readouterr().err
