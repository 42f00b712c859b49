"""What the pictures of a film are: size, depth, range, matrix; what can be coloured, and as what it is written."""

import re
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

__all__ = ['FilmError', 'Format', 'describe_format', 'show_time']

# frame formats whose first plane is the luma, one sample after the other, lowest bits used
_PLANAR = re.compile(r'(?:gray|yuvj?4(?:20|22|44|40|11|10)p)(?:(?:9|10|12|14|16)le)?|nv12|nv21|nv16')
# ITU-T H.273, table 4: shares of red and blue in the luma
_MATRICES = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
}
_OTHER_MATRICES = {8: 'YCgCo', 10: 'BT.2020 of constant luminance', 11: 'SMPTE 2085', 14: 'ICtCp', 15: 'IPT-C2'}
_UNKNOWN_MATRIX = 2
_RGB_MATRIX = 0
_HDR_CURVES = {16: 'PQ (SMPTE 2084)', 18: 'HLG (ARIB STD-B67)'}
_FULL_RANGE = 2
HD_HEIGHT = 720  # lines from which a film that names no matrix is taken for BT.709, as players do


class FilmError(ValueError):
    """A film that cannot be coloured; the message says why and what to do."""


@dataclass(frozen=True)
class Format:
    """The pictures of a film.

    Attributes:
        width: in pixels.
        height: in pixels.
        source: PyAV's name of the frames' format, as decoded.
        planar: the format in which the luma is read; another than `source` where that packs its samples.
        bits: of a sample.
        is_full: samples use all numbers (0 to 255), not the limited range (16 to 235).
        was_rgb: the film has no luma of its own; it is made by BT.709, at full range.
        weights: shares of red, green and blue in the luma.
        chroma: subsampling of the output, '420', '422' or '444'.
        color_range: as the film is marked (ITU-T H.273), and so the output.
        colorspace: the mark of the matrix.
        color_trc: the mark of the transfer curve.
        color_primaries: the mark of the primaries.
    """

    width: int
    height: int
    source: str
    planar: str
    bits: int
    is_full: bool
    was_rgb: bool
    weights: tuple[float, float, float]
    chroma: str
    color_range: int
    colorspace: int
    color_trc: int
    color_primaries: int

    @property
    def dtype(self) -> np.dtype:
        """Type of a sample."""
        return np.dtype(np.uint8 if self.bits == 8 else '<u2')

    @property
    def black(self) -> int:
        """Luma of black."""
        return 0 if self.is_full else 16 << (self.bits - 8)

    @property
    def luma_levels(self) -> int:
        """How many steps white is above black."""
        return (1 << self.bits) - 1 if self.is_full else 219 << (self.bits - 8)

    @property
    def chroma_levels(self) -> int:
        """How many steps a Cb of 0.5 is above one of -0.5."""
        return (1 << self.bits) - 1 if self.is_full else 224 << (self.bits - 8)

    @property
    def chroma_step(self) -> tuple[int, int]:
        """Luma samples per sample of chroma in the output, down and across."""
        return {'420': (2, 2), '422': (1, 2), '444': (1, 1)}[self.chroma]

    @property
    def output(self) -> str:
        """PyAV's name of the output's frame format."""
        return f'yuv{self.chroma}p' + (f'{self.bits}le' if self.bits > 8 else '')


def show_time(seconds: float | Fraction) -> str:
    """Return a place in a film as hours, minutes and seconds."""
    whole = float(seconds)
    return f'{int(whole // 3600)}:{int(whole % 3600 // 60):02}:{whole % 60:06.3f}'


def describe_format(frame: av.VideoFrame, even_sizes: bool) -> Format:
    """Describe the film of which a frame is one.

    Args:
        frame: as decoded.
        even_sizes: the encoder takes subsampled chroma for sides alone that it divides; for others the chroma is finer.

    Raises:
        FilmError: it is HDR, or its matrix or its depth cannot be handled.
    """
    if frame.color_trc in _HDR_CURVES:
        raise FilmError(
            f'this film is HDR, {_HDR_CURVES[frame.color_trc]}; its luma is none that the network knows. '
            'Make an SDR copy first, for example by the filters zscale and tonemap of ffmpeg'
        )
    name = frame.format.name
    planar, bits, subsampling, was_rgb = _find_planar(frame.format)
    space = frame.colorspace
    if was_rgb or space == _RGB_MATRIX:
        space = 1  # the conversion below names BT.709
    if space in _OTHER_MATRICES:
        raise FilmError(
            f'the matrix {_OTHER_MATRICES[space]} has no luma of BT.601, BT.709 or BT.2020; convert it first'
        )
    if space not in _MATRICES and space != _UNKNOWN_MATRIX:
        raise FilmError(f'the matrix number {space} of ITU-T H.273 is not known here; convert the film first')
    guess = 1 if frame.height >= HD_HEIGHT else 5
    red, blue = _MATRICES[guess if space == _UNKNOWN_MATRIX else space]
    # gray without a mark is taken for full range by the library, as its JPEG-like formats are
    unmarked_full = frame.color_range == 0 and (name.startswith(('gray', 'yuvj', 'mono')))
    is_full = frame.color_range == _FULL_RANGE or unmarked_full or was_rgb
    down, across = subsampling
    if even_sizes:
        down = down if frame.height % 2 == 0 else 1
        across = across if frame.width % 2 == 0 else 1
    chroma = '444' if across == 1 else '422' if down == 1 else '420'
    return Format(
        frame.width, frame.height, name, planar, bits, is_full, was_rgb, (red, 1 - red - blue, blue), chroma,
        _FULL_RANGE if is_full else frame.color_range, space, frame.color_trc, frame.color_primaries,
    )  # fmt: skip


def _find_planar(pixels: av.VideoFormat) -> tuple[str, int, tuple[int, int], bool]:
    """Return the format in which luma is read, its depth, its chroma's subsampling (down, across), if it was RGB."""
    name = pixels.name
    bits = max(component.bits for component in pixels.components)
    if name.startswith(('mono', 'gray')):
        known = bits if _PLANAR.fullmatch(name) else 8 if bits <= 8 else 16
        return (name if _PLANAR.fullmatch(name) else 'gray' if known == 8 else f'gray{known}le'), known, (2, 2), False
    if not name.startswith(('yuv', 'nv', 'p0', 'p2', 'p4', 'y2', 'uyv', 'yvy', 'ayuv', 'vuy', 'uyy', 'xv')):
        depth = 8 if bits <= 8 else 10 if bits <= 10 else 12 if bits <= 12 else 16
        return 'yuv444p' + (f'{depth}le' if depth > 8 else ''), depth, (1, 1), True
    chroma = av.VideoFormat(name, 64, 64).components[1]
    down, across = min(2, 64 // chroma.height), min(2, 64 // chroma.width)
    if across == 1:
        down = 1  # '440', which few programs play
    if _PLANAR.fullmatch(name):
        return name, bits, (down, across), False
    layout = '444' if across == 1 else '422' if down == 1 else '420'
    return f'yuv{layout}p' + (f'{bits}le' if bits > 8 else ''), bits, (down, across), False
