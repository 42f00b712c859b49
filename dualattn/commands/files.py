"""What can be refused before anything heavy is loaded: folders of data and files of weights that are not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualattn.io.files import as_folders
from dualattn.io.published import suggest_download

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['check_data', 'check_weights_files']

SUFFIXES = ('.pth', '.pt', '.bin', '.safetensors', '.ckpt')


def _walk(value: Any, name: str) -> Iterator[tuple[str, str, Any]]:
    """Yield (dotted name, key, value) of all entries inside nested mappings and sequences."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield f'{name}.{key}', str(key), each
            yield from _walk(each, f'{name}.{key}')
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, each in enumerate(value):
            yield from _walk(each, f'{name}.{index}')


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


def check_weights_files(cfg: Config, keys: Sequence[str]) -> None:
    """Check that the files of weights that a model needs before it is built are there.

    Args:
        cfg: the config.
        keys: names of entries inside `model` that hold such files.

    Raises:
        FileNotFoundError: one is missing; names the entry, and the command that fetches the file, if there is one.
    """
    for name, key, value in _walk(cfg.get('model') or {}, 'model'):
        if key not in keys or not isinstance(value, str) or not value.endswith(SUFFIXES) or '://' in value:
            continue
        if not Path(value).expanduser().exists():
            raise FileNotFoundError(
                f'no weights at {value} (looked for {Path(value).expanduser().resolve()}), which {name} names'
                f'{suggest_download(value)}'
            )
