"""Hues against scikit-image's Lab, and the command that compares folders."""

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from colorization.commands.hues import main
from colorization.evaluation.hues import average_hues, compare_hues, measure_hues


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_against_scikit_image(dtype):
    rgb = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (40, 50, 3), dtype=dtype, endpoint=True)
    lab = rgb2lab(rgb / np.iinfo(dtype).max)
    chroma, hue = np.hypot(*lab[..., 1:].transpose(2, 0, 1)), np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    seen = hue[chroma > 6]
    found = measure_hues(rgb)
    np.testing.assert_allclose(found.histogram, np.histogram(seen, 36, (0, 360))[0] / len(seen), atol=1e-3)
    assert found.chroma == pytest.approx(chroma.mean(), rel=1e-3)
    assert found.brown == pytest.approx(((seen > 50) & (seen < 105)).mean(), abs=2e-3)
    assert found.mostly_brown == 0


def solid(color):
    return np.full((8, 8, 3), color, np.uint8)


def test_sepia_gray_and_blue():
    sepia, gray, blue = (measure_hues(solid(color)) for color in ((150, 115, 70), (90, 90, 90), (40, 60, 200)))
    assert (sepia.brown, sepia.mostly_brown) == (1, 1)
    assert gray.brown == 1 and sum(gray.histogram) == 0 and gray.chroma < 0.1  # no other hue to show
    assert blue.brown == 0 and sum(blue.histogram) == pytest.approx(1)
    assert compare_hues(sepia, blue) == pytest.approx(1) and compare_hues(blue, blue) == 0
    half = average_hues([sepia, blue])
    assert half.brown == 0.5 and compare_hues(half, blue) == pytest.approx(0.5)
    with pytest.raises(ValueError, match='got none'):
        average_hues([])


def test_the_command(tmp_path, capsys):
    for folder, colors in (('sepia', [(150, 115, 70)] * 2), ('photos', [(40, 60, 200), (150, 115, 70)])):
        (tmp_path / folder / 'inside').mkdir(parents=True)
        for index, color in enumerate(colors):
            Image.fromarray(solid(color)).save(tmp_path / folder / 'inside' / f'{index}.png')
    (tmp_path / 'sepia' / 'broken.png').write_bytes(b'no picture')
    assert main([str(tmp_path / 'sepia'), '--photographs', str(tmp_path / 'photos')]) == 0
    out, err = capsys.readouterr()
    assert 'brown 1.00, more than 0.8 brown 100%' in out and 'distance of their hues: 0.50' in out
    assert 'broken.png' in err
    assert main([str(tmp_path / 'none')]) == 2
    (tmp_path / 'empty').mkdir()
    assert main([str(tmp_path / 'empty')]) == 2
