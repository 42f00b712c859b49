"""A network that learns the features of another one from photographs without labels."""

from collections.abc import Sequence

import timm
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import LabelData
from timm.data import resolve_data_config
from torch import Tensor, nn
from torch.nn import functional

from dualattn.engine.instruments import freeze_as_buffers, leave_out_of_checkpoints
from dualattn.io.trunks import find_trunk_weights, read_trunk_weights
from dualattn.io.weights import load_strictly

__all__ = ['FeatureDistiller']

STRIDES = (4, 8, 16, 32)
LUMA = (0.299, 0.587, 0.114)  # Rec. 601, as JPEG and Pillow make gray


class Teacher(nn.Module):
    """A frozen timm classifier: an instrument, whose tensors come from its own file and stay out of checkpoints.

    Args:
        name: of a timm model with maps at strides 4, 8, 16 and 32.
        weights: file of its classification weights, or `package:NAME`.

    Raises:
        FileNotFoundError: the weights are missing.
        CheckpointError: they are broken, or of another network.
        ValueError: the model has no map at one of the four strides.
    """

    def __init__(self, name: str, weights: str):
        super().__init__()
        path = find_trunk_weights(weights)
        network = timm.create_model(name)
        load_strictly(network, read_trunk_weights(path, name, timm.create_model), path)
        self.indices, self.chans = find_maps(network, name)
        freeze_as_buffers(network)
        self.network = network.to(memory_format=torch.channels_last)  # a third faster with depthwise kernels on a CPU
        mean, std = read_normalization(network)
        self.register_buffer('mean', mean)
        self.register_buffer('std', std)
        leave_out_of_checkpoints(self)
        self.eval()

    def train(self, mode: bool = True) -> 'Teacher':
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, rgb: Tensor) -> tuple[list[Tensor], Tensor]:
        """Map rgb: (B, 3, H, W) float, sRGB in [0, 1], to four (B, C_i, H_i, W_i) maps and (B, classes) logits."""
        x = ((rgb - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        final, maps = self.network.forward_intermediates(x, indices=self.indices)
        return maps, self.network.forward_head(final)


@MODELS.register_module()
class FeatureDistiller(BaseModel):
    """Lets a student regress a frozen teacher's maps at strides 4, 8, 16 and 32, and match its classes.

    The student sees a photograph at `student_size`, and a part of them in gray; the teacher sees all in colour and as
    large as they come. Each of the teacher's channels is standardised over the batch, and a 1 x 1 convolution maps the
    student's channels to it: the loss of a map is the mean squared error, 1 for a student that knows nothing. Of the
    classes it is the cross-entropy with the teacher's probabilities.

    Args:
        student: arguments of `timm.create_model`: `model_name` and the model's own. It has the teacher's classes.
        teacher: name of a timm model.
        teacher_weights: file of its weights, or `package:NAME`.
        student_size: side in pixels of what the student sees.
        map_weights: weights of the four maps' losses, finest first.
        class_weight: weight of the classes' loss.
        gray_prob: probability that the student sees a photograph in gray, as colorization networks do.

    Raises:
        FileNotFoundError: see `Teacher`.
        CheckpointError: see `Teacher`.
        ValueError: one of the two has no map at one of the four strides, or they have other numbers of classes.
    """

    def __init__(
        self,
        student: dict,
        teacher: str,
        teacher_weights: str,
        student_size: int = 96,
        map_weights: Sequence[float] = (0.25, 0.5, 1.0, 1.0),
        class_weight: float = 0.5,
        gray_prob: float = 0.5,
    ):
        super().__init__()
        if len(map_weights) != len(STRIDES):
            raise ValueError(f'map_weights are for strides {STRIDES}, got {len(map_weights)} of them')
        self.student = timm.create_model(**student)
        self.teacher = Teacher(teacher, teacher_weights)
        if self.student.num_classes != self.teacher.network.num_classes:
            raise ValueError(
                f'student and teacher need the same classes, have {self.student.num_classes} and '
                f'{self.teacher.network.num_classes}: set model.student.num_classes'
            )
        self.indices, chans = find_maps(self.student, student['model_name'])
        self.student_size = student_size
        self.map_weights = tuple(map_weights)
        self.class_weight = class_weight
        self.gray_prob = gray_prob
        self.predictors = nn.ModuleList(nn.Conv2d(n, m, 1) for n, m in zip(chans, self.teacher.chans, strict=True))
        self.standardizers = nn.ModuleList(nn.BatchNorm2d(m, affine=False) for m in self.teacher.chans)
        mean, std = read_normalization(self.student)
        self.register_buffer('mean', mean, persistent=False)
        self.register_buffer('std', std, persistent=False)
        self.register_buffer('luma', torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)

    def forward(
        self,
        inputs: Tensor,
        label: Tensor | None = None,
        path: Sequence[str] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[LabelData]:
        """Compare student and teacher, or describe images by the student's features.

        Args:
            inputs: to learn from, (B, 3, H, W) uint8, sRGB in [0, 255]; in other modes (B, 3, H, W) float, normalised.
            label: (B,) int64, classes for the other modes' results.
            path: files that the images come from.
            mode: 'loss' for the losses; 'tensor' for the student's pooled features (B, C); 'predict' for a list with
                `features` (C,) of each image, and its `gt_label` if known.

        Raises:
            ValueError: another mode.
        """
        if mode == 'loss':
            return self._compare(inputs)
        if mode not in ('tensor', 'predict'):
            raise ValueError(f"mode has to be 'tensor', 'loss' or 'predict', got {mode!r}")
        features = self.student.forward_head(self.student.forward_features(inputs), pre_logits=True)
        if mode == 'tensor':
            return features
        samples = []
        for i, one in enumerate(features.float()):
            sample = LabelData(features=one)
            if label is not None:
                sample.gt_label = label[i]
            samples.append(sample)
        return samples

    def _compare(self, inputs: Tensor) -> dict[str, Tensor]:
        rgb = inputs.float() / 255
        teacher_maps, teacher_logits = self.teacher(rgb)
        seen = functional.interpolate(rgb, (self.student_size,) * 2, mode='bicubic', antialias=True).clamp(0, 1)
        is_gray = torch.rand(len(seen), 1, 1, 1, device=seen.device) < self.gray_prob
        seen = torch.where(is_gray, (seen * self.luma).sum(1, keepdim=True), seen)
        final, maps = self.student.forward_intermediates((seen - self.mean) / self.std, indices=self.indices)
        logits = self.student.forward_head(final)
        losses = {}
        for stride, weight, map_, target, predict, standardize in zip(
            STRIDES, self.map_weights, maps, teacher_maps, self.predictors, self.standardizers, strict=True
        ):
            target = standardize(functional.adaptive_avg_pool2d(target.float(), map_.shape[-2:]))
            losses[f'loss_map{stride}'] = weight * functional.mse_loss(predict(map_).float(), target)
        probabilities = teacher_logits.float().softmax(-1)
        losses['loss_classes'] = self.class_weight * functional.cross_entropy(logits.float(), probabilities)
        return losses


def find_maps(network: nn.Module, name: str) -> tuple[list[int], list[int]]:
    """Return the indices and channels of a timm model's maps at strides 4, 8, 16 and 32.

    Raises:
        ValueError: it has none at one of them.
    """
    infos = list(network.feature_info)
    reductions = [info['reduction'] for info in infos]
    if any(stride not in reductions for stride in STRIDES):
        raise ValueError(f'maps at strides {STRIDES} are compared; {name} has {reductions}')
    indices = [len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES]
    return indices, [infos[i]['num_chs'] for i in indices]


def read_normalization(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, both (1, 3, 1, 1), of the images that a timm model takes."""
    config = resolve_data_config({}, model=network)
    return torch.tensor(config['mean']).view(1, 3, 1, 1), torch.tensor(config['std']).view(1, 3, 1, 1)
