"""Weights from files that nobody has to trust: read without running code, and compared strictly with a network.

Files come from strangers, and downloads go wrong. What is in a file decides how it is read, never its name.
"""

import argparse
import json
import logging
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dualattn.io.files import list_files
from dualattn.io.published import WEIGHTS_SUFFIXES

__all__ = [
    'CheckpointError',
    'Weights',
    'check_finite',
    'check_weights',
    'is_safetensors',
    'load_strictly',
    'read_checkpoint',
    'read_weights',
    'select_prefix',
]

logger = logging.getLogger(__name__)

# where training tools keep weights inside their files, the averaged ones first: BasicSR (DDColor), timm, DeiT, mmengine
NESTS = ('params_ema', 'state_dict_ema', 'model_ema', 'params', 'state_dict', 'model')
# how Hugging Face's libraries call weights in a folder, the preferred form first
FOLDER_NAMES = tuple(
    f'{name}{index}' for name in ('model.safetensors', 'pytorch_model.bin') for index in ('', '.index.json')
)
MAX_JSON_BYTES = 32 * 2**20  # of a config or an index; the largest models' indices have some megabytes
_MAX_NESTING = 4
_HEAD_BYTES = 512
# a few bytes of an archive can unpack to terabytes
_MAX_GROWTH = 4
_FREE_GROWTH = 64 * 2**20  # bytes that any file may grow by
_GET_AGAIN = 'get it again, or name an older checkpoint of the run'


class CheckpointError(ValueError):
    """Weights that cannot be used; the message names the file, the reason and what to do."""


@dataclass(frozen=True)
class Weights:
    """The weights of a file, and what it says about them.

    Attributes:
        path: the file that they were read from, the first one of several.
        tensors: names and tensors.
        meta: the header of a safetensors file, or what mmengine stores as `meta`; empty if nothing.
        config: `config.json` of a folder in Hugging Face's form, None elsewhere.
    """

    path: Path
    tensors: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None


def read_weights(path: str | os.PathLike) -> Weights:
    """Read the weights of a file or a folder, those that are averaged over a training where it has both.

    Args:
        path: safetensors; or a file of `torch.save` with a state dict, at the top or in one of `NESTS`; or a folder in
            Hugging Face's form, whose weights may be split into several files.

    Raises:
        FileNotFoundError: there is no such file or folder.
        CheckpointError: it is broken, no weights file, or holds anything but tensors and plain values.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    checkpoint = read_checkpoint(path)
    content: Any = checkpoint
    for _ in range(_MAX_NESTING):
        nest = next((nest for nest in NESTS if isinstance(content.get(nest), dict)), None)
        if nest is None:
            break
        content = content[nest]
    others = [name for name, value in content.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if others or not content:
        found = ', '.join(f'{name!r} ({type(content[name]).__name__})' for name in others[:3]) or 'nothing'
        raise CheckpointError(
            f'{path} holds no weights that can be found: expected a state dict, names and tensors, at the top or under '
            f'one of {", ".join(NESTS)}; got {found}{", ..." if len(others) > 3 else ""}. Save the state dict alone '
            'where the file was made'
        )
    meta = checkpoint.get('meta')
    return Weights(path, dict(content), meta if isinstance(meta, dict) else {})


def read_checkpoint(path: str | os.PathLike, map_location: str | torch.device = 'cpu') -> dict[str, Any]:
    """Read all that a file of `torch.save` holds as plain data; of a safetensors file, `state_dict` and `meta`.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is broken, of another kind, or holds anything but tensors and plain values.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f'{path} is a folder, expected a file')
    if not path.exists():
        raise FileNotFoundError(f'no checkpoint at {path}')
    if not path.is_file():
        raise CheckpointError(f'{path} is no regular file')
    if is_safetensors(path):
        tensors, meta = _read_safetensors(path, map_location)
        return dict(state_dict=tensors, meta=meta)
    return _read_torch_file(path, map_location)


def select_prefix(tensors: Mapping[str, Tensor], prefix: str, path: str | os.PathLike) -> dict[str, Tensor]:
    """Take the weights whose names begin with a prefix, without it.

    Raises:
        CheckpointError: there are none.
    """
    selected = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if not selected:
        tops = sorted({name.partition('.')[0] + '.' for name in tensors})
        raise CheckpointError(
            f'{path} has no weights whose names begin with {prefix!r}; they begin with {", ".join(tops[:8])}'
        )
    return selected


def check_weights(path: str | os.PathLike, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare weights with those of a network, by name, shape and kind of number.

    Args:
        path: where they come from, for the message.
        tensors: names and tensors found. Numbers may be of any width, and counters may have been turned to floating
            point with the rest; integers in the place of floating-point numbers need a scale that is not there.
        expected: names and tensors of the network.

    Raises:
        CheckpointError: they are not exactly the network's; tells the first few names that are missing, unexpected or
            misfit, and the likely cause.
    """
    found = {
        'missing': [name for name in expected if name not in tensors],
        'unexpected': [name for name in tensors if name not in expected],
        'misshapen': [
            f'{name} {tuple(tensors[name].shape)} instead of {tuple(tensor.shape)}'
            for name, tensor in expected.items()
            if name in tensors and tensors[name].shape != tensor.shape
        ],
        'of other numbers': [
            f'{name} {tensors[name].dtype} instead of {tensor.dtype}'
            for name, tensor in expected.items()
            if name in tensors and tensor.is_floating_point() and not tensors[name].is_floating_point()
        ],
    }
    parts = [
        f'{len(names)} {kind} ({", ".join(names[:3])}{", ..." if len(names) > 3 else ""})'
        for kind, names in found.items()
        if names
    ]
    if not parts:
        return
    if len(found['missing']) > len(expected) // 2:
        cause = 'it is for another architecture'
    elif found['misshapen']:
        cause = 'it is for a variant of other widths'
    elif found['of other numbers']:
        cause = 'it was quantized'
    else:
        cause = 'it is for a variant with other parts, or was edited'
    raise CheckpointError(
        f'{path} is not of this model: {"; ".join(parts)}. Likely {cause}. Use the config with which it was made, '
        'without changes to the networks'
    )


def check_finite(path: str | os.PathLike, tensors: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Look for the traces of a training that has diverged.

    Raises:
        CheckpointError: one of the named tensors holds NaN or infinite values.
    """
    for name in names:
        tensor = tensors[name]
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{path}: '{name}' holds NaN or infinite values; the training had diverged")


def load_strictly(
    network: nn.Module, tensors: Mapping[str, Tensor], path: str | os.PathLike, assign: bool = False
) -> None:
    """Load the weights of a whole network, all or nothing, in the network's own number formats.

    Args:
        network: gets the weights.
        tensors: names and tensors.
        path: where they come from, for the message.
        assign: make the tensors the network's own instead of copying them, for one that was built on `meta`.

    Raises:
        CheckpointError: they are not exactly the network's, or a parameter is not finite.
    """
    expected = network.state_dict()
    check_weights(path, tensors, expected)
    given = OrderedDict((name, tensor.to(expected[name].dtype)) for name, tensor in tensors.items())
    check_finite(path, given, [name for name, _ in network.named_parameters() if name in given])
    # some layers, spconv's for one, turn weights round that do not tell their version
    given._metadata = expected._metadata  # type: ignore[attr-defined]
    network.load_state_dict(given, assign=assign)


def _read_folder(folder: Path) -> Weights:
    """Read a folder in Hugging Face's form: weights under one of their usual names, and `config.json`, if any."""
    path = next((folder / name for name in FOLDER_NAMES if (folder / name).is_file()), None)
    if path is None:
        files = list_files(folder, WEIGHTS_SUFFIXES)
        if len(files) != 1:
            names = [entry.name for entry in sorted(folder.iterdir())]
            what = ', '.join(file.name for file in files[:8]) if files else ', '.join(names[:8]) or 'nothing'
            raise CheckpointError(
                f'{folder} is a folder {"with several weights files: name one of" if files else "without weights:"} '
                f'{what}; expected {", ".join(FOLDER_NAMES)}, or one file with {", ".join(WEIGHTS_SUFFIXES)}'
            )
        (path,) = files
    config_file = folder / 'config.json'
    config = _read_json(config_file) if config_file.is_file() else None
    if path.suffix != '.json':
        weights = read_weights(path)
        return Weights(path, weights.tensors, weights.meta, config)
    tensors: dict[str, Tensor] = {}
    weight_map = _read_json(path).get('weight_map')
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(f"{path} is no index of weights: it has no 'weight_map' of names and files; {_GET_AGAIN}")
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name:  # an index must not lead to files elsewhere
            raise CheckpointError(f'{path} names the file {name!r}, which is not in its folder')
        if not (folder / name).is_file():
            raise CheckpointError(f'{path} names {name}, which is missing; get the whole folder again')
        tensors.update(read_weights(folder / name).tensors)
    missing = [name for name in weight_map if name not in tensors]
    if missing:
        raise CheckpointError(f'{path} names {len(missing)} tensors that its files do not hold, {missing[0]} for one')
    return Weights(path, tensors, config=config)


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise CheckpointError(f'{path} has {path.stat().st_size} bytes, too many for the text that it should be')
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{path} is broken: {error}; {_describe(path)}') from error
    if not isinstance(value, dict):
        raise CheckpointError(f'{path} holds a {type(value).__name__}, expected names and values')
    return value


def is_safetensors(path: Path) -> bool:
    """Tell whether a file is safetensors, and not one of `torch.save`.

    Raises:
        CheckpointError: it is neither; says what it is instead.
    """
    with open(path, 'rb') as file:
        head = file.read(9)
    # 8 bytes of length, then JSON; a length that no disk has is rather a text
    if head[8:] == b'{' and int.from_bytes(head[:8], 'little') < 2**48:
        return True
    if head[:4] == b'PK\x03\x04' or head[:1] == b'\x80':  # zip archive or bare pickle of torch.save
        return False
    raise CheckpointError(f'{path} holds no weights: {_describe(path)}')


def _describe(path: Path) -> str:
    """Say what a file is that should hold weights, and what to do."""
    with open(path, 'rb') as file:
        head = file.read(_HEAD_BYTES)
    text = head.removeprefix(b'\xef\xbb\xbf').lstrip().lower()
    if not head:
        return 'it is empty (0 bytes), as after a download that broke off; get it again'
    if text.startswith(b'version https://git-lfs'):
        return (
            'it is a pointer of git-lfs, which stands for the file in a repository; run `git lfs pull` there, or '
            'download the file itself'
        )
    if text.startswith((b'<!doctype', b'<html', b'<head', b'<body', b'<?xml', b'<error')):
        return (
            'it is a web page saved under this name, of a log-in or an error for example; use the address of the file '
            'itself (on Hugging Face with /resolve/ where the page has /blob/)'
        )
    if text.startswith((b'{', b'[')):
        return 'it is a text in JSON, such as the answer of a server, or the index of a folder: then name the folder'
    archives = {
        b'\x1f\x8b': 'gzip',
        b'7z\xbc\xaf': '7z',
        b'Rar!': 'rar',
        b'\xfd7zXZ': 'xz',
        b'BZh': 'bzip2',
        b'\x28\xb5\x2f\xfd': 'zstd',
    }
    for signature, kind in archives.items():
        if head.startswith(signature):
            return f'it is a {kind} archive; unpack it and name the file inside'
    if head[257:262] == b'ustar':
        return 'it is a tar archive; unpack it and name the file inside'
    if head.startswith(b'\x89HDF'):
        return 'it is an HDF5 file, of Keras for example; expected safetensors or a file of torch.save'
    return (
        f'it is neither safetensors nor a file of torch.save ({path.stat().st_size} bytes, beginning with '
        f'{head[:8]!r}), or broken or truncated; {_GET_AGAIN}'
    )


def _read_safetensors(path: Path, map_location: str | torch.device) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework='pt', device=str(map_location)) as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path} is broken or truncated ({error}); {_GET_AGAIN}') from error


def _read_torch_file(path: Path, map_location: str | torch.device) -> dict[str, Any]:
    _check_archive(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # timm keeps its command line in one
            content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r'GLOBAL (\S+)', str(error))
        reason = f'it asks for {wanted[1]}' if wanted else str(error).splitlines()[0]
        raise CheckpointError(
            f'{path} holds Python objects besides tensors and plain values, or is broken. Such objects can run code, '
            f'so they are never loaded ({reason}); save the plain state dict where the file was made'
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        # what torch raises depends on where the file ends
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f'{path} is broken or truncated ({reason}); {_GET_AGAIN}') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, no checkpoint')
    _check_tensors(path, content)
    return content


def _check_archive(path: Path) -> None:
    """Refuse zip archives that are no files of `torch.save`, or that would unpack to far more than they are."""
    with open(path, 'rb') as file:
        if file.read(4) != b'PK\x03\x04':
            return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError) as error:
        raise CheckpointError(f'{path} is broken or truncated ({error}); {_GET_AGAIN}') from error
    names = [entry.filename for entry in entries]
    if any(name.endswith('constants.pkl') for name in names):
        raise CheckpointError(
            f'{path} is a TorchScript program, which holds code; save the plain state dict where it was made'
        )
    if not any(name.endswith('data.pkl') for name in names):
        inside = [name for name in names if name.lower().endswith(WEIGHTS_SUFFIXES)] or names
        raise CheckpointError(
            f'{path} is a zip archive but no file of torch.save; it holds {", ".join(inside[:3]) or "nothing"}'
            f'{", ..." if len(inside) > 3 else ""}: unpack it and name the weights inside'
        )
    size, unpacked = path.stat().st_size, sum(entry.file_size for entry in entries)
    if unpacked > _MAX_GROWTH * size + _FREE_GROWTH:
        raise CheckpointError(f'{path} would unpack to {unpacked} bytes from {size}; torch.save packs nothing')


def _check_tensors(path: Path, content: Any) -> None:
    """Refuse tensors of forms that networks do not have.

    A tensor may claim to be huge by repeating a few values; that costs nothing, as none is copied before its shape was
    compared with the network's.
    """
    for name, tensor in _list_tensors(content):
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type == 'meta':
            kind = 'quantized' if tensor.is_quantized else 'empty' if tensor.device.type == 'meta' else 'sparse'
            raise CheckpointError(f"{path}: '{name}' is {kind}; save plain dense tensors where the file was made")


def _list_tensors(content: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors inside plain data with their names, those of a container that is there twice only once."""
    seen: set[int] = set()
    stack = [('', content)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else ((name, item) for item in value)
            stack.extend((str(key), item) for key, item in items)
