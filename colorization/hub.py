"""Colorization networks as repositories in Hugging Face's form: `model.safetensors`, `config.json` and a card.

What is fetched lies in huggingface_hub's cache; `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what
they mean there. Only the two files above are fetched, neither of which can hold code.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from colorization.checkpoints.networks import CONFIG, LIBRARY, WEIGHTS, describe_folder, save_network
from colorization.model_card import write_model_card
from dualattn.io.files import write_json, write_whole
from dualattn.io.published import is_repository

__all__ = ['HubError', 'fetch', 'fetch_weights', 'is_repository', 'push', 'save_folder']


class HubError(OSError):
    """A repository that cannot be reached, read or written; the message names it and says what to do."""


def save_folder(
    network: nn.Module,
    folder: str | os.PathLike,
    half: bool = False,
    records: Sequence[str | os.PathLike] = (),
    card_license: str | None = None,
    notes: str = '',
    repository: str | None = None,
) -> None:
    """Write a network as a folder in Hugging Face's form, which `load_network` and `from_pretrained` read.

    Args:
        network: has an attribute `config` that `build_network` takes.
        folder: is made where it is missing; files of these names in it are replaced.
        half: store weight matrices and kernels as float16, which halves the file.
        records: see `write_model_card`, and so `card_license` and `notes`.
        repository: its name for the card; the folder's otherwise.

    Raises:
        FileNotFoundError: there is no such record.
        RecordError: a file is no record.
        ValueError: a weight is not finite (as float16), or the network, as one of an ONNX file, has no weights.
        OSError: the folder cannot be written.
    """
    if not network.state_dict():
        raise ValueError('an ONNX file is no network whose weights could be saved; use the weights that it was made of')
    folder = Path(folder)
    card = write_model_card(network, repository or str(folder), records, card_license, notes)
    folder.mkdir(parents=True, exist_ok=True)
    save_network(network, folder / WEIGHTS, half)
    write_json(folder / CONFIG, describe_folder(network, folder / WEIGHTS), indent=2)
    with write_whole(folder / 'README.md') as aside:
        aside.write_text(card, encoding='utf-8', newline='\n')


def fetch(
    repository: str,
    revision: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Bring a repository's weights into the cache, where they are not yet, and return their folder.

    Args:
        repository: 'organization/name'.
        revision: a branch, a tag or a commit; None is `main`.
        cache_dir: another cache than huggingface_hub's.
        local_files_only: ask no server.
        token: of huggingface_hub; None takes the one that it has, False none.

    Raises:
        HubError: there is no such repository or revision, it has no weights as safetensors, or it is out of reach and
            not in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = Path(
            snapshot_download(
                repository,
                revision=revision,
                cache_dir=None if cache_dir is None else os.fspath(cache_dir),
                local_files_only=local_files_only,
                token=token,
                allow_patterns=[WEIGHTS, CONFIG],
                library_name=LIBRARY,
            )
        )
    except GatedRepoError as error:
        raise HubError(
            f'{repository}: asks for a consent that is given on its page, and a token (hf auth login)'
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(f'{repository}: has no revision {revision!r}') from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f'{repository}: is neither a file or folder here nor a repository on the hub that this user may read'
        ) from error
    except LocalEntryNotFoundError as error:
        raise HubError(
            f'{repository}: is neither a file or folder here nor in the cache, and the hub is out of reach'
            f'{" (HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") else ""}'
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise HubError(f'{repository}: cannot be fetched: {error}') from error
    if not (folder / WEIGHTS).is_file():
        raise HubError(f'{repository}: has no {WEIGHTS}; weights in other forms are not taken from the hub')
    return folder


def fetch_weights(weights: str) -> str:
    """Return the path of weights that a command was given; those of a repository are fetched into the cache.

    Raises:
        HubError: they cannot be fetched, and are not in the cache.
    """
    return str(fetch(weights)) if is_repository(weights) else weights


def push(
    network: nn.Module,
    repository: str,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str = 'Upload weights',
    **options: Any,
) -> str:
    """Write a network into a repository, which is made where there is none, in one commit.

    Args:
        network: see `save_folder`.
        repository: 'organization/name'.
        private: of a new repository; None takes the organization's default.
        token: of huggingface_hub; None takes the one that it has.
        commit_message: first line of the commit.
        options: half, records, card_license and notes of `save_folder`.

    Returns:
        Address of the commit.

    Raises:
        HubError: the hub refuses, or is out of reach.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    with tempfile.TemporaryDirectory() as folder:
        save_folder(network, folder, repository=repository, **options)
        api = HfApi(token=token, library_name=LIBRARY)
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            return api.upload_folder(repo_id=repository, folder_path=folder, commit_message=commit_message).commit_url
        except (OSError, HFValidationError) as error:  # the hub's own errors are of the former kind
            raise HubError(f'{repository}: cannot be written: {error}') from error
        except Exception as error:  # no connection: of one library or another, depending on huggingface_hub's version
            if type(error).__module__.startswith(('httpx', 'requests')):
                raise HubError(f'{repository}: cannot be written, the hub is out of reach: {error}') from error
            raise
