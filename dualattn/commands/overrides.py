"""`--cfg-options`, and the two of them that stand for many entries: `data_root` and `classes`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['merge_options']

_SPLITS = ('train', 'val', 'test')


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Let options of the command line change a config.

    `data_root=FOLDER` puts every path of data sets, samplers and evaluators that begins with the config's own
    `data_root` below another folder. `classes=A,B,C` names the classes of all data sets, in this order, and sets the
    number of every head that tells classes apart. All other options set the entry that they name, after these two.

    Args:
        cfg: the config, which is changed.
        options: dotted names and values, as mmengine's `DictAction` parses them.

    Raises:
        ValueError: one of the two has no effect, or does not fit the config.
    """
    options = dict(options)
    root, classes = options.pop('data_root', None), options.pop('classes', None)
    if root is not None:
        _move_data(cfg, str(root))
    if classes is not None:
        _set_classes(cfg, classes)
    cfg.merge_from_dict(options)


# --- where the data lie


def _move_data(cfg: Config, root: str) -> None:
    before = _find_root(cfg)
    moved: list[str] = []
    for key in cfg:
        if key.endswith(('_dataloader', '_evaluator')):
            cfg[key] = _replace_root(cfg[key], before, root.rstrip('/') or '/', moved)
    if not moved:
        raise ValueError(f'--cfg-options: data_root would have no effect: no data set lies below {before}')
    cfg['data_root'] = f'{root.rstrip("/")}/'


def _find_root(cfg: Config) -> str:
    """Find the folder of all data: what the config calls so, or the one that its data sets share."""
    if isinstance(cfg.get('data_root'), str):
        return cfg['data_root'].rstrip('/')
    roots: set[str] = set()
    for data in _list_datasets(cfg):
        found = data.get('data_root') or []
        roots.update([found] if isinstance(found, str) else found)
    root = os.path.commonpath(roots) if len({os.path.isabs(one) for one in roots}) == 1 else ''
    if not root:
        raise ValueError('--cfg-options: data_root: the data sets of this config share no folder; name that of each')
    return root


def _replace_root(value: Any, before: str, root: str, moved: list[str]) -> Any:
    if isinstance(value, dict):
        for key in value:
            value[key] = _replace_root(value[key], before, root, moved)
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(_replace_root(item, before, root, moved) for item in value)
    if isinstance(value, str) and (value == before or value.startswith(f'{before}/')):
        moved.append(value)
        return root + value[len(before) :]
    return value


def _list_datasets(cfg: Config) -> Iterator[dict]:
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


# --- what they show


def _set_classes(cfg: Config, classes: Any) -> None:
    names = [str(name) for name in (classes if isinstance(classes, (list, tuple)) else [classes])]
    if len(set(names)) != len(names) or '' in names:
        raise ValueError(f'--cfg-options: classes have to be different names, got {", ".join(names)}')
    heads = list(_list_heads(cfg.model))
    per_class = [head for head in heads if 'anchor_generator' in head and 'sizes' in head['anchor_generator']]
    if per_class or any('tasks' in part for part in _list_parts(cfg.model)):
        raise ValueError(
            '--cfg-options: classes: this detector has anchors, or a task, for each class. Name them in a config of '
            'your own: docs/own_data_detection3d.md'
        )
    if not heads:
        raise ValueError('--cfg-options: classes would have no effect: no part of this model has num_classes')
    for head in heads:
        head['num_classes'] = len(names)
    for dataset in _list_datasets(cfg):
        if 'classes' in dataset or dataset.get('type') == 'ClassFolder':
            dataset['classes'] = names
        else:
            dataset['metainfo'] = {**(dataset.get('metainfo') or {}), 'classes': names}
    for hook in cfg.get('custom_hooks') or ():
        if hook.get('type') == 'ClassCheckHook':
            hook['new_classes'] = True  # who names them knows that weights to begin with may have others


def _list_parts(part: Any) -> Iterator[dict]:
    if isinstance(part, dict):
        yield part
        for key, value in part.items():
            if not str(key).startswith('rpn'):  # region proposals know no classes
                yield from _list_parts(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from _list_parts(value)


def _list_heads(model: dict) -> Iterator[dict]:
    return (part for part in _list_parts(model) if 'num_classes' in part)
