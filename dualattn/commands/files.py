"""What can be refused before anything heavy is loaded: folders of data and files of weights that are not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualattn.io.files import as_folders
from dualattn.io.published import WEIGHTS_SUFFIXES, is_repository, suggest_download

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = [
    'check_checkpoint',
    'check_data',
    'check_folder',
    'check_new_file',
    'check_new_folder',
    'check_weights',
    'check_weights_files',
]


def _walk(value: Any, name: str) -> Iterator[tuple[str, str, Any]]:
    """Yield (dotted name, key, value) of all entries inside nested mappings and sequences."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield f'{name}.{key}', str(key), each
            yield from _walk(each, f'{name}.{key}')
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, each in enumerate(value):
            yield from _walk(each, f'{name}.{index}')


def check_checkpoint(path: str, name: str = '') -> None:
    """Check that a checkpoint that is to be read is a file.

    Args:
        path: the file, or an address, which is not looked at.
        name: the argument that names it, for the error.

    Raises:
        FileNotFoundError: there is none, or it is a folder; names the command that fetches it, if there is one.
    """
    file = Path(path).expanduser()
    if '://' in path or file.is_file():
        return
    what = f'{path} is a folder, expected a file' if file.is_dir() else f'no checkpoint at {path}'
    raise FileNotFoundError(f'{name}{what}{suggest_download(path)}')


def check_folder(path: str | os.PathLike, name: str) -> None:
    """Check that something that is read is a folder.

    Args:
        path: the folder.
        name: the argument that names it, for the error.

    Raises:
        FileNotFoundError: it is not there.
        NotADirectoryError: it is a file.
    """
    if not os.path.isdir(path):
        if os.path.lexists(path):
            raise NotADirectoryError(f'{name} {path} is a file, expected a folder')
        raise FileNotFoundError(f'{name} {path} does not exist, expected a folder')


def check_new_file(path: str | os.PathLike, overwrite: bool) -> None:
    """Check that a file may be written.

    Args:
        path: the file.
        overwrite: it may replace one that is there.

    Raises:
        IsADirectoryError: there is a folder of that name.
        FileExistsError: it is there, and may not be replaced.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f'{path} is a folder, expected the name of a file')
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f'{path} exists; use --overwrite to replace it')


def check_new_folder(path: str | os.PathLike, name: str) -> None:
    """Check that a folder that is written to is one, or that it can become one.

    Args:
        path: the folder.
        name: the argument that names it, for the error.

    Raises:
        NotADirectoryError: it, or what it shall lie in, is a file.
    """
    for each in (Path(path), *Path(path).parents):
        if each.is_dir():
            return
        if os.path.lexists(each):
            raise NotADirectoryError(f'{name} {each} is a file, expected a folder')


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Check that the folders that loaders of data read from are there.

    Args:
        cfg: the config.
        loaders: entries of the config, such as 'train_dataloader'.

    Raises:
        FileNotFoundError: one is missing, or is a file; names the entry.
    """
    for loader in loaders:
        for name, key, value in _walk(cfg.get(loader) or {}, loader):
            if key != 'data_root' or not value:
                continue
            for root in as_folders(value):
                if ':/' in str(root) or root.is_dir():
                    continue
                what = 'is no folder' if root.exists() else 'does not exist'
                raise FileNotFoundError(
                    f'the data folder {str(root)!r} {what} (looked for {root.resolve()}). Name another one with '
                    f'--cfg-options {name}=FOLDER; colorize/mpt_demo.py trains without any data of your own.'
                )


def check_weights(path: str | os.PathLike | None) -> None:
    """Check that the weights of a network are there, before torch is loaded, which takes seconds.

    Args:
        path: a file or a folder; 'organization/name', a repository that is not asked; None for the packaged ones.

    Raises:
        FileNotFoundError: it is none of them; names the command that fetches the file, if there is one.
    """
    if path is not None and not is_repository(path) and not Path(path).exists():
        raise FileNotFoundError(f'{path}: no such weights file{suggest_download(path)}')


def check_weights_files(cfg: Config, keys: Sequence[str]) -> None:
    """Check that the files of weights that a model needs before it is built are there.

    Args:
        cfg: the config.
        keys: names of entries inside `model` that hold such files.

    Raises:
        FileNotFoundError: one is missing; names the entry, and the command that fetches the file, if there is one.
    """
    for name, key, value in _walk(cfg.get('model') or {}, 'model'):
        if key not in keys or not isinstance(value, str) or not value.endswith(WEIGHTS_SUFFIXES) or '://' in value:
            continue
        if not Path(value).expanduser().exists():
            raise FileNotFoundError(
                f'no weights at {value} (looked for {Path(value).expanduser().resolve()}), which {name} names'
                f'{suggest_download(value)}'
            )
