"""Classes of photographs, from a config and a checkpoint."""

from pathlib import Path

import torch
from timm.data import ImageNetInfo, create_transform

from dualattn.engine import DataError
from transfer.classification.dataset import read_image
from transfer.weights import load_trained

__all__ = ['PhotoClassifier']


class PhotoClassifier:
    """A trained classifier, ready for photographs.

    Args:
        config: config file of the training.
        checkpoint: weights of that training, .pth or .safetensors.
        device: where the network runs.

    Attributes:
        names: the classes' names in the order of the scores; those of ImageNet in words.

    Raises:
        FileNotFoundError: there is no such config or checkpoint.
        CheckpointError: the checkpoint is broken or not of this config.
        DataError: neither the checkpoint nor the config tells the names of the classes.
    """

    def __init__(self, config: str, checkpoint: str, device: str = 'cpu'):
        self.model, cfg, meta = load_trained(config, checkpoint, device)
        self.device = device
        dataset = cfg.test_dataloader.dataset
        self.transform = create_transform(**dataset.transform)
        self.names = _find_names(meta.get('dataset_meta', {}).get('classes') or dataset.get('classes'))
        if len(self.names) != self.model.num_classes:
            raise DataError(
                f'{checkpoint} and {config} name {len(self.names)} classes, the model has '
                f'{self.model.num_classes}: list the names in test_dataloader.dataset.classes'
            )

    @torch.inference_mode()
    def predict(self, path: str | Path, topk: int = 5) -> list[dict]:
        """Classify a photograph.

        Returns:
            The `topk` most likely classes, each `name`, `label` (its index) and `score` (its probability).

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it is no image, or broken.
        """
        inputs = self.transform(read_image(path))[None].to(self.device)
        scores, labels = self.model(inputs, mode='predict')[0].scores.sort(descending=True)
        return [
            dict(name=self.names[label], label=label, score=score)
            for score, label in zip(scores[:topk].tolist(), labels[:topk].tolist(), strict=True)
        ]


def _find_names(classes: list[str] | str | None) -> list[str]:
    imagenet = ImageNetInfo()
    classes = imagenet.label_names() if classes == 'imagenet-1k' else list(classes or ())
    if classes == imagenet.label_names():
        return list(imagenet.label_descriptions())
    return classes
