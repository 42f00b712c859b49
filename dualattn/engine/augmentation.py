"""Test-time augmentation of classifiers and detectors: each image mirrored and at other sizes as well."""

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from dualattn.engine.runner import OptionError

__all__ = ['SCALES', 'use_augmentation']

SCALES = (0.75, 1.0, 1.25)


def use_augmentation(cfg: Config, scales: Sequence[float] = SCALES) -> None:
    """Let a config test each image at several sizes, each as it is and mirrored.

    Args:
        cfg: a config whose `tta_model` names the wrapper that merges the views; its model is wrapped by it. Data sets
            with a pipeline make the views there; otherwise the wrapper makes them, and is told the `scales`.
        scales: sizes over that of the config's own test.

    Raises:
        OptionError: the config has no `tta_model`, its test resizes no image, or the scales are none.
    """
    scales = [scales] if isinstance(scales, (int, float)) else list(scales)
    if not scales or not all(isinstance(scale, (int, float)) and 0.1 <= scale <= 10 for scale in scales):
        raise OptionError(f'--tta-scales have to be numbers from 0.1 to 10, got {scales}')
    if 'tta_model' not in cfg:
        raise OptionError('--tta is for classifiers and for detectors on photographs, whose configs have a tta_model')
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if 'pipeline' in dataset:
        dataset.pipeline = _augment_pipeline(dataset.pipeline, scales)
        options: dict[str, Any] = dict(tta_cfg=_read_merging(cfg.model))
    else:
        options = dict(scales=scales)
    cfg.model = ConfigDict({**options, **cfg.tta_model, 'module': cfg.model})


def _augment_pipeline(pipeline: Sequence[dict], scales: Sequence[float]) -> list[dict]:
    """Put the steps of a test from its resizing on into mmcv's TestTimeAug."""
    steps = [step['type'].split('.')[-1] for step in pipeline]
    if 'TestTimeAug' in steps:
        raise OptionError('--tta: the test pipeline of this config has a TestTimeAug of its own')
    if steps.count('Resize') != 1 or 'scale' not in pipeline[steps.index('Resize')] or steps[-1] != 'PackDetInputs':
        raise OptionError('--tta needs one Resize with a scale, and PackDetInputs at the end, in the test pipeline')
    at = steps.index('Resize')
    resize, pack = pipeline[at], pipeline[-1]
    sizes = [tuple(max(1, round(side * scale)) for side in resize['scale']) for scale in scales]
    keys = pack.get('meta_keys', ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
    pack = dict(pack, meta_keys=tuple(dict.fromkeys([*keys, 'flip', 'flip_direction'])))
    return [
        *pipeline[:at],
        dict(
            type='TestTimeAug',
            transforms=[
                [dict(resize, scale=size) for size in sizes],
                [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
                *([step] for step in pipeline[at + 1 : -1]),
                [pack],
            ],
        ),
    ]


def _read_merging(model: dict) -> dict:
    """Read how a detector merges boxes of one image, for those of its views: two-stage ones below `rcnn`."""
    test_cfg = model.get('test_cfg') or {}
    test_cfg = test_cfg.get('rcnn', test_cfg)
    return dict(
        nms=dict(test_cfg.get('nms') or dict(type='nms', iou_threshold=0.5)),
        max_per_img=test_cfg.get('max_per_img', 100),
    )
