"""Classes of several views of an image, mirrored and at other sizes, averaged."""

from collections.abc import Sequence

from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS
from mmengine.structures import LabelData
from torch import nn
from torch.nn import functional

__all__ = ['AugmentedClassifier']


@MODELS.register_module()
class AugmentedClassifier(BaseTTAModel):
    """The mean of the probabilities that a classifier gives to an image at each size, as it is and mirrored.

    Args:
        module: the classifier, or its config.
        scales: sizes over that of the images that come.
    """

    def __init__(self, module: dict | nn.Module, scales: Sequence[float] = (1.0,)):
        super().__init__(module)
        self.scales = tuple(scales)

    def test_step(self, data: dict) -> list[LabelData]:
        """Classify a batch with `inputs` (B, 3, H, W); returns what `ImageClassifier.test_step` does."""
        inputs = data['inputs']
        predictions = []
        for scale in self.scales:
            view = inputs
            if scale != 1:
                size = [max(1, round(side * scale)) for side in inputs.shape[2:]]
                view = functional.interpolate(inputs, size, mode='bicubic', antialias=True)
            predictions += [self.module.test_step({**data, 'inputs': one}) for one in (view, view.flip(-1))]
        return self.merge_preds(list(zip(*predictions, strict=True)))

    def merge_preds(self, data_samples_list: Sequence[Sequence[LabelData]]) -> list[LabelData]:
        """Average the `scores` of the views of each image."""
        merged = []
        for views in data_samples_list:
            views[0].scores = sum(view.scores for view in views) / len(views)
            merged.append(views[0])
        return merged
