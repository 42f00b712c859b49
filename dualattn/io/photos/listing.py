"""Lists of photographs: what files, folders and patterns name."""

import os
from collections.abc import Iterable
from pathlib import Path

from dualattn.io.files import find_files

# Suffixes that a folder is searched for. A file named by the user is read whatever it is called.
IMAGE_SUFFIXES = frozenset(
    ['.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.apng', '.webp', '.tif', '.tiff', '.bmp', '.gif', '.jp2', '.avif']
    + ['.ppm', '.pgm', '.pbm', '.pnm']
)


def list_images(inputs: Iterable[str | os.PathLike], recursive: bool = False) -> list[Path]:
    """Return the photographs that paths, folders and glob patterns name, in a stable order and each once.

    See `dualattn.io.files.find_files`; folders are searched for `IMAGE_SUFFIXES`.

    Raises:
        FileNotFoundError: an input names nothing; the message says what was looked for.
    """
    return list(find_files(inputs, IMAGE_SUFFIXES, recursive))
