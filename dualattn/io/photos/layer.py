"""The colour of a photograph alone, as a layer that image editors lay over the scan: Lab for 'Color', or RGBA."""

import os
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from dualattn.io.files import write_whole
from dualattn.io.photos import color_profile
from dualattn.io.photos.photo import Photo

LAYERS = ('lab', 'rgba')
LIGHTNESS = 50  # of the layer; the editor takes that of the scan below it
_CIELAB = 8


def write_layer(photo: Photo, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Write the colours of a photograph at one lightness as a 16-bit Lab TIFF (D50), to be laid on top as 'Color'.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: it cannot be written.
    """
    rgb = photo.rgb if photo.bit_depth == 16 else photo.rgb.astype(np.uint16) * 257
    lab = np.empty(rgb.shape, np.int16)
    rows = max(1, color_profile.BAND_PIXELS // rgb.shape[1])
    for top in range(0, len(rgb), rows):
        band = imagecodecs.cms_transform(
            np.ascontiguousarray(rgb[top : top + rows]),
            color_profile.srgb_profile(),
            color_profile.lab_profile(),
            colorspace='rgb',
            outcolorspace='lab',
            outdtype=np.float32,
            intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        )
        lab[top : top + rows] = np.rint(band.reshape(-1, rgb.shape[1], 3) * 256).clip(-32768, 32767)
    stored = lab.view(np.uint16)
    stored[..., 0] = round(LIGHTNESS / 100 * 65535)
    with write_whole(Path(path), overwrite) as aside:
        tifffile.imwrite(aside, stored, photometric=_CIELAB, compression='deflate', predictor=True, metadata=None)


def subtract(colored: Photo, scan: Photo) -> Photo:
    """Return what has to be laid over a scan, in the mode 'Normal', to make it the photograph in colour.

    Of all colours k and opacities a with a k + (1 - a) scan = colored in each channel, those with the least a: where
    there is no colour the layer is transparent.

    Args:
        colored: the photograph in colour, at 16 bits.
        scan: of the same size.

    Returns:
        The layer, 16 bits, with alpha.
    """
    full = 65535.0
    height, width = colored.pixels.shape[:2]
    pixels: np.ndarray = np.empty((height, width, 3), np.uint16)
    alpha: np.ndarray = np.empty((height, width), np.uint16)
    scale = np.float32(full / np.iinfo(scan.pixels.dtype).max)
    rows = max(1, color_profile.BAND_PIXELS // width)
    below, above = scan.rgb, colored.rgb
    for top in range(0, height, rows):
        base = below[top : top + rows].astype(np.float32) * scale
        change = above[top : top + rows].astype(np.float32) - base
        room = np.maximum(np.where(change > 0, full - base, base), 1)
        # rounded up, so that no colour lies beyond the range
        opacity = np.ceil((np.abs(change) / room).max(axis=-1) * full).clip(0, full)
        alpha[top : top + rows] = opacity
        color = base + change * np.expand_dims(full / np.maximum(opacity, 1), -1)
        pixels[top : top + rows] = np.rint(color).clip(0, full)
    return Photo(pixels, alpha, icc_profile=color_profile.srgb_profile(), dpi=scan.dpi)
