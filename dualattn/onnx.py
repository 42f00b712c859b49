"""Networks as ONNX files for any batch, height and width, compared with the network before anybody gets them.

Of PyTorch's two exporters it is the tracing one that is exact at every size: the other one refuses, or leaves out, maps
that are no larger than an attention window. Each file says so under `dualattn.exporter`.
"""

import contextlib
import copy
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dualattn.io.files import write_whole

__all__ = ['CHECKED_SIZES', 'OPSET', 'open_session', 'open_sizes', 'read_notes', 'trace_onnx', 'write_onnx']

OPSET = 17
TOLERANCE = 1e-4  # of the largest number of an answer, or of 1 where it is smaller
# (batch, height, width) in pixels: whole and padded windows, more and fewer tokens than a window, strips
CHECKED_SIZES = (
    (1, 64, 64),
    (2, 96, 128),
    (1, 224, 256),
    (3, 32, 64),
    (1, 65, 70),
    (1, 33, 100),
    (1, 111, 57),
    (1, 256, 32),
    (2, 40, 48),
    (1, 160, 224),
)

logger = logging.getLogger(__name__)


class _PlainAttention(nn.Module):
    """`nn.MultiheadAttention` in operations that keep their sizes open: torch's own freezes the number of keys."""

    def __init__(self, attention: nn.MultiheadAttention):
        super().__init__()
        if not attention.batch_first or attention.in_proj_weight is None or attention.bias_k is not None:
            raise ValueError('only attention with batch_first, equal widths and no added keys can be exported')
        self.attention = attention

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
        """Attend as the module does; query: (B, Q, C), key and value: (B, N, C)."""
        attention = self.attention
        weights = attention.in_proj_weight.chunk(3)
        biases = (None,) * 3 if attention.in_proj_bias is None else attention.in_proj_bias.chunk(3)
        heads = (attention.num_heads, attention.head_dim)
        q, k, v = (
            nn.functional.linear(x, weight, bias).unflatten(-1, heads).transpose(1, 2)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        out = (q * attention.head_dim**-0.5 @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return attention.out_proj(out.transpose(1, 2).flatten(2)), None


def _fix_parametrizations(module: nn.Module) -> None:
    """Put the value of each parametrized tensor, such as one under a spectral norm, in its place.

    Not by torch's function for this, which changes the class of the module, that the original shares with a copy.
    """
    if not parametrize.is_parametrized(module):
        return
    values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]  # the class that torch put a subclass over
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value, requires_grad=False))


def open_sizes(network: nn.Module) -> nn.Module:
    """Return a copy of a network for the CPU, whose trace serves every size."""
    network = copy.deepcopy(network).eval().requires_grad_(False).cpu().float()
    for parent in list(network.modules()):
        _fix_parametrizations(parent)
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MultiheadAttention):
                setattr(parent, name, _PlainAttention(child))
    return network


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # of the tracing exporter as a whole
        warnings.simplefilter('ignore', torch.jit.TracerWarning)  # what it fears is what `_compare` rules out
        warnings.filterwarnings('ignore', message='.*(onnx|ONNX|Constant folding).*')
        yield


def write_onnx(
    network: nn.Module,
    path: str | os.PathLike,
    channels: int,
    inputs: str,
    outputs: Sequence[str],
    notes: dict[str, Any],
    scale: float = 1.0,
    overwrite: bool = False,
) -> float:
    """Write a network and compare the file with it in onnxruntime at `CHECKED_SIZES`.

    Args:
        network: maps (B, channels, H, W) float to a tensor or a tuple of tensors.
        path: .onnx file to write, whole or not at all.
        channels: channels of the input.
        inputs: name of the input.
        outputs: names of the outputs.
        notes: what the file says of itself, as JSON under `dualattn`.
        scale: largest value of an input.
        overwrite: replace a file that exists.

    Returns:
        The largest difference to the network, as a share of the largest number of the answer (or of 1).

    Raises:
        ImportError: onnx or onnxruntime is missing; the message says what to install.
        FileExistsError: the file exists and `overwrite` is False.
        ValueError: the network cannot be exported, or the file is not exact; nothing is written then.
        OSError: the file cannot be written.
    """
    try:
        import onnx  # noqa: F401  needed below
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{error}; ONNX files need: pip install 'dualattn[export]'") from error
    opened = open_sizes(network)
    free = {inputs: {0: 'batch', 2: 'height', 3: 'width'}}
    with torch.no_grad():
        answer = opened(torch.zeros(1, channels, 64, 96))
    answers = answer if isinstance(answer, (tuple, list)) else (answer,)
    for name, each in zip(outputs, answers, strict=True):
        free[name] = {0: 'batch'} if each.ndim < 4 else {0: 'batch', 2: f'height_{name}', 3: f'width_{name}'}
    with write_whole(path, overwrite) as aside:
        trace_onnx(opened, aside, {inputs: torch.rand(1, channels, 64, 96) * scale}, outputs, free, notes)
        try:
            difference = _compare(opened, aside, channels, scale, inputs)
        except Exception as problem:  # onnxruntime has a class of its own for each status
            if type(problem).__module__.startswith('onnxruntime'):
                raise ValueError(f'{path}: onnxruntime cannot run what was exported: {problem}') from problem
            raise
        if not difference <= TOLERANCE:
            raise ValueError(
                f'{path}: the file would differ from the network by {difference:.2g}, allowed is {TOLERANCE}'
            )
    return difference


def trace_onnx(
    network: nn.Module,
    path: str | os.PathLike,
    example: dict[str, Tensor],
    outputs: Sequence[str],
    free: dict[str, dict[int, str]],
    notes: dict[str, Any],
    opset: int = OPSET,
) -> None:
    """Write a network as ONNX by tracing it, and let the file tell of itself; nothing is compared.

    Args:
        network: as `open_sizes` gives it.
        path: file to write.
        example: an input under each name, in the order of the network's arguments.
        outputs: names of the outputs.
        free: for each input and output its dimensions that are left open, with a name.
        notes: what the file says of itself, as JSON under `dualattn`.
        opset: version of ONNX's operators.
    """
    import onnx

    with _silence(), torch.no_grad():
        torch.onnx.export(
            network,
            tuple(example.values()),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=list(example),
            output_names=list(outputs),
            dynamic_axes=free,
        )
    model = onnx.load(path)
    described = dict(notes, exporter='torch.onnx.export, dynamo=False', torch=torch.__version__)
    onnx.helper.set_model_props(model, {'dualattn': json.dumps(described)})
    onnx.save(model, path)


def _compare(network: nn.Module, path: Path, channels: int, scale: float, inputs: str) -> float:
    run, worst = open_session(path), 0.0
    generator = torch.Generator().manual_seed(0)
    for batch, height, width in CHECKED_SIZES:
        x = torch.rand(batch, channels, height, width, generator=generator) * scale
        with torch.no_grad():
            answer = network(x)
        answers = answer if isinstance(answer, (tuple, list)) else (answer,)
        for expected, given in zip(answers, run.run(None, {inputs: x.numpy()}), strict=True):
            if tuple(given.shape) != tuple(expected.shape):
                raise ValueError(f'at {height} x {width} the file answers {given.shape}, not {tuple(expected.shape)}')
            difference = (torch.from_numpy(given) - expected).abs().max() / expected.abs().max().clamp(min=1)
            worst = max(worst, float(difference))
    return worst


def open_session(path: str | os.PathLike, threads: int = 0) -> Any:
    """Open a file in onnxruntime on the CPU.

    Raises:
        ImportError: onnxruntime is missing.
        FileNotFoundError: there is no such file.
        ValueError: onnxruntime cannot read it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"{error}; ONNX files need: pip install 'dualattn[export]'") from error
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such ONNX file')
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised; onnxruntime would print them as well
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime has a class of its own for each status
        if type(error).__module__.startswith('onnxruntime'):
            raise ValueError(f'{path}: is no ONNX file that onnxruntime reads: {error}') from error
        raise


def read_notes(session: Any, path: str | os.PathLike) -> dict[str, Any]:
    """Return what a file of `write_onnx` says of itself.

    Raises:
        ValueError: it says nothing, so that it is of another make.
    """
    text = session.get_modelmeta().custom_metadata_map.get('dualattn')
    try:
        notes = json.loads(text or '')
        if not isinstance(notes, dict) or 'kind' not in notes:
            raise ValueError('no kind')
    except ValueError as error:
        raise ValueError(f'{path}: was not written by `dualattn export onnx`') from error
    return notes
