"""DNG and camera raw by rawpy (LibRaw), where that is installed: 16 bits in the white balance of the camera."""

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from PIL import Image

from dualattn.io.photos import metadata
from dualattn.io.photos.photo import ImageError
from dualattn.io.photos.reading import cut
from dualattn.io.photos.reading.source import Decoded, Source

_TIFF = (b'II*\0', b'MM\0*')
_STANDARD_ERROR = 2
_COMPLAINT = re.compile(rb'[^\n]*: (Unexpected end of file|data corrupted at \d+)\r?\n')
_hearing = threading.Lock()


def decode(source: Source) -> Decoded:
    """Develop a raw photograph.

    Raises:
        ImageError: rawpy is not installed, or LibRaw does not know the camera.
    """
    if find_spec('rawpy') is None:
        raise ImageError('a camera raw photograph; it is read where rawpy is installed: pip install rawpy')
    import rawpy

    source.file.seek(0)
    complaints: list[str] = []
    try:
        with _overhear(complaints), rawpy.imread(source.file) as raw:
            source.check_size(raw.sizes.width, raw.sizes.height)
            pixels = raw.postprocess(
                output_bps=16, use_camera_wb=True, output_color=rawpy.ColorSpace.sRGB, gamma=(2.4, 12.92)
            )
    except rawpy.LibRawError as error:
        said = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else error
        raise ImageError(
            f'a camera raw photograph that LibRaw cannot develop: {", ".join([str(said), *complaints[:1]])}'
        ) from error
    if complaints:
        cut.refuse(source, f'LibRaw misses data ({complaints[0].lower()})')
    source.warn("a camera raw photograph, developed with the camera's white balance")
    exif = dpi = None
    if source.read()[:4] in _TIFF:
        source.file.seek(0)
        entries = Image.Exif()
        _, exif = metadata.keep_exif(lambda: _load(entries, source), source.path)
        dpi = metadata.dpi_of_exif(exif, 1)
    return Decoded(pixels, 'RGB', exif=exif, dpi=dpi)  # LibRaw has turned it upright


@contextmanager
def _overhear(said: list[str]) -> Iterator[None]:
    """Collect what LibRaw says on the standard error, which is all that it does where data are missing or damaged.

    What others say there meanwhile is handed on.
    """
    try:
        before = os.dup(_STANDARD_ERROR)
    except OSError:  # a process without one
        yield
        return
    with _hearing, tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), _STANDARD_ERROR)
        try:
            yield
        finally:
            os.dup2(before, _STANDARD_ERROR)
            os.close(before)
            file.seek(0)
            heard = file.read()
            said += [found[1].decode() for found in _COMPLAINT.finditer(heard)]
            if others := _COMPLAINT.sub(b'', heard):
                os.write(_STANDARD_ERROR, others)


def _load(entries: Image.Exif, source: Source) -> Image.Exif:
    source.file.seek(0)
    entries.load_from_fp(source.file)
    return entries
