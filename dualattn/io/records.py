"""The record of a measurement: one JSON file a run, with all that has to be known before two numbers are compared."""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dualattn.io.files import write_json

__all__ = ['KIND', 'VERSION', 'RecordError', 'describe_versions', 'hash_lines', 'read_record', 'write_record']

KIND = 'dualattn.evaluation'
VERSION = 1
# what a table reads; a record may hold more
_ENTRIES = {'name': str, 'protocol': dict, 'figures': dict, 'unverified': dict, 'pictures': dict}


class RecordError(ValueError):
    """A file that is no record of a measurement; the message names it."""


def hash_lines(lines: Iterable[str]) -> str:
    """Return the sha256 of lines of text, hexadecimal."""
    return hashlib.sha256(''.join(f'{line}\n' for line in lines).encode()).hexdigest()


def describe_versions(libraries: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each library, 'not installed' where there is none."""
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = 'not installed'
    return found


def write_record(record: dict[str, Any], path: Path) -> None:
    """Write a record, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    write_json(path, record, indent=2)


def read_record(path: Path) -> dict[str, Any]:
    """Read what `dualattn evaluate` or `dualattn test` has written.

    Raises:
        FileNotFoundError: there is no such file.
        RecordError: it holds something else, is of another version, or lacks what a table needs.
    """
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f'{path} is no JSON file ({error})') from error
    if not isinstance(record, dict) or record.get('kind') != KIND:
        raise RecordError(f'{path} is no record of `dualattn evaluate` or `dualattn test`')
    if record.get('version') != VERSION:
        raise RecordError(f'{path} is a record of version {record.get("version")}, this reads version {VERSION}')
    for name, kind in _ENTRIES.items():
        if not isinstance(record.get(name), kind):
            raise RecordError(f'{path} is no whole record: its {name} is {record.get(name)!r}')
    for name, figure in record['figures'].items():
        if not isinstance(figure, dict) or not isinstance(figure.get('value'), (int, float)):
            raise RecordError(f'{path} is no whole record: its figure {name} is {figure!r}')
    return record
