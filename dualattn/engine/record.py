"""The record of a test: what was measured, on which data, with which files and versions."""

import math
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.runner import Runner
from torch import nn

from dualattn.engine.protocol import describe_protocol
from dualattn.engine.wrappers import unwrap
from dualattn.io.files import hash_file
from dualattn.io.records import KIND, VERSION, describe_versions

__all__ = ['describe_data', 'make_test_record']

_LIBRARIES = ('dualattn', 'torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmdet', 'mmdet3d', 'numpy', 'pillow')


def describe_data(dataset: Any) -> dict[str, Any]:
    """Say what a number was measured on: `protocol`, `pictures` and `data` of a record.

    A data set that has a method of this name is asked. Of others the line stands that its metainfo states, the samples
    are counted, and their annotation file is hashed.
    """
    if hasattr(dataset, 'describe_data'):
        return dataset.describe_data()
    annotations: Any = getattr(dataset, 'ann_file', None)
    is_file = isinstance(annotations, (str, os.PathLike)) and Path(annotations).is_file()
    stated = describe_protocol(getattr(dataset, 'metainfo', None))
    return dict(
        protocol=dict(name=None, description=stated or f'{len(dataset):,} samples of {type(dataset).__name__}'),
        pictures=dict(measured=len(dataset), complete=True),
        data=dict(annotations_sha256=hash_file(annotations)) if is_file else {},
    )


def make_test_record(
    runner: Runner,
    figures: Mapping[str, Any],
    checkpoint: str | os.PathLike,
    name: str,
    not_measured: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Assemble the record of a test, of the kind that `dualattn evaluate` writes and `dualattn tables` reads.

    Figures of a metric whose network has weights that nobody published (its attribute `network_weights`) go to
    `unverified`; what is no number, such as a table of precisions, is left out.

    Args:
        runner: after its test; tells the data and the metrics.
        figures: name -> number, as they are to stand in a table.
        checkpoint: file of the weights that were tested.
        name: of the method, the row of a table.
        not_measured: figures that were left out, and why.
        settings: what else has been chosen on the command line.
    """
    weights: dict[str, Any] = {'checkpoint': dict(file=Path(checkpoint).name, sha256=hash_file(checkpoint))}
    unverified_names = set()
    for metric in runner.test_evaluator.metrics:
        found = getattr(metric, 'network_weights', None)
        if found is not None:
            weights[metric.network_kind] = found.to_dict()
            if not found.published:
                unverified_names |= set(metric.figures)
    scores: dict[str, dict] = {}
    unverified: dict[str, dict] = {}
    missing = dict(not_measured or {})
    for key, value in figures.items():
        if not isinstance(value, (int, float, np.number)):
            continue
        if not math.isfinite(value):
            missing[key] = f'is {value}'
            continue
        (unverified if key in unverified_names else scores)[key] = dict(value=float(value), low=None, high=None)
    return dict(
        kind=KIND,
        version=VERSION,
        name=name,
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        figures=scores,
        unverified=unverified,
        not_measured=missing,
        **describe_data(runner.test_dataloader.dataset),
        network=dict(parameters=_count_parameters(unwrap(runner.model))),
        weights=weights,
        settings=dict(settings or {}),
        versions=describe_versions(_LIBRARIES),
    )


def _count_parameters(model: nn.Module) -> int:
    """Count the parameters of what predicts: of a GAN the generator, whose critic is for training alone."""
    return sum(value.numel() for value in getattr(model, 'generator', model).parameters())
