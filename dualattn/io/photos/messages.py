"""What is said about a photograph that is read or written all the same: logged, or collected by who asks for it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

logger = logging.getLogger(__name__)

_collected: ContextVar[list[str] | None] = ContextVar('collected', default=None)


def warn(path: str | os.PathLike, message: str, *values: object) -> None:
    """Say something about a file: `message` in %-style with its values, behind the name of the file."""
    text = f'{printable(path)}: {message % values if values else message}'
    found = _collected.get()
    if found is None:
        logger.warning('%s', text)
    elif text not in found:
        found.append(text)


@contextmanager
def collect_messages() -> Iterator[list[str]]:
    """Collect in a list, each once, what `warn` says in this thread while the block runs; nothing is logged then."""
    found: list[str] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def printable(path: str | os.PathLike) -> str:
    r"""Return a name that every output can print: bytes that are no UTF-8 as \xNN, line ends and the like as \n."""
    name = os.fspath(path)
    text = os.fsdecode(name) if isinstance(name, bytes) else name
    text = os.fsencode(text).decode('utf-8', 'backslashreplace')
    return ''.join(character if character.isprintable() else repr(character)[1:-1] for character in text)
