"""Photographs that the dependencies ship inside their wheels, for demonstrations without a download."""

from importlib.util import find_spec
from pathlib import Path

# Photographs inside the wheels themselves, by package and folder. scikit-image and scikit-learn have more, but those
# are downloads, drawings, or pictures whose colours teach nothing about photographs (microscopy, fundus, deep sky).
_PACKAGED_COLOR = {
    'astronaut': ('skimage', 'data/astronaut.png'),
    'chelsea': ('skimage', 'data/chelsea.png'),
    'coffee': ('skimage', 'data/coffee.png'),
    'motorcycle': ('skimage', 'data/motorcycle_left.png'),
    'rocket': ('skimage', 'data/rocket.jpg'),
    'china': ('sklearn', 'datasets/images/china.jpg'),
    'flower': ('sklearn', 'datasets/images/flower.jpg'),
}
_PACKAGED_GRAY = {
    'camera': ('skimage', 'data/camera.png'),
    'coins': ('skimage', 'data/coins.png'),
    'moon': ('skimage', 'data/moon.png'),
    'grass': ('skimage', 'data/grass.png'),
    'brick': ('skimage', 'data/brick.png'),
}


def packaged_color_photos() -> dict[str, Path]:
    """Return name -> file of the colour photographs inside the installed scikit-image and scikit-learn.

    Raises:
        FileNotFoundError: a package, or a file that it is known to ship, is not there.
    """
    return {name: _packaged_file(*place) for name, place in _PACKAGED_COLOR.items()}


def packaged_gray_photos() -> dict[str, Path]:
    """Return name -> file of the genuine black-and-white photographs inside the installed scikit-image.

    Raises:
        FileNotFoundError: as for `packaged_color_photos`.
    """
    return {name: _packaged_file(*place) for name, place in _PACKAGED_GRAY.items()}


def _packaged_file(package: str, name: str) -> Path:
    spec = find_spec(package)  # finds the folder without importing the package
    if spec is None or spec.origin is None:
        wheel = {'skimage': 'scikit-image', 'sklearn': 'scikit-learn'}[package]
        raise FileNotFoundError(f'the photographs of {wheel} are needed: pip install {wheel}')
    file = Path(spec.origin).parent / name
    if not file.is_file():
        raise FileNotFoundError(f'{file} is missing; this version of {package} does not ship it.')
    return file
