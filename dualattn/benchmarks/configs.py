"""The configs of this repository by their names."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from dualattn.commands.parser import suggest

__all__ = ['find_configs']


def find_configs(folder: str, names: Sequence[str]) -> list[Path]:
    """Return the files configs/<folder>/<name>.py, of a checkout or of the installed package.

    Raises:
        ValueError: there is no such config, or no configs at all.
    """
    spec = importlib.util.find_spec('dualattn')
    package = Path(spec.origin).parent
    root = next((path for path in (package.parent / 'configs', package / '.mim' / 'configs') if path.is_dir()), None)
    if root is None:
        raise ValueError('this installation holds no configs: run from a checkout of the repository')
    known = {path.stem: path for path in sorted((root / folder).glob('*.py'))}
    for name in names:
        if name not in known:
            raise ValueError(f'there is no config {name!r} in configs/{folder}{suggest(name, known)}')
    return [known[name] for name in names]
