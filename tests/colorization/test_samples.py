"""The photographs inside the wheels of the dependencies."""

import pytest
from PIL import Image

from colorization import samples
from colorization.samples import packaged_color_photos, packaged_gray_photos


def test_the_packaged_black_and_white_photographs_are_gray():
    photos = packaged_gray_photos()
    assert {'camera', 'coins', 'moon'} <= set(photos)
    assert all(Image.open(file).mode == 'L' for file in photos.values())


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(samples, 'find_spec', lambda name: None)
    with pytest.raises(FileNotFoundError, match='pip install scikit-image'):
        packaged_color_photos()
