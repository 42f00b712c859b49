"""Registering with a library at the moment that it is loaded, so that whoever needs neither pays for neither.

`import dualattn` makes its models known to timm, and `import transfer` its classes to mmengine. Both libraries load
torch, which takes seconds that a command's `--help` and refusals should not take.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ['register_with']


class _Trigger(importlib.abc.MetaPathFinder):
    """Imports `modules` as soon as the first of `names` that is imported from now on is whole."""

    def __init__(self, names: Sequence[str], modules: Sequence[str]):
        self.names = frozenset(names)
        self.modules = tuple(modules)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self.names or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)  # what is imported on the way cannot be the first any more
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            sys.meta_path.insert(0, self)
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            for each in self.modules:
                importlib.import_module(each)

        spec.loader.exec_module = execute_and_register
        return spec


def register_with(library: str, modules: Sequence[str], through: Sequence[str] = ()) -> None:
    """Import modules that register themselves with a library: now if it is loaded, otherwise once it is.

    Args:
        library: name of the library, for example 'timm'.
        modules: dotted names of the modules that register themselves.
        through: other modules that load the library; they must be whole before `modules` are imported.
    """
    if library in sys.modules:
        for name in modules:
            importlib.import_module(name)
    else:
        sys.meta_path.insert(0, _Trigger([library, *through], modules))
