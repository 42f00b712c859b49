"""Configs by name: from a path, or from those that travel with the package, in any folder.

A config of a user may stand on a packaged one with `_base_ = 'dualattn::colorize/mpt_demo.py'`. mmengine looks for that
in `dualattn/.mim/configs`, but lets only packages of its own list stand before `::`; `read_config` adds ours while it
parses. `import dualattn` never loads this module, and this module loads mmengine only when it reads.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['find_config', 'find_packaged_configs', 'import_modules', 'read_config']


SUFFIXES = ('.py', '.json', '.yaml', '.yml')  # what mmengine reads


def find_packaged_configs() -> Path:
    """Return the folder of the configs that travel with the package; in a checkout, its own.

    Raises:
        FileNotFoundError: the package was installed without them.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / '.mim' / 'configs', package.parent / 'configs'):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f'{package} came without configs; install the package again')


def find_config(name: str | os.PathLike) -> Path:
    """Return the file of a config: a path, or the name of a packaged one, such as `colorize/mpt_demo.py`.

    Raises:
        FileNotFoundError: there is neither; names the nearest packaged ones.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        raise FileNotFoundError(f'{path} is a folder, expected a config file')
    if path.is_absolute():
        raise FileNotFoundError(f'no config file at {path}')
    folder = find_packaged_configs()
    inside = Path(*path.parts[1:]) if path.parts[:1] == ('configs',) else path
    packaged = folder / inside
    if '..' not in inside.parts and packaged.is_file():
        return packaged
    import difflib

    names = [each.relative_to(folder).as_posix() for each in folder.rglob('*.py') if '_base_' not in each.parts]
    near = difflib.get_close_matches(inside.as_posix(), names, n=1, cutoff=0.5)
    hint = f'; did you mean {near[0]}?' if near else f', and none of that name in {folder}'
    raise FileNotFoundError(f'no config file at {path}{hint}')


@contextmanager
def _nameable_package() -> Iterator[None]:
    from mmengine.config import config as parser
    from mmengine.config.utils import MODULE2PACKAGE

    # For an editable installation mmengine's function names the first package of the distribution, not ours.
    find_installed = parser.get_installed_path

    def find_package(package: str) -> str:
        return str(Path(__file__).parent) if package == 'dualattn' else find_installed(package)

    # not for longer than parsing takes: registries would look for modules of ours that there are not
    added = MODULE2PACKAGE.setdefault('dualattn', 'dualattn') == 'dualattn'
    parser.get_installed_path = find_package
    try:
        yield
    finally:
        parser.get_installed_path = find_installed
        if added:
            del MODULE2PACKAGE['dualattn']


def read_config(
    name: str | os.PathLike, options: Mapping[str, Any] | None = None, import_modules: bool = True
) -> Config:
    """Read a config, by path or by the name of a packaged one.

    Args:
        name: see `find_config`.
        options: entries that override those of the file, under dotted names.
        import_modules: import what its `custom_imports` name, which takes seconds, so that its types are known.

    Raises:
        FileNotFoundError: there is no such config, or none of those that it stands on.
        ValueError: it is no Python, has another suffix, or is no config.
    """
    from mmengine.config import Config

    path = find_config(name)
    if path.suffix not in SUFFIXES:
        raise ValueError(f'{path} is no config: expected a file with {", ".join(SUFFIXES)}')
    try:
        with warnings.catch_warnings(), _nameable_package():
            # mmengine asks pkg_resources where a package lies, which warns each time
            warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
            cfg = Config.fromfile(str(path), import_custom_modules=import_modules)
    except SyntaxError as error:
        raise ValueError(f'{path} is no config: {error}') from error
    _remove_scope(cfg._cfg_dict)
    if options:
        cfg.merge_from_dict(dict(options))
    return cfg


def _remove_scope(value: Any) -> None:
    """Take out what mmengine notes of the package before `::`: our types stand in its root registries."""
    if isinstance(value, dict):
        if value.get('_scope_') == 'dualattn':
            del value['_scope_']
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            _remove_scope(each)


def import_modules(cfg: Config) -> None:
    """Import what a config's `custom_imports` name, so that its types are known."""
    from mmengine.utils import import_modules_from_strings

    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
