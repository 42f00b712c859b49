"""libjxl itself, the file that imagecodecs brings, for what imagecodecs does not hand on: profiles, and cut images.

Of its C interface (jxl/decode.h, version 0.9 and newer) the few functions that need no structure but a pixel format.
"""

import ctypes
from functools import lru_cache
from pathlib import Path

import imagecodecs
import numpy as np

from dualattn.io.photos.photo import ImageError

_SUCCESS, _NEED_MORE_INPUT, _NEED_BUFFER, _COLOR_ENCODING, _FULL_IMAGE = 0, 2, 5, 0x100, 0x1000
_OF_DATA = 1  # the profile of the pixels that are given, not of those that were stored
_UINT16 = 3
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_FUNCTIONS = {
    'JxlDecoderCreate': (_POINTER, [_POINTER]),
    'JxlDecoderDestroy': (None, [_POINTER]),
    'JxlDecoderSubscribeEvents': (ctypes.c_int, [_POINTER, ctypes.c_int]),
    'JxlDecoderSetInput': (ctypes.c_int, [_POINTER, ctypes.c_char_p, _SIZE]),
    'JxlDecoderProcessInput': (ctypes.c_int, [_POINTER]),
    'JxlDecoderGetICCProfileSize': (ctypes.c_int, [_POINTER, ctypes.c_int, _POINTER]),
    'JxlDecoderGetColorAsICCProfile': (ctypes.c_int, [_POINTER, ctypes.c_int, _POINTER, _SIZE]),
    'JxlDecoderImageOutBufferSize': (ctypes.c_int, [_POINTER, _POINTER, _POINTER]),
    'JxlDecoderSetImageOutBuffer': (ctypes.c_int, [_POINTER, _POINTER, _POINTER, _SIZE]),
    'JxlDecoderFlushImage': (ctypes.c_int, [_POINTER]),
}


class _PixelFormat(ctypes.Structure):
    """JxlPixelFormat: channels, type, byte order (0 is the machine's) and the alignment of rows."""

    _fields_ = [('channels', ctypes.c_uint32), ('type', ctypes.c_int), ('order', ctypes.c_int), ('align', _SIZE)]


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """Return the library with its functions declared; None where it is no file of its own."""
    imagecodecs.jpegxl_version()  # loads the libraries that it depends on
    package = Path(imagecodecs.__file__).parent
    for path in (*package.parent.glob('imagecodecs.libs/libjxl[-.]*'), *package.glob('.dylibs/libjxl.[0-9]*')):
        try:
            library = ctypes.CDLL(str(path))
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError):
            continue
        return library
    return None


def is_available() -> bool:
    """Tell whether the library is there as a file."""
    return _library() is not None


def decode(data: bytes, height: int, width: int, channels: int) -> tuple[np.ndarray, bytes, bool]:
    """Decode the first frame, as far as it is there.

    Args:
        data: a bare codestream or a container.
        height: of the image.
        width: of the image.
        channels: 1 or 3 for the colours, and 1 for alpha.

    Returns:
        (H, W, C) uint16 over the full range; the ICC profile of its colours; whether something is missing.

    Raises:
        ImageError: it cannot be decoded, or its sizes are others.
    """
    library = _library()
    assert library is not None, 'is_available'
    decoder = library.JxlDecoderCreate(None)
    try:
        return _run(library, decoder, data, np.zeros((height, width, channels), np.uint16))
    finally:
        library.JxlDecoderDestroy(decoder)


def _run(library: ctypes.CDLL, decoder: int, data: bytes, samples: np.ndarray) -> tuple[np.ndarray, bytes, bool]:
    profile, has_buffer = b'', False
    pixel_format = _PixelFormat(samples.shape[2], _UINT16, 0, 0)
    library.JxlDecoderSubscribeEvents(decoder, _COLOR_ENCODING | _FULL_IMAGE)
    library.JxlDecoderSetInput(decoder, data, len(data))
    while True:
        state = library.JxlDecoderProcessInput(decoder)
        if state == _COLOR_ENCODING:
            profile = _profile(library, decoder)
        elif state == _NEED_BUFFER:
            size = _SIZE()
            library.JxlDecoderImageOutBufferSize(decoder, ctypes.byref(pixel_format), ctypes.byref(size))
            if size.value != samples.nbytes:
                raise ImageError(f'decoders disagree on the image: {size.value} bytes and {samples.shape}')
            pointer = samples.ctypes.data_as(_POINTER)
            library.JxlDecoderSetImageOutBuffer(decoder, ctypes.byref(pixel_format), pointer, samples.nbytes)
            has_buffer = True
        elif state in (_FULL_IMAGE, _SUCCESS) and has_buffer:
            return samples, profile, False
        elif state == _NEED_MORE_INPUT and has_buffer and library.JxlDecoderFlushImage(decoder) == _SUCCESS:
            return samples, profile, True
        elif state == _NEED_MORE_INPUT:
            raise ImageError('a JPEG XL that cannot be decoded: the file is truncated')
        else:
            raise ImageError('a JPEG XL that cannot be decoded: its pixels are damaged')


def _profile(library: ctypes.CDLL, decoder: int) -> bytes:
    size = _SIZE()
    if library.JxlDecoderGetICCProfileSize(decoder, _OF_DATA, ctypes.byref(size)) != _SUCCESS:
        return b''
    buffer = ctypes.create_string_buffer(size.value)
    library.JxlDecoderGetColorAsICCProfile(decoder, _OF_DATA, buffer, size.value)
    return buffer.raw
