"""Every kind of picture goes in, and comes out as the same kind with the same colours."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from colorization.batch import Settings, run_job
from colorization.color import rgb_to_lab
from colorization.hints import Hint, Hints
from colorization.jobs import Job
from colorization.manifest import Manifest
from colorization.models import build_network
from colorization.pictures import open_picture
from colorization.pipeline import Colorizer
from dualattn.io.photos import read_photo, write_photo
from dualattn.io.photos.photo import Photo

RNG = np.random.default_rng(0)


@pytest.fixture(scope='module')
def colorize():
    config = dict(
        type='MPT',
        encoder='dualattn_mpt',
        encoder_kwargs=dict(depths=(1, 1, 1, 1), embed_dims=(24, 24, 48, 48), stem_dim=8, window_size=4),
        decoder_dims=(16, 16, 16),
        num_queries=4,
        depth=1,
        num_heads=2,
        head='palette',
    )
    torch.manual_seed(0)
    network = build_network(config)
    network.to_ab.set_palette([[0, 0], [40, 30], [-30, 30], [5, -40]], [0.4, 0.2, 0.2, 0.2])
    network.to_ab.scale = 3.0  # so that an untrained network has opinions
    return Colorizer(network, size=64)


def smooth(height, width, dtype=np.uint8):
    coarse = RNG.integers(0, 256, (4, 5), dtype=np.uint8)
    gray = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return gray if dtype == np.uint8 else gray.astype(np.uint16) * 257


def test_every_kind_gives_the_colours_of_the_array(colorize):
    gray = smooth(50, 70)
    expected = colorize(gray)
    assert np.ptp(expected.astype(int), axis=2).max() > 5
    image = colorize(Image.fromarray(gray))
    assert image.mode == 'RGB' and image.size == (70, 50)
    np.testing.assert_array_equal(np.asarray(image), expected)
    tensor = colorize(torch.from_numpy(gray)[None])
    assert tensor.shape == (3, 50, 70) and tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), expected)
    for dtype in (torch.float32, torch.float64, torch.float16):
        tensor = colorize(torch.from_numpy(gray)[None].to(dtype) / 255)
        assert tensor.dtype == dtype and tensor.min() >= 0 and tensor.max() <= 1
        np.testing.assert_allclose(tensor.permute(1, 2, 0).double().numpy() * 255, expected, atol=1.6)
    photo = colorize(Photo(gray))
    np.testing.assert_array_equal(photo.pixels, expected)


@pytest.mark.parametrize('mode', ['1', 'L', 'RGB', 'P', 'CMYK', 'YCbCr', 'HSV', 'LAB'])
def test_images_of_any_mode_become_rgb(colorize, mode):
    image = Image.fromarray(smooth(40, 48)).convert('RGB')
    image = image.convert(mode) if mode != 'LAB' else Image.merge('LAB', [image.convert('L')] * 3)
    assert colorize(image).mode == 'RGB' and colorize(image).size == (48, 40)


@pytest.mark.parametrize('mode', ['LA', 'RGBA', 'La', 'RGBa'])
def test_transparency_stays(colorize, mode):
    image = Image.fromarray(smooth(40, 48)).convert('RGBA' if mode[0] == 'R' else 'LA')
    image.putalpha(Image.fromarray(smooth(40, 48)))
    result = colorize(image.convert(mode))
    assert result.mode == 'RGBA'
    np.testing.assert_allclose(
        np.asarray(result.getchannel('A')).astype(int), np.asarray(image.getchannel('A')).astype(int), atol=1
    )


def test_sixteen_bits_of_an_image_count(colorize):
    gray = smooth(40, 48, np.uint16)
    image = colorize(Image.fromarray(gray))
    assert image.mode == 'RGB'
    np.testing.assert_allclose(np.asarray(image), colorize(gray) / 257, atol=0.51)


def test_a_list_gives_a_list_of_the_same_kinds(colorize):
    pictures = [smooth(50, 70), Image.fromarray(smooth(50, 70)), torch.from_numpy(smooth(70, 50))[None], smooth(64, 64)]
    results = colorize(pictures)
    assert [type(r) for r in results] == [type(p) for p in pictures]
    for result, picture in zip(results, pictures, strict=True):
        alone = colorize(picture)
        if isinstance(alone, torch.Tensor):
            result, alone = result.numpy(), alone.numpy()
        np.testing.assert_allclose(np.asarray(result).astype(int), np.asarray(alone).astype(int), atol=1)
    assert colorize([]) == []


def test_the_input_is_not_changed(colorize):
    tensor = torch.rand(3, 40, 40)
    before = tensor.clone()
    colorize(tensor)
    torch.testing.assert_close(tensor, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ('picture', 'error', 'reason'),
    [
        ('photo.jpg', TypeError, 'read_photo reads files'),
        (None, TypeError, 'got NoneType'),
        (Image.new('F', (8, 8)), TypeError, 'no fixed range'),
        (torch.zeros(2, 3, 8, 8), ValueError, 'as a list'),
        (torch.zeros(8, 8), ValueError, r'\(1, H, W\) or \(3, H, W\)'),
        (torch.full((1, 8, 8), 255.0), ValueError, r'in \[0, 1\]'),
        (torch.full((1, 8, 8), float('nan')), ValueError, r'in \[0, 1\]'),
        (torch.zeros(1, 8, 8, dtype=torch.int64), TypeError, 'uint8 or floating point'),
        (np.zeros((8, 8)), TypeError, 'uint8 or uint16'),
        (np.zeros((8, 8, 2), np.uint8), ValueError, 'must be'),
    ],
)
def test_what_is_no_picture_is_refused(picture, error, reason):
    with pytest.raises(error, match=reason):
        open_picture(picture)


def chroma(rgb):
    return float(np.ptp(rgb.astype(int), axis=2).mean())


def test_vividness_raises_chroma(colorize):
    gray = smooth(64, 64)
    found = [chroma(Colorizer(colorize.network, 64, vividness=v)(gray)) for v in (0.25, 0.5, 1.0, 2.0, 4.0)]
    assert found == sorted(found) and found[-1] > 1.5 * found[0]
    np.testing.assert_array_equal(Colorizer(colorize.network, 64, vividness=1.0)(gray), colorize(gray))


def test_variants_differ_and_repeat(colorize):
    gray = smooth(64, 64)
    versions = colorize.draw_variants(gray, 4, seed=5)
    assert all(v.shape == (64, 64, 3) and v.dtype == np.uint8 for v in versions)
    assert max(np.abs(v.astype(int) - versions[0]).max() for v in versions[1:]) > 5
    for again, version in zip(colorize.draw_variants(gray, 2, seed=5), versions, strict=False):
        np.testing.assert_array_equal(again, version)


def test_doubt_covers_the_picture(colorize):
    doubt = colorize.measure_doubt(Image.fromarray(smooth(50, 70)))
    assert doubt.shape == (50, 70) and doubt.dtype == np.float32 and doubt.min() >= 0 and doubt.max() <= 1


def test_versions_keep_what_the_user_knows(colorize):
    """Each version is as the network alone would draw it, but for a place whose colour was given."""
    gray = smooth(64, 64)
    free = colorize.draw_variants(gray, 3, seed=5)
    bound = colorize.draft(gray, Hints((64, 64), [Hint.point(20, 30, (60.0, -50.0), width=6)])).draw_variants(3, seed=5)
    for version, other in zip(bound, free, strict=True):
        a, b = rgb_to_lab(torch.from_numpy(version.pixels[30, 20] / 255.0).view(1, 3, 1, 1))[1][0, :, 0, 0].tolist()
        assert a > 15 and b < -15, 'hardly violet'  # made paler where sRGB cannot show it at this luminance
        assert np.abs(version.pixels.astype(int) - other).max() > 5
    assert max(np.abs(v.pixels.astype(int) - bound[0].pixels).max() for v in bound[1:]) > 5


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_one_run_of_the_network_gives_all_pictures(colorize, tmp_path, dtype):
    source, kinds = tmp_path / 'a.png', ('compare', 'variants', 'variant1', 'variant2', 'doubt', 'layer')
    write_photo(Photo(smooth(64, 48, dtype)), source)
    beside = {kind: tmp_path / f'b_{kind}{".tif" if kind == "layer" else ".png"}' for kind in kinds}
    runs = []
    counted = colorize.network.encoder.register_forward_hook(lambda *_: runs.append(1))
    try:
        outcome = run_job(Job(source, tmp_path / 'b.png', beside), colorize, Settings(variants=2, seed=5))
    finally:
        counted.remove()
    assert outcome.state == 'done', outcome.reason
    assert len(runs) == 1
    photo = read_photo(source)
    np.testing.assert_array_equal(read_photo(tmp_path / 'b.png').pixels, colorize(photo).pixels)
    for kind, version in zip(('variant1', 'variant2'), colorize.draw_variants(photo, 2, seed=5), strict=True):
        assert np.abs(read_photo(beside[kind]).pixels.astype(int) - version.pixels).max() <= 1  # by way of 16 bits
    assert outcome.doubt == pytest.approx(float(colorize.measure_doubt(photo).mean()), abs=1e-3)
    manifest = Manifest(tmp_path / 'done.jsonl', 'weights')
    manifest.add(outcome)
    assert json.loads(manifest.path.read_text())['doubt'] == outcome.doubt


def test_a_network_without_palette_says_so(tiny_mpt):
    network = build_network(tiny_mpt)
    with pytest.raises(ValueError, match='needs a network with a palette head'):
        Colorizer(network, vividness=2.0)
    for call in (lambda c: c.draw_variants(smooth(32, 32), 2), lambda c: c.measure_doubt(smooth(32, 32))):
        with pytest.raises(TypeError, match='no palette head'):
            call(Colorizer(network))
    for wrong in (0, -1, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='vividness must be a number above 0'):
            Colorizer(network, vividness=wrong)
