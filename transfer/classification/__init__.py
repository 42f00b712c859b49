"""ImageNet classification with any timm model; importing this registers it with mmengine."""

from transfer.classes import ClassCheckHook
from transfer.classification.augmentation import AugmentedClassifier
from transfer.classification.classifier import ImageClassifier
from transfer.classification.dataset import ClassFolder
from transfer.classification.metrics import TopKAccuracy

__all__ = ['AugmentedClassifier', 'ClassCheckHook', 'ClassFolder', 'ImageClassifier', 'TopKAccuracy']
