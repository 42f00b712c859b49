"""The configs of this repository by their names."""

from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.parser import suggest
from dualattn.configs import find_packaged_configs

__all__ = ['find_configs']


def find_configs(folder: str, names: Sequence[str]) -> list[Path]:
    """Return the files configs/<folder>/<name>.py, of a checkout or of the installed package.

    Raises:
        ValueError: there is no such config.
        FileNotFoundError: there are no configs at all.
    """
    known = {path.stem: path for path in sorted((find_packaged_configs() / folder).glob('*.py'))}
    for name in names:
        if name not in known:
            raise ValueError(f'there is no config {name!r} in configs/{folder}{suggest(name, known)}')
    return [known[name] for name in names]
