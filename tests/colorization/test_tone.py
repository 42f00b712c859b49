"""Colour photographs and toned ones: what decides is the variety of hue, not how strong a colour is."""

import io

import numpy as np
import pytest
from PIL import Image

from colorization.samples import packaged_color_photos, packaged_gray_photos
from colorization.tone import is_in_color, measure_variety
from dualattn.io.photos import list_images, read_rgb

# colours of black, of the middle and of white
TONES = {
    'gray': ((0, 0, 0), (128, 128, 128), (255, 255, 255)),
    'sepia': ((30, 15, 5), (150, 115, 75), (250, 235, 200)),
    'strong sepia': ((40, 15, 0), (170, 110, 50), (255, 225, 160)),
    'cyanotype': ((5, 20, 60), (60, 120, 180), (235, 245, 250)),
    'selenium': ((25, 10, 25), (130, 110, 125), (245, 240, 245)),
    'gold': ((10, 15, 40), (115, 120, 140), (250, 248, 240)),
    'platinum': ((25, 22, 20), (132, 126, 118), (240, 236, 226)),
    'faded': ((85, 70, 60), (165, 150, 125), (235, 225, 195)),
    'green': ((5, 25, 10), (110, 135, 110), (235, 250, 235)),
    'sepia above cyan': ((10, 25, 45), (125, 128, 120), (250, 232, 200)),  # split tones
    'cyan above sepia': ((50, 28, 10), (130, 125, 115), (215, 235, 245)),
    'orange above teal': ((0, 50, 70), (120, 128, 125), (255, 205, 130)),  # extreme ones
    'green above violet': ((60, 15, 90), (128, 125, 130), (190, 250, 170)),
    'duotone': ((40, 0, 110), (150, 110, 120), (255, 225, 120)),
    'yellowed': ((20, 15, 5), (140, 130, 110), (245, 235, 205)),
}
# of photos/val, two that are toned black-and-white photographs themselves
TONED = {'n04069434_reflex_camera', 'n04146614_school_bus'}


def tone(rgb, name, quality=85):
    """Print a photograph in black and white and tone it, as a scan that was saved as JPEG."""
    gray = np.asarray(Image.fromarray(rgb).convert('L')) / 255
    toned = np.stack([np.interp(gray, [0, 0.5, 1], levels) for levels in zip(*TONES[name], strict=True)], axis=-1)
    if name == 'yellowed':  # from its edges inwards
        y, x = np.mgrid[-1 : 1 : gray.shape[0] * 1j, -1 : 1 : gray.shape[1] * 1j]
        toned *= 1 - (x**2 + y**2)[..., None] * [0.02, 0.08, 0.2]
    buffer = io.BytesIO()
    Image.fromarray(toned.round().astype(np.uint8)).save(buffer, 'JPEG', quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize('name', TONES)
def test_packaged_photographs(name):
    colors = [read_rgb(path) for path in packaged_color_photos().values()]
    assert all(is_in_color(rgb) for rgb in colors)
    assert not any(is_in_color(tone(rgb, name)) for rgb in colors)
    assert not any(is_in_color(read_rgb(path)) for path in packaged_gray_photos().values())


@pytest.mark.parametrize('quality', [30, 95])
def test_what_a_scan_and_a_jpeg_add_to_a_tone(quality):
    """Noise of each channel, and blocks of 16 x 16 pixels whose colours are rounded."""
    rng = np.random.default_rng(quality)
    for rgb in map(read_rgb, packaged_color_photos().values()):
        toned = tone(rgb, 'orange above teal', 95) + rng.normal(0, 6, rgb.shape)
        buffer = io.BytesIO()
        Image.fromarray(toned.clip(0, 255).astype(np.uint8)).save(buffer, 'JPEG', quality=quality, subsampling='4:2:0')
        assert not is_in_color(np.asarray(Image.open(buffer)))


def test_slow_stains_are_no_colour():
    for rgb in map(read_rgb, packaged_color_photos().values()):
        toned = tone(rgb, 'sepia').astype(float)
        y, x = np.mgrid[0 : 1 : rgb.shape[0] * 1j, 0 : 1 : rgb.shape[1] * 1j]
        for center, size in (((0.2, 0.3), 0.1), ((0.8, 0.7), 0.2), ((0.5, 0.1), 0.15)):
            near = np.exp(-((y - center[0]) ** 2 + (x - center[1]) ** 2) / size**2)
            toned *= 1 - near[..., None] * [0.03, 0.08, 0.25]
        assert not is_in_color(toned.round().astype(np.uint8))


def test_shapes_without_colour():
    assert measure_variety(np.zeros((20, 30), np.uint8)) == 0
    for shape in ((1, 1, 3), (1, 4000, 3), (40, 50, 3)):
        assert not is_in_color(np.full(shape, (200, 90, 30), np.uint8))


@pytest.mark.parametrize('turn', [False, True])
def test_a_panorama_is_no_gray_photograph(turn):
    """Its shorter side would be thinned out to nothing."""
    rgb = np.concatenate([read_rgb(path)[100:140, :400] for path in packaged_color_photos().values()], axis=1)
    sepia = tone(rgb, 'sepia')
    assert rgb.shape[1] > 64 * rgb.shape[0]
    assert is_in_color(rgb.swapaxes(0, 1) if turn else rgb)
    assert not is_in_color(sepia.swapaxes(0, 1) if turn else sepia)


@pytest.mark.timeout(3600)  # the long one reads every photograph, on whatever machine
@pytest.mark.parametrize('step', [4, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.long])])
def test_photographs_that_nobody_has_looked_at(step, data_root):
    files = list_images([data_root / 'photos' / 'val'], recursive=True)
    assert {path.stem for path in files} >= TONED
    photos = [read_rgb(path) for path in files[::step] if path.stem not in TONED]
    assert np.mean([is_in_color(rgb) for rgb in photos]) >= 0.99
    rng = np.random.default_rng(0)
    toned = [is_in_color(tone(rgb, name, int(rng.integers(60, 96)))) for rgb in photos for name in TONES]
    assert np.mean(toned) <= 0.01
    assert not any(is_in_color(read_rgb(path)) for path in list_images([data_root / 'legacy_bw']))
