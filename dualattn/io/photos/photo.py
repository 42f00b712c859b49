"""A photograph in memory: upright pixels in sRGB with what has to survive beside them."""

from dataclasses import dataclass, field

import numpy as np

MAX_SIDE = 65_535  # pixels; the limit of JPEG, and no scanner makes more
MAX_DPI = 65_535  # pixels per inch; what a JPEG can hold


class ImageError(ValueError):
    """An image that cannot be read or written; the message names the file and the reason."""


@dataclass
class Photo:
    """An upright photograph in sRGB with what has to survive colorization.

    Attributes:
        pixels: (H, W) gray or (H, W, 3) RGB; uint8 in [0, 255] or uint16 in [0, 65535], sRGB-coded.
        alpha: (H, W) of the same type as pixels, 0 is transparent; None for an opaque photograph.
        exif: an EXIF block without orientation, sizes, thumbnail and maker note.
        icc_profile: an sRGB profile to embed, present where the source carried a profile of its own.
        dpi: resolution across and down in pixels per inch, from 1 to 65535; None where nothing states one.
        text: by keyword, the text chunks of a PNG; the comment of a JPEG is 'Comment'.
        xmp: an XMP packet that does not ask for a rotation.
        iptc: IPTC-IIM records, byte for byte.

    Raises:
        TypeError: pixels or alpha are neither uint8 nor uint16, or differ.
        ValueError: a shape or the resolution is wrong.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    exif: bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: dict[str, str] = field(default_factory=dict)
    xmp: bytes | None = None
    iptc: bytes | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype not in (np.uint8, np.uint16):
            raise TypeError(f'pixels must be uint8 or uint16, got {self.pixels.dtype}; scale floats to one of them')
        if self.pixels.ndim not in (2, 3) or self.pixels.shape[2:] not in ((), (3,)) or 0 in self.pixels.shape:
            raise ValueError(f'pixels must be (H, W) or (H, W, 3) and not empty, got {self.pixels.shape}')
        if self.alpha is not None and self.alpha.dtype != self.pixels.dtype:
            raise TypeError(f'alpha must be {self.pixels.dtype} as the pixels are, got {self.alpha.dtype}')
        if self.alpha is not None and self.alpha.shape != self.pixels.shape[:2]:
            raise ValueError(f'alpha must be {self.pixels.shape[:2]}, got {self.alpha.shape}')
        if self.dpi is not None and not all(1 <= value <= MAX_DPI for value in self.dpi):
            raise ValueError(f'dpi must be two numbers from 1 to {MAX_DPI}, got {self.dpi}')

    @property
    def bit_depth(self) -> int:
        """8 or 16 bits per channel."""
        return 8 * self.pixels.itemsize

    @property
    def rgb(self) -> np.ndarray:
        """The pixels as (H, W, 3), gray repeated."""
        return with_three_channels(self.pixels)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (1 to 8; anything else counts as 1) on (H, W, ...)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def with_three_channels(pixels: np.ndarray) -> np.ndarray:
    """Return gray (H, W) as (H, W, 3), three equal channels; colour as it is."""
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def to_8_bit(pixels: np.ndarray) -> np.ndarray:
    """Round uint16 in [0, 65535] to uint8 in [0, 255]."""
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def over_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Lay (H, W, 3) uint8 with alpha (H, W) uint8 over white."""
    weight = alpha[..., None].astype(np.uint16)
    return ((pixels * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)
