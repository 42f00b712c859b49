"""The one loader and saver of network weights: safetensors that describe their network, and .pth files read safely."""

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from colorization.checkpoint_ddcolor import (
    check_input_scale,
    is_released_ddcolor,
    released_config,
    released_name,
    unused_tensors,
)
from colorization.models import build_network
from dualattn.io.files import write_whole

FORMAT = 'dualattn.colorizer/1'
# Where training and wrappers put the network inside a state dict, the preferred place first.
_PREFIXES = ('ema_generator.module.', 'generator.', 'module.', '_orig_mod.')
_NESTS = ('state_dict', 'params', 'model')
_FREE_KEYS = {'inference_size'}  # parts of a network's description that change nothing in the network
_HALF_MIN_DIMS = 2  # biases, norms and running statistics stay float32: they are small and lose most


class CheckpointError(ValueError):
    """Weights that cannot be used; the message names the file, the reason and what to do."""


def default_weights_path() -> Path:
    """Return the path of the weights that ship inside the package.

    Raises:
        FileNotFoundError: this installation has none.
    """
    path = Path(__file__).parent / 'weights' / 'mpt_small.safetensors'
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is missing, so there are no default weights. Install the package again, or name a weights file.'
        )
    return path


def save_network(network: nn.Module, path: str | os.PathLike, half: bool = False, **metadata: str) -> None:
    """Write the weights of a network with the description to rebuild it, whole or not at all.

    Args:
        network: has an attribute `config` that `build_network` takes.
        path: a file to be written or replaced, with the suffix .safetensors.
        half: store weight matrices and kernels as float16, which halves the file.
        metadata: further items for the header, such as iteration='1000'.

    Raises:
        ValueError: the suffix is another one, a reserved item is given, or a weight is not finite (as float16).
        TypeError: an item is not a string.
        OSError: the folder is missing or cannot be written.
    """
    path = Path(path)
    if path.suffix != '.safetensors':
        raise ValueError(f"{path}: weights are saved as .safetensors, got the suffix '{path.suffix}'")
    for key, value in metadata.items():
        if key in ('format', 'network'):
            raise ValueError(f"metadata '{key}' is written by save_network itself")
        if not isinstance(value, str):
            raise TypeError(f"metadata '{key}' must be a string, got {type(value).__name__}")
    tensors = {}
    for name, tensor in network.state_dict().items():
        dtype = torch.float16 if half and tensor.is_floating_point() and tensor.ndim >= _HALF_MIN_DIMS else tensor.dtype
        # clone: tied weights share memory, which the format does not allow
        tensors[name] = tensor.detach().to('cpu', dtype).clone(memory_format=torch.contiguous_format)
        if tensor.is_floating_point() and not bool(tensors[name].isfinite().all()):
            raise ValueError(f"'{name}' holds values that are not finite as {tensors[name].dtype}; nothing was saved")
    header = {**metadata, 'format': FORMAT, 'network': json.dumps(network.config)}
    with write_whole(path) as aside:
        # not save_file, which makes files that only their owner may read
        aside.write_bytes(save(tensors, metadata=header))


def load_network(
    path: str | os.PathLike, config: dict[str, Any] | None = None, device: str | torch.device = 'cpu'
) -> nn.Module:
    """Build a network and load its weights strictly, as float32, ready for inference.

    Args:
        path: a file of `save_network`, a released DDColor, or a .pth/.pt/.safetensors file with a state dict (plain,
            inside 'state_dict', 'params' or 'model', or a training checkpoint, whose averaged weights are preferred).
        config: the network's description, as `build_network` takes it. Needed where the file has none, unless it is a
            released DDColor; where it has one, both must agree.
        device: where the network goes.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is broken, would run code, does not say which network it is for, or is for another.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such weights file')
    state, stored = _read_safetensors(path) if _is_safetensors(path) else (_read_torch_file(path), None)
    is_released = stored is None and is_released_ddcolor(state)
    if is_released:
        try:
            stored = released_config(state)
        except ValueError as error:
            raise CheckpointError(f'{path}: looks like a released DDColor, but {error}') from error
    if stored is None and config is None:
        raise CheckpointError(
            f'{path}: holds weights but not which network they belong to; give the network config as well'
        )
    config = stored if config is None else config
    try:
        with torch.device('meta'):  # its tensors come from the file; random ones would cost seconds
            network = build_network(config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f'{path}: its network cannot be built: {error}') from error
    if is_released and network.config['type'] == stored['type']:
        state = _rename_released(path, state, stored, network)
    _check_same_config(path, stored, network)
    _check_tensors(path, state, network.state_dict())
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{path}: '{name}' holds NaN or infinite values; the training had diverged")
    dtypes = {name: tensor.dtype for name, tensor in network.state_dict().items()}
    if any(name not in dtypes for name, _ in network.named_buffers()):  # tables that are computed, not stored
        network = build_network(config)
    network.load_state_dict({name: tensor.to(dtypes[name]) for name, tensor in state.items()}, assign=True)
    return network.to(device).eval()


def _is_safetensors(path: Path) -> bool:
    with open(path, 'rb') as file:
        head = file.read(9)
    if head[8:] == b'{':  # 8 bytes of length, then JSON
        return True
    if head[:4] == b'PK\x03\x04' or head[:1] == b'\x80':  # zip archive or bare pickle of torch.save
        return False
    raise CheckpointError(
        f'{path}: neither a safetensors nor a torch file ({path.stat().st_size} bytes); it may be truncated or another '
        'kind of file'
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Return the state dict and, where the header has it, the network's description."""
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path}: broken or truncated safetensors file ({error}); get it again') from error
    kind = metadata.get('format', '')
    if kind.startswith('dualattn.') and kind != FORMAT:
        raise CheckpointError(f"{path}: has the format '{kind}', this version reads '{FORMAT}'; update the package")
    if kind != FORMAT:
        return _strip_prefixes(path, state), None
    try:
        config = json.loads(metadata['network'])
        if not isinstance(config, dict):
            raise ValueError(f'expected a dict, got {config!r}')
    except (KeyError, ValueError) as error:
        raise CheckpointError(f'{path}: the description of its network is broken: {error}') from error
    return state, config


def _read_torch_file(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'{path}: holds Python objects besides tensors, or is broken. Such objects can run code, so they are never '
            f'loaded; save the plain state dict where the file was made. ({str(error).splitlines()[0]})'
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise CheckpointError(f'{path}: broken or truncated file ({error}); get it again') from error
    for nest in _NESTS:
        if isinstance(content, dict) and isinstance(content.get(nest), dict):
            content = content[nest]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f'{path}: holds no state dict, neither at the top nor in {", ".join(_NESTS)}')
    return _strip_prefixes(path, content)


def _strip_prefixes(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of a state dict that is the network's, named as the network names it."""
    for prefix in _PREFIXES:
        inner = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        if inner:
            return _strip_prefixes(path, inner)
    return state


def _rename_released(
    path: Path, state: dict[str, Tensor], stored: dict[str, Any], network: nn.Module
) -> dict[str, Tensor]:
    """Return the tensors of a released DDColor under our names, if they are exactly those that are expected."""
    names = {name: released_name(name) for name in network.state_dict()}
    expected = {names[name]: tensor for name, tensor in network.state_dict().items()} | unused_tensors(network)
    given, found, cause = network.config['encoder'], stored['encoder'], None
    if given != found:
        cause = f"the file is a released DDColor with the encoder '{found}', but the config names '{given}'"
    _check_tensors(path, state, expected, cause)
    try:
        check_input_scale(state)
    except ValueError as error:
        raise CheckpointError(f'{path}: {error}') from error
    return {ours: state[theirs] for ours, theirs in names.items()}


def _check_same_config(path: Path, stored: dict[str, Any] | None, network: nn.Module) -> None:
    """Refuse a config that builds another network than the one the file describes, even if all shapes agree."""
    if stored is None:
        return
    given = json.loads(json.dumps(network.config))
    wrong = [key for key in sorted({*stored, *given} - _FREE_KEYS) if stored.get(key) != given.get(key)]
    if wrong:
        details = '; '.join(f'{key}: file {stored.get(key)!r}, config {given.get(key)!r}' for key in wrong[:4])
        raise CheckpointError(f'{path}: is for another network than the config describes ({details})')


def _check_tensors(path: Path, state: dict[str, Tensor], expected: dict[str, Tensor], cause: str | None = None) -> None:
    """Refuse a state dict that is not exactly the network's, with the likely cause, guessed where it is not given."""
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    misshapen = [
        f'{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}'
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if not (missing or unexpected or misshapen):
        return
    if cause is None:
        if len(missing) > len(expected) // 2:
            cause = 'the file is for another architecture'
        elif misshapen:
            cause = 'the file is for a variant of other widths'
        else:
            cause = 'the file is for a variant with other parts, or was edited'
    parts = [
        f'{len(names)} {title} ({", ".join(names[:3])}{", ..." if len(names) > 3 else ""})'
        for title, names in (('missing', missing), ('unexpected', unexpected), ('misshapen', misshapen))
        if names
    ]
    raise CheckpointError(f'{path}: its tensors do not fit the network: {"; ".join(parts)}. Likely {cause}.')
