"""`classes=A,B,C` among --cfg-options: one list for all data sets and for all heads that tell classes apart."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['OBJECT_SIZES', 'list_datasets', 'set_classes']

OBJECT_SIZES = 'object_sizes.json'  # what `dualattn create-data kitti` measures of each class, in the data_root
_SPLITS = ('train', 'val', 'test')
_OWN_CONFIG = 'Name them in a config of your own: docs/own_data_detection3d.md'


def set_classes(cfg: Config, classes: Any) -> None:
    """Name the classes of all data sets of a config, in this order, and set the number of every head.

    Detectors in point clouds have anchors or tasks for each class: those of classes that the config knows stay with
    them. For others, anchors are as large as the objects that `OBJECT_SIZES` tells of, and are assigned as those of
    the known class of the nearest footprint.

    Args:
        cfg: the config, which is changed.
        classes: names, or one name.

    Raises:
        ValueError: names are doubled; the config has no head for classes; or nothing tells their anchors or tasks.
    """
    names = [str(name) for name in (classes if isinstance(classes, (list, tuple)) else [classes])]
    if len(set(names)) != len(names) or '' in names:
        raise ValueError(f'--cfg-options: classes have to be different names, got {", ".join(names)}')
    heads = [part for part in _list_parts(cfg.model) if 'num_classes' in part]
    tasked = [part for part in _list_parts(cfg.model) if 'tasks' in part]
    if not (heads or tasked):
        raise ValueError('--cfg-options: classes would have no effect: no part of this model has num_classes')
    before = _find_classes(cfg)
    for head in heads:
        if 'sizes' in (head.get('anchor_generator') or {}):
            _set_anchors(cfg, head, before, names)
        head['num_classes'] = len(names)
    for head in tasked:
        _set_tasks(cfg, head, names)
    for dataset in list_datasets(cfg):
        if 'classes' in dataset or dataset.get('type') == 'ClassFolder':
            dataset['classes'] = names
        else:
            dataset['metainfo'] = {**(dataset.get('metainfo') or {}), 'classes': names}
        for step in _list_parts(dataset.get('pipeline') or []):
            if 'sample_groups' in step:
                _set_sampler(step, names)
            elif step.get('type') == 'ObjectNameFilter':
                step['classes'] = names
    for hook in cfg.get('custom_hooks') or ():
        if hook.get('type') == 'ClassCheckHook':
            hook['new_classes'] = True  # who names them knows that weights to begin with may have others


def list_datasets(cfg: Config) -> Iterator[dict]:
    """Yield the data sets of a config, those inside of wrappers such as RepeatDataset and ConcatDataset."""
    waiting = [(cfg.get(f'{split}_dataloader') or {}).get('dataset') for split in _SPLITS]
    while waiting:
        dataset = waiting.pop(0)
        if not isinstance(dataset, dict):
            continue
        inner = [dataset['dataset']] if 'dataset' in dataset else list(dataset.get('datasets', ()))
        if inner:
            waiting += inner
        else:
            yield dataset


def _list_parts(part: Any) -> Iterator[dict]:
    if isinstance(part, dict):
        yield part
        for key, value in part.items():
            if not str(key).startswith('rpn'):  # region proposals know no classes
                yield from _list_parts(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from _list_parts(value)


def _find_classes(cfg: Config) -> list[str]:
    """Return the classes that the config names for its training data; none where it does not."""
    for dataset in list_datasets(cfg):
        found = (dataset.get('metainfo') or {}).get('classes')
        return list(found) if isinstance(found, (list, tuple)) else []
    return []


# --- detectors in point clouds


def _set_anchors(cfg: Config, head: dict, before: list[str], names: list[str]) -> None:
    anchors = head['anchor_generator']
    assigning = [part for part in _list_parts(cfg.model) if isinstance(part.get('assigner'), (list, tuple))]
    sizes, ranges = list(anchors['sizes']), list(anchors.get('ranges') or ())
    fits = len(sizes) == len(ranges) == len(before) and all(len(part['assigner']) == len(before) for part in assigning)
    if not fits:
        raise ValueError(
            f'--cfg-options: classes: the {len(sizes)} anchors of this detector are not those of its {len(before)} '
            f'classes one by one. {_OWN_CONFIG}'
        )
    measured = _read_sizes(cfg, [name for name in names if name not in before])
    of: list[int] = []  # whose assigner, and whose range to the sides, each class takes
    for name in names:
        if name in before:
            of.append(before.index(name))
        else:
            area = math.prod(measured[name]['size'][:2])
            of.append(min(range(len(sizes)), key=lambda i: abs(math.log(area / math.prod(sizes[i][:2])))))
    anchors['sizes'] = [
        measured[name]['size'] if name in measured else sizes[i] for name, i in zip(names, of, strict=True)
    ]
    new_ranges = [list(ranges[i]) for i in of]
    for name, one in zip(names, new_ranges, strict=True):
        if name in measured:
            one[2] = one[5] = measured[name]['bottom']
    anchors['ranges'] = new_ranges
    for part in assigning:
        part['assigner'] = [copy.deepcopy(part['assigner'][i]) for i in of]


def _read_sizes(cfg: Config, names: list[str]) -> dict[str, dict[str, Any]]:
    """Read how large objects of classes are, and how high they stand, from where the training data lie."""
    if not names:
        return {}
    root = next((dataset.get('data_root') for dataset in list_datasets(cfg)), None)
    path = os.path.join(root if isinstance(root, str) else '', OBJECT_SIZES)
    told: dict[str, Any] = {}
    if os.path.isfile(path):
        try:
            with open(path, encoding='utf-8') as file:
                told = json.load(file)
            found = {name: _check_size(told[name]) for name in names if name in told}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f'{path} is not as `dualattn create-data kitti` writes it ({error}): run it again'
            ) from error
        lacking = [name for name in names if name not in found]
        if not lacking:
            return found
        reason = f'{path} tells of {", ".join(told) or "none"}'
    else:
        lacking = names
        reason = f'{path}, which `dualattn create-data kitti FOLDER --classes {" ".join(names)}` writes, is not there'
    raise ValueError(
        f'--cfg-options: classes: this detector has anchors for each class, and nothing tells how large '
        f'{", ".join(lacking)} {"is" if len(lacking) == 1 else "are"}: {reason}. {_OWN_CONFIG}'
    )


def _check_size(entry: dict) -> dict[str, Any]:
    size, bottom = [float(side) for side in entry['size']], float(entry['bottom'])
    if len(size) != 3 or not all(0 < side < math.inf for side in size) or not math.isfinite(bottom):
        raise ValueError(f'size {size}, bottom {bottom}')
    return dict(size=size, bottom=bottom)


def _set_tasks(cfg: Config, head: dict, names: list[str]) -> None:
    """Keep the tasks of known classes, which group classes that look alike, as far as the order allows."""
    of = {name: i for i, task in enumerate(head['tasks']) for name in task['class_names']}
    unknown = [name for name in names if name not in of]
    if unknown:
        raise ValueError(
            f'--cfg-options: classes: this detector groups its classes into tasks, and {", ".join(unknown)} '
            f'{"is" if len(unknown) == 1 else "are"} in none; known are {", ".join(of)}. {_OWN_CONFIG}'
        )
    groups: list[tuple[int, list[str]]] = []
    for name in names:
        if groups and groups[-1][0] == of[name]:
            groups[-1][1].append(name)
        else:
            groups.append((of[name], [name]))
    for part in _list_parts(cfg.model):
        radii = part.get('min_radius')
        if isinstance(radii, (list, tuple)) and len(radii) == len(head['tasks']):
            part['min_radius'] = [radii[i] for i, _ in groups]
    head['tasks'] = [dict(num_class=len(group), class_names=group) for _, group in groups]


def _set_sampler(sampler: dict, names: list[str]) -> None:
    """Paste as many objects of a known class as before, and as many of another as of the rarest."""
    groups = sampler['sample_groups']
    sampler['classes'] = names
    sampler['sample_groups'] = {name: groups.get(name, min(groups.values(), default=6)) for name in names}
    minimum = (sampler.get('prepare') or {}).get('filter_by_min_points')
    if minimum is not None:
        least = min(minimum.values(), default=5)
        sampler['prepare']['filter_by_min_points'] = {name: minimum.get(name, least) for name in names}
