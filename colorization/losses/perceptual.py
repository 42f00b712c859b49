"""Distance of two images in the features of a recognition network."""

import logging

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.registry import MODELS
from timm.data import resolve_data_config
from timm.models import create_feature_extractor
from torch import Tensor

from colorization.encoders.trunks import create_classifier
from dualattn.engine.instruments import leave_out_of_checkpoints

__all__ = ['VGG19_LAYERS', 'PerceptualLoss']

logger = logging.getLogger(__name__)

# conv_l_1 and w_l of MPT Eq. 13, by their names in timm's vgg19
VGG19_LAYERS = {
    'features.0': 1 / 16,
    'features.5': 1 / 8,
    'features.10': 1 / 4,
    'features.19': 1 / 2,
    'features.28': 1.0,
}
# the stand-in whose weights a package carries: the ends of stages at strides 2, 4, 8 and 16
EFFICIENTNET_LITE0_LAYERS = {'blocks.0': 1 / 4, 'blocks.1': 1 / 4, 'blocks.2': 1 / 2, 'blocks.4': 1.0}
_KNOWN_LAYERS = {'vgg19': VGG19_LAYERS, 'tf_efficientnet_lite0': EFFICIENTNET_LITE0_LAYERS}


@MODELS.register_module()
class PerceptualLoss(nn.Module):
    """Weighted L1 distances of feature maps (MPT Eq. 13, DDColor 3.4).

    Args:
        trunk: timm name of the recognition network, 'vgg19' in the paper.
        weights: file of its ImageNet weights, or `package:NAME`. There is no default: untrained features mean nothing.
        sha256: expected hash of the file.
        layers: module names inside the trunk and the weight of each; None takes the known ones of 'vgg19' (conv_l_1) or
            'tf_efficientnet_lite0'.
        loss_weight: lambda_per of MPT Eq. 16.

    Raises:
        FileNotFoundError: the weights are missing.
        ValueError: the hash differs, or `layers` is missing for another trunk than those two.
    """

    def __init__(
        self,
        weights: str,
        trunk: str = 'vgg19',
        sha256: str | None = None,
        layers: dict[str, float] | None = None,
        loss_weight: float = 5.0,
    ):
        super().__init__()
        if layers is None:
            if trunk not in _KNOWN_LAYERS:
                raise ValueError(f'name the layers of {trunk}: only those of {", ".join(_KNOWN_LAYERS)} are known')
            layers = _KNOWN_LAYERS[trunk]
        self.loss_weight = loss_weight
        self.layer_weights = dict(layers)
        model = create_classifier(trunk, weights, sha256)
        config = resolve_data_config({}, model=model)
        for module in model.modules():
            if getattr(module, 'inplace', False):  # an activation would overwrite the map that it follows
                module.inplace = False
        self.trunk = create_feature_extractor(model.eval(), {name: name for name in layers}).requires_grad_(False)
        self.register_buffer('mean', torch.tensor(config['mean']).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(config['std']).view(1, 3, 1, 1))
        # the trunk is frozen and comes from its own file: checkpoints neither hold it nor miss it
        leave_out_of_checkpoints(self)
        logger.info('perceptual loss: %s, layers %s', trunk, ', '.join(layers))

    def train(self, mode: bool = True) -> 'PerceptualLoss':
        """Stay in evaluation mode: the trunk is an instrument, not a part of what is trained."""
        return super().train(False)

    def forward(self, pred_rgb: Tensor, rgb: Tensor) -> Tensor:
        """Compare pred_rgb and rgb, both (B, 3, H, W) float, sRGB in [0, 1]; return a scalar."""
        pred_features = self.trunk((pred_rgb - self.mean) / self.std)
        with torch.no_grad():
            features = self.trunk((rgb - self.mean) / self.std)
        loss = torch.zeros((), device=rgb.device)
        for name, weight in self.layer_weights.items():
            loss = loss + weight * F.l1_loss(pred_features[name].float(), features[name].float())
        return self.loss_weight * loss
