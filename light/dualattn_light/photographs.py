"""Photographs from files and to files, by Pillow."""

from __future__ import annotations

import io
import logging
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

__all__ = ['FORMATS', 'Photograph', 'PhotographError', 'read_photograph', 'write_photograph']

logger = logging.getLogger(__name__)

# what is written, by suffix; with the options that the whole of dualattn uses
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    '.png': ('PNG', {}),
    '.jpg': ('JPEG', dict(quality=95, subsampling=0)),
    '.jpeg': ('JPEG', dict(quality=95, subsampling=0)),
    '.webp': ('WEBP', dict(quality=95)),
    '.tif': ('TIFF', {}),
    '.tiff': ('TIFF', {}),
}
MAX_PIXELS = 100_000_000
_ORIENTATION = 0x0112


class PhotographError(ValueError):
    """A file that is no photograph that can be read; the message names it and says why."""


@dataclass(frozen=True)
class Photograph:
    """An upright photograph in sRGB.

    Attributes:
        pixels: gray (H, W) or (H, W, 3) uint8.
        alpha: (H, W) uint8, None where the file has none.
        kept: options for writing: resolution and EXIF.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    kept: dict[str, Any] = field(default_factory=dict)


def read_photograph(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Photograph:
    """Read a file, turn it upright as its EXIF says, and bring its colours to sRGB; 16 bits become 8.

    Raises:
        FileNotFoundError: there is no such file.
        PhotographError: it is no photograph, broken, or larger than `max_pixels`.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > max_pixels:  # before anything is unpacked
                raise PhotographError(f'{path}: has {width} x {height} pixels; at most {max_pixels:,} are read')
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _convert(upright, image.info.get('icc_profile'), path)
    except (FileNotFoundError, PhotographError):
        raise
    except UnidentifiedImageError as error:
        raise PhotographError(f'{path}: is no photograph that Pillow reads') from error
    except Image.DecompressionBombError as error:
        raise PhotographError(f'{path}: {error}') from error
    # Pillow's decoders raise these for broken files, and so does numpy for what they make of them
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, ArithmeticError, LookupError) as error:
        raise PhotographError(f'{path}: cannot be read: {error}') from error


def _convert(image: Image.Image, profile: bytes | None, path: str | os.PathLike) -> Photograph:
    exif = image.getexif()
    exif.pop(_ORIENTATION, None)
    kept: dict[str, Any] = {'exif': exif.tobytes()} if len(exif) else {}
    if 'dpi' in image.info:
        kept['dpi'] = tuple(float(value) for value in image.info['dpi'])
    alpha = None
    if 'A' in image.getbands() or 'transparency' in image.info:
        is_gray = image.mode in ('L', 'LA', 'La', '1')
        image = image.convert('RGBA')
        alpha = np.asarray(image.getchannel('A'))
        image = image.convert('RGB').convert('L') if is_gray else image.convert('RGB')
    if image.mode.startswith(('I', 'F')):
        levels = np.asarray(image, np.float64)
        if image.mode == 'F' or levels.min() < 0 or levels.max() > 65535:
            raise PhotographError(f'{path}: has numbers that are no levels of 16 bits')
        return Photograph(np.round(levels / 257).astype(np.uint8), alpha, kept)
    if profile:
        image = _bring_to_srgb(image, profile, path)
    image = image.convert('L' if image.mode in ('1', 'L') else 'RGB')
    return Photograph(np.asarray(image), alpha, kept)


def _bring_to_srgb(image: Image.Image, profile: bytes, path: str | os.PathLike) -> Image.Image:
    mode = 'L' if image.mode == '1' else image.mode
    try:
        return ImageCms.profileToProfile(
            image.convert(mode),
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile('sRGB'),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode='RGB',
        )
    except (ImageCms.PyCMSError, OSError) as error:  # broken, or for another kind of pixels
        logger.warning('%s: its colour profile cannot be used, it is read as sRGB: %s', path, error)
        return image


def write_photograph(
    path: str | os.PathLike, pixels: np.ndarray, source: Photograph | None = None, overwrite: bool = False
) -> None:
    """Write pixels (H, W, 3) uint8 in the format of the suffix, whole or not at all.

    Args:
        path: has one of the suffixes of `FORMATS`.
        pixels: of the picture.
        source: gives transparency, resolution and EXIF.
        overwrite: replace a file that exists.

    Raises:
        ValueError: there is no such format.
        FileExistsError: the file exists and `overwrite` is False.
        OSError: it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f'{path}: is written as {", ".join(FORMATS)}, got the suffix {path.suffix!r}')
    if path.exists() and not overwrite:
        raise FileExistsError(f'{path} exists; use --overwrite to replace it')
    name, options = FORMATS[path.suffix.lower()]
    image = Image.fromarray(pixels)
    if source is not None:
        options = {**options, **source.kept}
        if source.alpha is not None and name != 'JPEG':
            image.putalpha(Image.fromarray(source.alpha))
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix='.', suffix=f'.part{path.suffix}', delete=False) as aside:
        try:
            image.save(aside, format=name, **options)
            aside.flush()
            os.fsync(aside.fileno())
            aside.close()
            os.chmod(aside.name, 0o666 & ~_read_umask())
            os.replace(aside.name, path)
        except BaseException:
            aside.close()
            Path(aside.name).unlink(missing_ok=True)
            raise


def _read_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
