"""Files that appear whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ['write_aside']


@contextmanager
def write_aside(path: str | os.PathLike) -> Iterator[Path]:
    """Yield another name in the same folder, with the same suffix, that becomes `path` when the block ends.

    When the block raises, what it wrote is deleted, and a file that was there before stays as it was.
    """
    path = Path(path)
    aside = path.with_name(f'.{uuid.uuid4().hex}{path.suffix}')  # no longer than a name may be
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
