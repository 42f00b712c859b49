"""JPEG XL: recognised, and refused until its colours can be read from its header."""

from dualattn.io.photos.photo import ImageError
from dualattn.io.photos.reading.source import Decoded, Source


def decode(source: Source) -> Decoded:
    """Refuse a JPEG XL.

    Raises:
        ImageError: always.
    """
    raise ImageError('a JPEG XL file, which is not supported; save it as PNG or TIFF')
