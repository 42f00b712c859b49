"""What the decoders of the single formats take and give."""

import io
import os
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from dualattn.io.photos import messages
from dualattn.io.photos.photo import MAX_SIDE, ImageError


@dataclass
class Source:
    """An open file and how it is to be read.

    Attributes:
        path: what messages call it.
        file: the open file.
        max_pixels: a larger image is refused from its header.
        allow_truncated: give what can be decoded of a file that is cut or damaged.
        page: number of the page of a TIFF, from 1; None takes the first photograph.
        min_side: lets a JPEG be decoded smaller as long as both sides keep so many pixels.
        lack: what is missing of a file whose rest is taken; if that fails, it is the reason.
    """

    path: str | os.PathLike
    file: BinaryIO
    max_pixels: int
    allow_truncated: bool = False
    page: int | None = None
    min_side: int | None = None
    lack: str | None = None

    def warn(self, message: str, *values: object) -> None:
        """Say something about the file; see `messages.warn`."""
        messages.warn(self.path, message, *values)

    def read(self) -> bytes:
        """Return the whole file."""
        self.file.seek(0)
        return self.file.read()

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.file.seek(0, io.SEEK_END)

    def check_size(self, width: int, height: int) -> None:
        """Refuse an image by its header.

        Raises:
            ImageError: it is larger than `max_pixels`, or has sides that no photograph has.
        """
        if width * height > self.max_pixels:
            raise ImageError(f'{width} x {height} pixels are more than the limit of {self.max_pixels} pixels')
        if max(width, height) > MAX_SIDE or min(width, height) < 1:
            raise ImageError(f'{width} x {height} pixels; sides must be from 1 to {MAX_SIDE} pixels')


@dataclass
class Decoded:
    """An image as its file has it: not yet upright, not yet in sRGB.

    Attributes:
        pixels: uint8 or uint16 over the full range: (H, W) for GRAY; (H, W, 3) for RGB; (H, W, 4) for CMYK, where 0 is
            no ink; (H, W, 3) float32 for LAB, with white of D50.
        space: 'GRAY', 'RGB', 'CMYK' or 'LAB'.
        alpha: (H, W) of the type of the pixels (uint16 for LAB), 0 is transparent and not multiplied into the colours.
        profile: the ICC profile of the pixels; None means sRGB.
        orientation: EXIF orientation that is still to be undone.
        exif: an EXIF block as `metadata.read_exif` gives it.
        dpi: resolution of the upright image, across and down.
        text: comments and text chunks.
        xmp: an XMP packet.
        iptc: IPTC-IIM records.
    """

    pixels: np.ndarray
    space: str
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    orientation: int = 1
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: dict[str, str] = field(default_factory=dict)
    xmp: bytes | None = None
    iptc: bytes | None = None


def scale_bits(samples: np.ndarray, bits: int) -> np.ndarray:
    """Stretch unsigned samples of 1 to 16 bits over the full range of uint8 (up to 8 bits) or uint16."""
    kind = np.uint8 if bits <= 8 else np.uint16
    if bits in (8, 16):
        return samples.astype(kind, copy=False)
    largest, full = (1 << bits) - 1, int(np.iinfo(kind).max)
    table = ((np.arange(largest + 1, dtype=np.uint32) * full + largest // 2) // largest).astype(kind)
    return table[np.minimum(samples, largest)]


def divide_alpha(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Undo that (H, W) or (H, W, C) pixels were multiplied with alpha (H, W) of the same type."""
    full = int(np.iinfo(pixels.dtype).max)
    weight = np.maximum(alpha, 1).astype(np.uint64)
    weight = weight if pixels.ndim == 2 else weight[..., None]
    straight = (pixels.astype(np.uint64) * full + weight // 2) // weight
    return np.minimum(straight, full).astype(pixels.dtype)


def color_key_alpha(samples: np.ndarray, key: tuple[int, ...], full: int) -> np.ndarray:
    """Return alpha (H, W) that is 0 where (H, W) or (H, W, C) samples have the colour `key`, else `full`."""
    matches = samples == key[0] if samples.ndim == 2 else (samples == np.asarray(key)).all(axis=-1)
    return np.where(matches, 0, full).astype(np.uint8 if full == 255 else np.uint16)
