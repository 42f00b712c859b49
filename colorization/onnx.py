"""Colorization networks as ONNX files, and such files in the place of a network."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from dualattn.io.weights import CheckpointError
from dualattn.onnx import open_session, read_notes, write_onnx

__all__ = ['OnnxNetwork', 'export_colorizer', 'find_colorizer']

KIND = 'colorizer'


class OnnxNetwork(nn.Module):
    """A colorization network that onnxruntime computes, for the `Colorizer`.

    Args:
        path: a file of `dualattn export onnx`.
        threads: of onnxruntime; 0 lets it choose.

    Attributes:
        inference_size: side in pixels of the square whose area a pipeline shows the network.
        config: the description of the network that the file was made from.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is no ONNX file, or not one of a colorizer.
        ImportError: onnxruntime is missing.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 0):
        super().__init__()
        try:
            self._session = open_session(path, threads)
            notes = read_notes(self._session, path)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        if notes['kind'] != KIND:
            raise CheckpointError(f'{path}: holds a {notes["kind"]}, expected a {KIND}')
        size, config = notes.get('inference_size'), notes.get('config')
        names = [[each.name for each in part] for part in (self._session.get_inputs(), self._session.get_outputs())]
        if not isinstance(size, int) or not isinstance(config, dict) or names != [['l'], ['ab']]:
            raise CheckpointError(
                f'{path}: calls itself a {KIND}, but maps {names[0]} to {names[1]} or lacks its description; expected '
                "['l'] to ['ab']. Export it again with `dualattn export onnx`"
            )
        self.inference_size = size
        self.config: dict[str, Any] = config

    def forward(self, l: Tensor) -> Tensor:
        """Map l: (B, 1, H, W) float in [0, 100] on the CPU to ab (B, 2, H, W) in Lab units, float32."""
        return torch.from_numpy(self._session.run(['ab'], {'l': l.float().numpy()})[0])


def export_colorizer(network: nn.Module, path: str | os.PathLike, overwrite: bool = False) -> float:
    """Write a colorization network as ONNX: `l` (B, 1, H, W) in [0, 100] -> `ab` (B, 2, H, W) in Lab units.

    Returns:
        The largest difference to the network, see `dualattn.onnx.write_onnx`, which also says what is raised.
    """
    notes = dict(kind=KIND, config=network.config, inference_size=getattr(network, 'inference_size', 256))
    return write_onnx(network, path, 1, 'l', ['ab'], notes, scale=100.0, overwrite=overwrite)


def find_colorizer(
    source: str, weights: str | None
) -> tuple[nn.Module, int, str, list[str], dict[str, Any], float] | None:
    """Build the colorizer that `dualattn export onnx SOURCE --weights WEIGHTS` means.

    Args:
        source: `packaged`, a weights file of a colorizer, or a training config with `model.generator`.
        weights: weights of a config's network.

    Returns:
        The network, the channels and name of its input, the names of its outputs, notes, and the largest value of an
        input; None if `source` is of another kind.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the weights cannot be used.
        ValueError: a config without weights, or weights beside a weights file.
    """
    from colorization.checkpoints import default_weights_path, load_network
    from colorization.pipeline import read_network_config

    if source.endswith('.py'):
        try:
            config = read_network_config(source)
        except ValueError:
            return None
        if weights is None:
            raise ValueError(f'{source} describes a network; --weights names its weights')
        network = load_network(weights, config)
    elif source == 'packaged' or source.endswith(('.safetensors', '.pth', '.pt', '.bin')):
        if weights is not None:
            raise ValueError(f'--weights belongs to a config or a timm model; {source} is weights itself')
        network = load_network(default_weights_path() if source == 'packaged' else source)
    else:
        return None
    notes = dict(kind=KIND, config=network.config, inference_size=getattr(network, 'inference_size', 256))
    return network, 1, 'l', ['ab'], notes, 100.0
