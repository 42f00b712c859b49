"""What a data set says of its samples and of their preparation, for metrics to print beside their numbers."""

from collections.abc import Iterable, Sized
from pathlib import PurePath
from typing import Any, cast

__all__ = ['StatedProtocol', 'describe_steps']

_MAKES_TENSORS = ('MaybeToTensor', 'ToTensor', 'MaybePILToTensor', 'ToNumpy', 'Normalize')


def _describe_size(size: Any, verb: str) -> str:
    """Return 'squeezed to 384 x 384'; a size of (height, width), as torchvision has it."""
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    return f'{verb} {width} x {height}'


def describe_steps(transform: Any) -> str:
    """Say in words how timm's transform brings images to size: 'short side resized to 235 (bicubic), centre crop ...'.

    Args:
        transform: what `timm.data.create_transform` returns. What is random, in training, stands as timm prints it.
    """
    parts = []
    for step in transform.transforms:
        name = type(step).__name__
        mode = getattr(getattr(step, 'interpolation', ''), 'value', getattr(step, 'interpolation', ''))
        if name in _MAKES_TENSORS:
            continue
        if name == 'Resize' and isinstance(step.size, int):
            parts.append(f'short side resized to {step.size} ({mode})')
        elif name == 'Resize':
            parts.append(_describe_size(step.size, 'squeezed to') + f' ({mode})')
        elif name == 'CenterCrop':
            parts.append(_describe_size(step.size, 'centre crop'))
        else:
            parts.append(str(step))
    return ', '.join(parts) or 'as they are'


def _list_steps(transforms: Iterable[Any]) -> list[str]:
    """Say of each step of a pipeline of mmdet or mmdet3d what it does to the measured samples.

    What is random, in training, stands by its name.
    """
    parts = []
    for step in transforms:
        scale, points = getattr(step, 'scale', None), getattr(step, 'pcd_range', None)
        inner = getattr(getattr(step, 'transforms', None), 'transforms', None)
        if type(step).__name__ == 'TestTimeAug':
            parts.append('augmented at test time')
        elif isinstance(inner, list):  # mmdet3d keeps its steps in MultiScaleFlipAug3D, which leaves nothing to chance
            parts += [part for part in _list_steps(inner) if not part.startswith('Random')]
        elif type(step).__name__.startswith('Random'):
            parts.append(type(step).__name__)
        elif isinstance(scale, tuple) and hasattr(step, 'keep_ratio'):  # others have a scale of another kind
            parts.append(f'{"scaled to fit" if step.keep_ratio else "squeezed to"} {scale[0]} x {scale[1]}')
        elif points is not None:
            parts.append(f'points within {", ".join(f"{float(value):g}" for value in points)} m')
        elif getattr(step, 'sweeps_num', None):
            parts.append(f'{step.sweeps_num} sweeps before each frame')
    return list(dict.fromkeys(parts))  # points and objects are cut to the same range


class StatedProtocol:
    """States the protocol of a data set of mmengine's kind; stands before its class."""

    @property
    def metainfo(self) -> dict:
        """What the class behind this one says, and, once the annotations are read, `protocol`.

        Its `description` is one line: how many samples of which annotations, the number of classes, the preparation.
        """
        metainfo = super().metainfo  # type: ignore[misc]  # of the data set behind this class
        if not getattr(self, '_fully_initialized', False):
            return metainfo
        count = len(cast(Sized, self))
        source = PurePath(self.ann_file).as_posix()  # type: ignore[attr-defined]  # as above
        parts = [f'{count:,} samples of {source} in {len(metainfo["classes"]):,} classes']
        parts += _list_steps(self.pipeline.transforms)  # type: ignore[attr-defined]  # as above
        return {**metainfo, 'protocol': dict(description=', '.join(parts))}
