"""`--cfg-options`, and the two of them that stand for many entries: `data_root` and `classes`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dualattn.commands.classes import list_datasets, set_classes

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['merge_options']


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
        set_classes(cfg, classes)
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
    for data in list_datasets(cfg):
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
