"""From photograph to photograph: luminance, geometry, bit depth, and what a user may hand in."""

import io
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from skimage.color import rgb2lab
from torch import nn

from colorization.checkpoints import save_network
from colorization.luminance import BAND_PIXELS, extract_l
from colorization.models import build_network
from colorization.pipeline import Colorizer, network_size
from dualattn.io.photos import Photo, read_photo, write_photo

RNG = np.random.default_rng(0)
LEVELS = {8: 255, 16: 65535}


class Painter(nn.Module):
    """Stands in for a network: answers one colour, or a smooth field, and remembers what it saw."""

    def __init__(self, color=(0.0, 0.0), field=0.0):
        super().__init__()
        self.color = nn.Parameter(torch.tensor(color).reshape(1, 2, 1, 1))
        self.field = field
        self.seen = []

    def forward(self, l):
        self.seen.append(l)
        rows = torch.linspace(-1, 1, l.shape[2], dtype=l.dtype).reshape(1, 1, -1, 1)
        columns = torch.linspace(-1, 1, l.shape[3], dtype=l.dtype).reshape(1, 1, 1, -1)
        waves = torch.cat([(3 * rows).sin() * columns.cos(), (rows * columns).sin()], dim=1)
        return self.color + self.field * waves


def photograph(height, width, bits=8, channels=3):
    """Smooth with a little grain, neither black nor white."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = np.stack([np.sin(7 * x + 3 * y + phase) for phase in (0, 2, 4)[:channels]], axis=-1)
    values = 0.5 + 0.25 * waves + 0.02 * RNG.standard_normal(waves.shape)
    pixels = (values * LEVELS[bits]).round().astype(np.uint8 if bits == 8 else np.uint16)
    return pixels if channels > 1 else pixels[..., 0]


def l_of(pixels):
    """Luminance by an independent implementation."""
    rgb = pixels / np.iinfo(pixels.dtype).max
    return rgb2lab(rgb if rgb.ndim == 3 else np.repeat(rgb[..., None], 3, axis=2))[..., 0]


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('channels', [1, 3])
def test_l_agrees_with_scikit_image(bits, channels):
    pixels = photograph(40, 70, bits, channels)
    np.testing.assert_allclose(extract_l(pixels).numpy(), l_of(pixels), atol=1e-3)


@pytest.mark.parametrize('bits', [8, 16])
def test_l_of_gray_is_the_same_in_one_and_three_channels_and_in_bands(bits, monkeypatch):
    gray = photograph(40, 70, bits, 1)
    single = extract_l(gray)
    torch.testing.assert_close(extract_l(np.repeat(gray[..., None], 3, axis=2)), single, rtol=0, atol=0)
    monkeypatch.setenv('DUALATTN_BACKEND', 'reference')  # the kernels know no bands
    color = photograph(40, 70, bits)
    whole = extract_l(color)
    monkeypatch.setattr('colorization.luminance.BAND_PIXELS', 70 * 7)
    torch.testing.assert_close(extract_l(color), whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize(('bits', 'step'), [(8, 0), (16, 3)])
def test_gray_stays_gray_exactly_without_colour(bits, step):
    gray = np.arange(LEVELS[bits] + 1).astype(np.uint8 if bits == 8 else np.uint16).reshape(16, -1)
    out = Colorizer(Painter())(gray)
    assert out.dtype == gray.dtype and out.shape == (*gray.shape, 3)
    # 3 of 65535 levels is what Lab's rounded constants cost
    assert np.abs(out.astype(int) - gray[..., None]).max() <= step


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('channels', [1, 3])
def test_luminance_is_kept_at_full_resolution(bits, channels):
    pixels = photograph(150, 211, bits, channels)
    out = Colorizer(Painter(color=(12.0, -9.0), field=6.0), size=64)(pixels)
    assert out.shape == (150, 211, 3) and out.dtype == pixels.dtype
    lab = rgb2lab(out / LEVELS[bits])
    # half a level of each channel, at the slope of L in the darks
    assert np.abs(lab[..., 0] - l_of(pixels)).max() < (0.35 if bits == 8 else 0.003)
    assert np.hypot(lab[..., 1], lab[..., 2]).min() > 3  # and it is in colour


@pytest.mark.parametrize(('bits', 'tolerance'), [(8, 0.35), (16, 0.01)])
def test_luminance_is_kept_where_srgb_cannot_show_the_colour(bits, tolerance):
    gray = np.linspace(0, LEVELS[bits], 64 * 64).astype(np.uint8 if bits == 8 else np.uint16).reshape(64, 64)
    out = Colorizer(Painter(color=(40.0, -60.0), field=20.0), size=64)(gray)
    assert np.abs(l_of(out) - l_of(gray)).max() < tolerance
    assert out[0, 0].max() <= LEVELS[bits] // 250 and out[-1, -1].min() == LEVELS[bits]


def test_colours_of_the_input_are_replaced():
    out = Colorizer(Painter(color=(10.0, 20.0)), size=64)(photograph(64, 64, 16))
    lab = rgb2lab(out / 65535)
    np.testing.assert_allclose(lab[..., 1], 10, atol=0.05)
    np.testing.assert_allclose(lab[..., 2], 20, atol=0.05)


@pytest.mark.parametrize(('factor', 'expected'), [(0.0, 0.0), (0.5, 10.0), (1.5, 30.0)])
def test_chroma_scales_the_colours(factor, expected):
    out = Colorizer(Painter(color=(0.0, 20.0)), size=64, chroma=factor)(photograph(64, 64, 16))
    np.testing.assert_allclose(rgb2lab(out / 65535)[..., 2], expected, atol=0.1)


@pytest.mark.parametrize('shape', [(1, 1), (1, 4000), (4000, 1), (2, 3), (33, 31)])
@pytest.mark.parametrize('bits', [8, 16])
def test_any_size(shape, bits):
    pixels = photograph(*shape, bits, 1)
    network = Painter(color=(5.0, 5.0))
    out = Colorizer(network)(pixels)
    assert out.shape == (*shape, 3)
    assert np.abs(l_of(out) - l_of(pixels)).max() < 0.35
    assert all(side % 32 == 0 for side in network.seen[0].shape[2:])


@pytest.mark.parametrize(
    ('height', 'width', 'size', 'expected'),
    [
        (1000, 1000, 256, (256, 256)),
        (3000, 4000, 256, (224, 288)),
        (4000, 3000, 512, (576, 448)),
        (1, 4000, 256, (128, 512)),
        (4000, 1, 256, (512, 128)),
        (10, 10, 32, (32, 32)),
        (1, 100, 32, (32, 64)),
    ],
)
def test_network_size(height, width, size, expected):
    assert network_size(height, width, size) == expected
    network = Painter()
    Colorizer(network, size=size).predict_ab(torch.zeros(2, 1, height, width))
    assert network.seen[0].shape == (2, 1, *expected)


def test_network_sees_the_averaged_luminance():
    # black or white grain of single pixels: each of the network's pixels is to be the mean of about 8 x 8 of them
    pixels = RNG.choice(np.array([0, 255], np.uint8), (512, 512))
    network = Painter()
    Colorizer(network, size=64)(pixels)
    seen = network.seen[0]
    assert seen.dtype == torch.float32 and seen.shape[2:] == (64, 64)
    assert seen.mean() == pytest.approx(50, abs=1) and seen.std() < 12  # 50 if single pixels were picked


def test_network_sees_no_luminance_out_of_range():
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:, 20:40] = 255  # bicubic resampling overshoots beside such an edge
    network = Painter()
    Colorizer(network, size=96)(pixels)
    assert network.seen[0].min() == 0 and network.seen[0].max() == 100


def test_colours_lie_where_they_were_predicted_and_change_smoothly():
    class Halves(Painter):
        def forward(self, l):
            ab = torch.zeros(1, 2, *l.shape[2:])
            ab[:, 1, :, l.shape[3] // 2 :] = 20.0
            return ab

    out = Colorizer(Halves(), size=64)(np.full((640, 640), 40000, np.uint16))
    b = rgb2lab(out / 65535)[320, :, 2]
    assert np.abs(b[:290]).max() < 0.1 and np.abs(b[350:] - 20).max() < 0.1
    assert abs(b[319] + b[320] - 20) < 0.1  # the edge is in the middle, not shifted by half a cell
    assert np.abs(np.diff(b)).max() < 3.5  # nearest-neighbour enlargement would jump by 20


def test_bands_join_without_seams(monkeypatch):
    monkeypatch.setenv('DUALATTN_BACKEND', 'reference')  # the kernels know no bands
    pixels = photograph(120, 90, 16)
    colorizer = Colorizer(Painter(color=(4.0, 2.0), field=15.0), size=64)
    whole = colorizer(pixels)
    monkeypatch.setattr('colorization.luminance.BAND_PIXELS', 90 * 11)
    banded = colorizer(pixels)
    assert np.abs(whole.astype(int) - banded).max() <= 1
    assert BAND_PIXELS > 120 * 90


@pytest.mark.parametrize(('dtype', 'entered'), [(torch.float32, 1), (torch.bfloat16, 0)])
def test_network_runs_inside_fast_matmul(monkeypatch, dtype, entered):
    """With the shapes of its own linear layers, on its own device, and only where it multiplies float32."""
    inside, asked = [], []

    @contextmanager
    def fast_matmul(product, device):
        asked.append((product, torch.device(device)))
        inside.append(True)
        yield True
        inside.pop()

    class Watched(nn.Linear):
        def forward(self, l):
            assert len(inside) == entered
            return torch.zeros(len(l), 2, *l.shape[2:], dtype=l.dtype)

    monkeypatch.setattr('colorization.pipeline.fast_matmul', fast_matmul)
    Colorizer(Watched(20, 30), size=64, dtype=dtype)(photograph(40, 50))
    assert asked == [((4, 20, 30), torch.device('cpu'))] * entered
    assert inside == []


def test_enlargement_is_that_of_torch():
    ab = torch.randn(1, 2, 12, 9)
    colorizer = Colorizer(Painter())
    l = torch.full((50, 70), 60.0)
    expected = torch.nn.functional.interpolate(ab, (50, 70), mode='bicubic', align_corners=False)
    lab = rgb2lab(colorizer.merge(l, ab[0], np.dtype(np.uint16)) / 65535)
    np.testing.assert_allclose(lab[..., 1:], expected[0].permute(1, 2, 0).numpy(), atol=0.01)


class TestKindsOfInput:
    def test_array_with_alpha(self):
        pixels = np.dstack([photograph(40, 50), RNG.integers(0, 256, (40, 50), dtype=np.uint8)])
        out = Colorizer(Painter(), size=64)(pixels)
        assert out.shape == pixels.shape and out.dtype == np.uint8
        np.testing.assert_array_equal(out[..., 3], pixels[..., 3])

    def test_photo_keeps_all_but_its_pixels(self):
        alpha = RNG.integers(0, 65536, (40, 50), dtype=np.uint16)
        photo = Photo(photograph(40, 50, 16, 1), alpha, b'exif', b'icc', (300, 300), {'Title': 'Oma'}, b'xmp')
        out = Colorizer(Painter(), size=64)(photo)
        assert isinstance(out, Photo) and out.pixels.shape == (40, 50, 3) and out.bit_depth == 16
        assert out.alpha is photo.alpha and (out.exif, out.icc_profile) == (b'exif', b'icc')
        assert (out.dpi, out.text, out.xmp) == ((300, 300), {'Title': 'Oma'}, b'xmp')

    @pytest.mark.parametrize('image', [np.zeros((4, 4)), np.zeros((4, 4), np.int32), 'photo.jpg', [[1]], None])
    def test_other_types_are_refused(self, image):
        with pytest.raises(TypeError, match=r'numpy array|uint8 or uint16'):
            Colorizer(Painter())(image)

    @pytest.mark.parametrize('shape', [(4,), (4, 4, 2), (0, 4), (2, 4, 4, 3)])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(ValueError, match='pixels must be'):
            Colorizer(Painter())(np.zeros(shape, np.uint8))

    @pytest.mark.parametrize('kwargs', [dict(size=31), dict(size=0), dict(chroma=-1.0), dict(chroma=float('nan'))])
    def test_settings_are_checked(self, kwargs):
        with pytest.raises(ValueError, match=r'must be'):
            Colorizer(Painter(), **kwargs)

    def test_input_is_not_changed(self):
        pixels = photograph(40, 50)
        before = pixels.copy()
        Colorizer(Painter(color=(9.0, 9.0)))(pixels)
        np.testing.assert_array_equal(pixels, before)


def test_a_network_that_answers_nan_is_an_error():
    with pytest.raises(FloatingPointError, match='NaN'):
        Colorizer(Painter(color=(float('nan'), 0.0)))(photograph(40, 50))


def test_dtype():
    network = Painter(color=(10.0, 20.0), field=3.0)
    colorizer = Colorizer(network, size=64, dtype=torch.bfloat16)
    out = colorizer(photograph(64, 64, 16))
    assert network.seen[0].dtype == torch.bfloat16
    np.testing.assert_allclose(rgb2lab(out / 65535)[..., 2], 20, atol=3.5)
    assert Colorizer(Painter().double()).dtype == torch.float64
    assert Colorizer(Painter().double())(photograph(40, 50)).shape == (40, 50, 3)


def test_network_is_in_eval_mode_and_leaves_no_graph():
    network = Painter().train()
    ab = Colorizer(network).predict_ab(torch.zeros(1, 1, 64, 64))
    assert not network.training and not ab.requires_grad


class TestFiles:
    @pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif', '.webp'])
    def test_file_to_file(self, tmp_path, suffix):
        source, target = tmp_path / 'Oma & Opa 1950 é.png', tmp_path / f'out ü{suffix}'
        pixels = photograph(60, 80)
        Image.fromarray(pixels).save(source)
        write_photo(Colorizer(Painter(color=(10.0, 10.0)), size=64)(read_photo(source)), target)
        out = read_photo(target)
        assert out.pixels.shape == (60, 80, 3)
        assert np.abs(l_of(out.pixels) - l_of(pixels)).max() < (0.35 if suffix in ('.png', '.tif') else 4)
        assert rgb2lab(out.pixels)[..., 2].mean() == pytest.approx(10, abs=1.5)

    @pytest.mark.parametrize('orientation', [3, 6, 8])
    def test_upright_result_of_a_rotated_photograph(self, tmp_path, orientation):
        exif = Image.Exif()
        exif[274] = orientation
        pixels = photograph(60, 80)
        Image.fromarray(pixels).save(tmp_path / 'a.png', exif=exif)
        write_photo(Colorizer(Painter(), size=64)(read_photo(tmp_path / 'a.png')), tmp_path / 'b.png')
        upright = {3: pixels[::-1, ::-1], 6: np.rot90(pixels, -1), 8: np.rot90(pixels)}[orientation]
        with Image.open(tmp_path / 'b.png') as image:
            assert image.getexif().get(274, 1) == 1
            assert np.abs(l_of(np.asarray(image)) - l_of(upright)).max() < 0.35

    def test_appearance_with_a_foreign_profile(self, tmp_path):
        # linear light: a viewer shows 20 % of the light where the number is 51
        profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
        start = profile.index(b'para')
        profile[start : start + 14] = b'curv\0\0\0\0\0\0\0\1\1\0'  # gamma 1 for all three channels
        pixels = np.full((40, 40, 3), 51, np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'a.png', icc_profile=bytes(profile))
        write_photo(Colorizer(Painter(), size=32)(read_photo(tmp_path / 'a.png')), tmp_path / 'b.png')
        with Image.open(tmp_path / 'b.png') as image:
            shown = ImageCms.profileToProfile(
                image, ImageCms.getOpenProfile(io.BytesIO(image.info['icc_profile'])), ImageCms.createProfile('sRGB')
            )
        assert np.abs(np.asarray(shown).astype(int) - 124).max() <= 1  # sRGB code of 0.2

    def test_transparent_16_bit_file(self, tmp_path):
        photo = Photo(photograph(40, 50, 16), RNG.integers(0, 65536, (40, 50), dtype=np.uint16))
        write_photo(photo, tmp_path / 'a.tif')
        write_photo(Colorizer(Painter(), size=64)(read_photo(tmp_path / 'a.tif')), tmp_path / 'b.png')
        out = read_photo(tmp_path / 'b.png')
        assert out.bit_depth == 16
        np.testing.assert_array_equal(out.alpha, photo.alpha)
        assert np.abs(l_of(out.pixels) - l_of(photo.pixels)).max() < 0.003


@pytest.fixture
def mpt(tiny_mpt):
    torch.manual_seed(0)
    return build_network(tiny_mpt).eval()


class TestFromPretrained:
    def test_weights_file(self, tmp_path, mpt):
        save_network(mpt, tmp_path / 'a.safetensors')
        loaded = Colorizer.from_pretrained(tmp_path / 'a.safetensors', size=64, chroma=0.5)
        pixels = photograph(70, 50)
        np.testing.assert_array_equal(loaded(pixels), Colorizer(mpt, size=64, chroma=0.5)(pixels))

    def test_a_plain_state_dict_with_config(self, tmp_path, mpt):
        torch.save(mpt.state_dict(), tmp_path / 'a.pth')
        loaded = Colorizer.from_pretrained(tmp_path / 'a.pth', mpt.config, size=64)
        pixels = photograph(70, 50)
        np.testing.assert_array_equal(loaded(pixels), Colorizer(mpt, size=64)(pixels))

    def test_unknown_setting(self, tmp_path, mpt):
        save_network(mpt, tmp_path / 'a.safetensors')
        with pytest.raises(TypeError, match='sise'):
            Colorizer.from_pretrained(tmp_path / 'a.safetensors', sise=64)


def test_historical_photographs(data_root):
    paths = sorted((data_root / 'legacy_bw').glob('*.jp*g'))
    assert paths
    colorizer = Colorizer(Painter(color=(6.0, 8.0)), size=64)
    for path in paths:
        photo = read_photo(path)
        out = colorizer(photo).rgb[::3, ::3]  # a ninth of the pixels, as scikit-image takes its time
        lab = rgb2lab(out)
        assert np.abs(lab[..., 0] - l_of(photo.rgb[::3, ::3])).max() < 0.6
        assert np.median(lab[..., 2]) > 3
