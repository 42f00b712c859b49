"""A timm classifier with timm's losses as a model of mmengine."""

from collections.abc import Sequence
from typing import Any

import timm
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import LabelData
from timm.data import Mixup
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor

from transfer.weights import check_init_cfg, load_init_cfg

__all__ = ['ImageClassifier']


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """Any timm classifier, trained by cross-entropy with label smoothing, mixup and CutMix.

    Args:
        backbone: arguments of `timm.create_model`: `model_name`, `num_classes` and the model's own.
        smoothing: weight of the uniform distribution in the targets.
        mixup: arguments of `timm.data.Mixup` but for the classes and the smoothing; None trains on single images.
        init_cfg: None, or `dict(type='Pretrained', checkpoint=PATH, prefix='backbone.')`: weights to begin with, of
            such a model (that prefix) or of timm (no prefix). They have to fit; only a last layer for another number
            of classes is left out.

    Raises:
        ValueError: `init_cfg` is another.
        FileNotFoundError: see `init_weights`.
        CheckpointError: see `init_weights`.
    """

    is_init: bool  # mmengine's, which tells no types

    def __init__(
        self,
        backbone: dict,
        smoothing: float = 0.1,
        mixup: dict | None = None,
        init_cfg: dict | None = None,
    ):
        check_init_cfg(init_cfg)
        super().__init__(init_cfg=init_cfg)
        self.backbone = timm.create_model(**backbone)
        self.num_classes = self.backbone.num_classes
        self.mixup = mixup and Mixup(**mixup, label_smoothing=smoothing, num_classes=self.num_classes)
        self.loss = SoftTargetCrossEntropy() if mixup else LabelSmoothingCrossEntropy(smoothing)

    def init_weights(self) -> None:
        """Load what `init_cfg` names; without one the weights stay timm's.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it is broken, or its weights are not those of this network.
        """
        if self.init_cfg and not self.is_init:
            load_init_cfg(self.backbone, self.init_cfg, 'model', self._adapt)
        self.is_init = True

    def _adapt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put the own last layer in the place of one for another number of classes."""
        own = self.backbone.state_dict()
        network: Any = self.backbone
        fc = network.pretrained_cfg['classifier']
        for name in (f'{fc}.weight', f'{fc}.bias'):
            if name in weights and name in own and weights[name].shape != own[name].shape:
                MMLogger.get_current_instance().warning(
                    f'{name} of {self.init_cfg["checkpoint"]} is for {len(weights[name])} classes; it begins anew for '
                    f'{self.num_classes}'
                )
                weights[name] = own[name]
        return weights

    def forward(
        self,
        inputs: Tensor,
        label: Tensor | None = None,
        path: Sequence[str] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[LabelData]:
        """Classify images.

        Args:
            inputs: (B, 3, H, W) float, normalised.
            label: (B,) int64, the index of the true class.
            path: files that the images come from.
            mode: 'tensor' for logits (B, num_classes), 'loss' for the loss of the labels, 'predict' for a list with
                `scores` (num_classes,), probabilities, for each image, and its `gt_label` and `path` if known.

        Raises:
            ValueError: another mode, or 'loss' without labels.
        """
        if mode == 'loss':
            if label is None:
                raise ValueError('a loss needs the labels of the images')
            if self.mixup:
                inputs, label = self.mixup(inputs, label)
            return dict(loss=self.loss(self.backbone(inputs), label))
        if mode not in ('tensor', 'predict'):
            raise ValueError(f"mode has to be 'tensor', 'loss' or 'predict', got {mode!r}")
        logits = self.backbone(inputs)
        if mode == 'tensor':
            return logits
        samples = []
        for i, scores in enumerate(logits.float().softmax(-1)):
            sample = LabelData(scores=scores)
            if label is not None:
                sample.gt_label = label[i]
            if path is not None:
                sample.set_metainfo(dict(path=path[i]))
            samples.append(sample)
        return samples
