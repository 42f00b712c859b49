"""Colorize photographs with onnxruntime; the network and the colour space are in the ONNX files of `model`."""

from dualattn_light.photographs import PhotographError, read_photograph, write_photograph
from dualattn_light.runtime import LightColorizer, ModelError

__all__ = ['LightColorizer', 'ModelError', 'PhotographError', 'read_photograph', 'write_photograph']
__version__ = '0.1.0'
