"""Lists of photographs: what files, folders and patterns name."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from dualattn.io.files import find_files

_ALWAYS = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.mpo', '.png', '.apng', '.webp', '.tif', '.tiff', '.btf', '.bmp'),
    *(
        '.dib',
        '.gif',
        '.jp2',
        '.j2k',
        '.j2c',
        '.jpc',
        '.jpf',
        '.jpx',
        '.jpm',
        '.jxl',
        '.avif',
        '.ppm',
        '.pgm',
        '.pbm',
        '.pnm',
    ),
    '.pam',
)
_HEIF = ('.heic', '.heif', '.hif')
_RAW = (
    *('.dng', '.nef', '.nrw', '.cr2', '.cr3', '.crw', '.arw', '.sr2', '.raf', '.orf', '.rw2', '.pef', '.srw', '.x3f'),
    *('.3fr', '.iiq', '.erf', '.mrw', '.dcr', '.kdc', '.rwl'),
)
# Suffixes that a folder is searched for; those that need another library only where it is installed. A file named by
# the user is read whatever it is called.
IMAGE_SUFFIXES = frozenset(
    [*_ALWAYS, *(_HEIF if find_spec('pi_heif') else ()), *(_RAW if find_spec('rawpy') else ('.dng',))]
)


def list_images(inputs: Iterable[str | os.PathLike], recursive: bool = False) -> list[Path]:
    """Return the photographs that paths, folders and glob patterns name, in a stable order and each once.

    See `dualattn.io.files.find_files`; folders are searched for `IMAGE_SUFFIXES`.

    Raises:
        FileNotFoundError: an input names nothing; the message says what was looked for.
    """
    return list(find_files(inputs, IMAGE_SUFFIXES, recursive))
