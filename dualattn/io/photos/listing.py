"""Lists of photographs: what files, folders and patterns name."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

# Suffixes that a folder is searched for. A file named by the user is read whatever it is called.
IMAGE_SUFFIXES = frozenset(
    ['.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.apng', '.webp', '.tif', '.tiff', '.bmp', '.gif', '.jp2', '.avif']
    + ['.ppm', '.pgm', '.pbm', '.pnm']
)


def list_images(inputs: Iterable[str | os.PathLike], recursive: bool = False) -> list[Path]:
    """Return the files that paths, folders and glob patterns name, in a stable order and each once.

    A file is taken whatever its suffix. A folder gives its files with one of `IMAGE_SUFFIXES`, without hidden ones;
    with `recursive`, those of its subfolders too. A pattern (`*`, `?`, `[...]`, `**`) gives all files that match it.

    Raises:
        FileNotFoundError: an input names nothing; the message says what was looked for.
    """
    found: dict[str, Path] = {}
    for item in inputs:
        name = os.fspath(item)
        if os.path.isdir(name):
            paths = sorted(_walk(name, recursive))
            wanted = f'a folder with images in it{"" if recursive else " itself, not in its subfolders"}'
        elif os.path.exists(name):  # before patterns: a name may hold brackets
            paths, wanted = [name], ''
        elif glob.has_magic(name):
            paths = sorted(path for path in glob.glob(name, recursive=True) if os.path.isfile(path))
            wanted = 'files that match this pattern'
        else:
            paths, wanted = [], 'a file or a folder'
        if not paths:
            raise FileNotFoundError(
                f'{name or repr(name)}: nothing found, expected {wanted} (suffixes: {" ".join(sorted(IMAGE_SUFFIXES))})'
            )
        for path in paths:
            found.setdefault(os.path.abspath(path), Path(path))
    return list(found.values())


def _walk(folder: str, recursive: bool) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith('.')]
        for name in names:
            if not name.startswith('.') and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                yield os.path.join(parent, name)
