"""ImageNet classification with any timm model; importing this registers it with mmengine."""

from transfer.classification.classifier import ImageClassifier
from transfer.classification.dataset import ClassFolder
from transfer.classification.hooks import ClassCheckHook
from transfer.classification.metrics import TopKAccuracy

__all__ = ['ClassCheckHook', 'ClassFolder', 'ImageClassifier', 'TopKAccuracy']
