"""Hooks of colorization trainings; importing this registers them with mmengine."""

from colorization.hooks.chroma import ChromaWatchHook
from colorization.hooks.curve import LossCurveHook, draw_curves, read_scalars
from colorization.hooks.export import ExportWeightsHook
from colorization.hooks.sheet import SheetHook

__all__ = [
    'ChromaWatchHook',
    'ExportWeightsHook',
    'LossCurveHook',
    'SheetHook',
    'draw_curves',
    'read_scalars',
]
