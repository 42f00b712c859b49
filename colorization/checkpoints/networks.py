"""The one loader and saver of colorization networks: safetensors that describe their network, and foreign files."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from colorization.checkpoints import released_ddcolor
from colorization.models import build_network
from dualattn.io.files import hash_file, write_whole
from dualattn.io.weights import CheckpointError, Weights, check_weights, load_strictly, read_weights

FORMAT = 'dualattn.colorizer/1'
# a folder in Hugging Face's form: its files, and who made it
WEIGHTS, CONFIG, LIBRARY = 'model.safetensors', 'config.json', 'dualattn'
# foreign files: modules with a NAME, `recognises(state)` and `translate(state) -> (state, config)`
FAMILIES = (released_ddcolor,)
# Where training and wrappers put the network inside a state dict, the preferred place first.
_PREFIXES = ('ema_generator.module.', 'generator.', 'module.', '_orig_mod.')
_FREE_KEYS = {
    'inference_size',
    'temperature',
    'gain',
    'recovery',
}  # parts of a network's description that change nothing in the network
_HALF_MIN_DIMS = 2  # biases, norms and running statistics stay float32: they are small and lose most


def default_weights_path() -> Path:
    """Return the path of the weights that ship inside the package.

    Raises:
        FileNotFoundError: this installation has none.
    """
    path = Path(__file__).parents[1] / 'weights' / 'mpt_small.safetensors'
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
        path: a file of `save_network`, a released DDColor, or a file with a state dict in any form that
            `dualattn.io.weights.read_weights` takes, such as a training checkpoint, whose averaged weights are
            preferred; or a folder in Hugging Face's form.
        config: the network's description, as `build_network` takes it. Needed where the file has none, unless it is of
            a family that is known; where it has one, both must agree.
        device: where the network goes.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is broken, would run code, does not say which network it is for, or is for another.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such weights file')
    weights = read_weights(path)
    stored = _read_description(path, weights.meta)
    if weights.config is not None and weights.config.get('library_name') == LIBRARY:
        _check_folder(weights, stored)
    tensors = weights.tensors if stored is not None else _strip_prefixes(weights.tensors)
    family = None if stored is not None else next((each for each in FAMILIES if each.recognises(tensors)), None)
    if family is not None:
        try:
            tensors, stored = family.translate(tensors)
        except ValueError as error:
            raise CheckpointError(f'{path} looks like {family.NAME}, but {error}') from error
    config = stored if config is None else config
    if config is None:
        raise CheckpointError(
            f'{path}: holds weights but not which network they belong to; give the network config as well'
        )
    try:
        with torch.device('meta'):  # its tensors come from the file; random ones would cost seconds
            network = build_network(config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f'{path}: its network cannot be built: {error}') from error
    _check_same_config(path, stored, network)
    names = network.state_dict().keys()
    if any(name not in names for name, _ in network.named_buffers()):  # tables that are computed, not stored
        check_weights(path, tensors, network.state_dict())
        network = build_network(config)
    load_strictly(network, tensors, path, assign=True)
    return network.to(device).eval()


def _read_description(path: Path, meta: dict[str, Any]) -> dict[str, Any] | None:
    """Return the description of its network that a file of `save_network` has in its header, None for other files."""
    kind = meta.get('format', '')
    if not isinstance(kind, str) or not kind.startswith('dualattn.'):
        return None
    if kind != FORMAT:
        raise CheckpointError(f"{path}: has the format '{kind}', this version reads '{FORMAT}'; update the package")
    try:
        config = json.loads(meta['network'])
        if not isinstance(config, dict):
            raise ValueError(f'expected a dict, got {config!r}')
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f'{path}: the description of its network is broken: {error}') from error
    return config


def describe_folder(network: nn.Module, path: Path) -> dict[str, Any]:
    """Return what `config.json` beside a file of `save_network` says; `load_network` accepts nothing else."""
    return dict(library_name=LIBRARY, format=FORMAT, network=network.config, sha256=hash_file(path))


def _check_folder(weights: Weights, stored: dict[str, Any] | None) -> None:
    """Compare `config.json` with the weights beside it.

    Raises:
        CheckpointError: an entry is missing, unknown or of another kind, or it is for other weights.
    """
    path, config = weights.path.with_name(CONFIG), weights.config or {}
    expected = {'library_name': str, 'format': str, 'network': dict, 'sha256': str}
    wrong = sorted(set(config) ^ set(expected)) + [
        name for name, kind in expected.items() if name in config and not isinstance(config[name], kind)
    ]
    if wrong:
        raise CheckpointError(
            f'{path}: expected the entries {", ".join(expected)} and no others; wrong, missing or unknown are '
            f'{", ".join(wrong)}'
        )
    if config['format'] != FORMAT:
        raise CheckpointError(f"{path}: has the format '{config['format']}', this version reads '{FORMAT}'")
    if config['network'] != stored:
        raise CheckpointError(f'{path}: describes another network than {weights.path.name} does; get both again')
    if config['sha256'] != hash_file(weights.path):
        raise CheckpointError(f'{path}: is for other weights than {weights.path.name} (sha256); get both again')


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of a state dict that is the network's, named as the network names it."""
    for prefix in _PREFIXES:
        inner = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        if inner:
            return _strip_prefixes(inner)
    return state


def _check_same_config(path: Path, stored: dict[str, Any] | None, network: nn.Module) -> None:
    """Refuse a config that builds another network than the one the file describes, even if all shapes agree."""
    if stored is None:
        return
    given = json.loads(json.dumps(network.config))
    wrong = [key for key in sorted({*stored, *given} - _FREE_KEYS) if stored.get(key) != given.get(key)]
    if wrong:
        details = '; '.join(f'{key}: file {stored.get(key)!r}, config {given.get(key)!r}' for key in wrong[:4])
        raise CheckpointError(f'{path}: is for another network than the config describes ({details})')
