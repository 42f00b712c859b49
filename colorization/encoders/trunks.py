"""Feature pyramids from any timm model, with weights that come from a file or an installed package.

Nothing is downloaded: the caller names a file, and a missing one is an error that says so.
"""

import logging

import timm
import torch.nn as nn

import dualattn  # noqa: F401  registers dualattn_* with timm
from colorization.encoders import glh  # noqa: F401  registers glh_tiny with timm
from dualattn.io.trunks import find_trunk_weights, read_trunk_weights
from dualattn.io.weights import CheckpointError, check_finite

__all__ = ['create_classifier', 'create_trunk', 'find_trunk_weights']

logger = logging.getLogger(__name__)

# what `timm.create_model` takes with features_only alone
FEATURE_KEYWORDS = ('out_indices', 'feature_cls')


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
    tensors = read_trunk_weights(path, name, timm.create_model)
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
