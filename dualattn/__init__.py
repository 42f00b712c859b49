"""Dual-Attention backbones for timm: `import dualattn` registers every `dualattn_*` model.

Where timm is not loaded yet, they are registered at the moment that it is: see dualattn/registration.py.
"""

import importlib
from typing import Any

from dualattn.registration import register_with

__version__ = '0.1.0'

__all__ = ['fast_matmul', 'models', '__version__']

register_with('timm', ['dualattn.models'], through=['dualattn.ops', 'dualattn.layers', 'dualattn.models'])


def __getattr__(name: str) -> Any:
    if name == 'fast_matmul':  # loads torch
        return importlib.import_module('dualattn.matmul').fast_matmul
    if name in ('layers', 'models', 'ops'):
        return importlib.import_module(f'dualattn.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
