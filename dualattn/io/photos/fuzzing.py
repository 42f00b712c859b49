"""Damaged photographs by the thousand, to see that the reader refuses them or reads them, and nothing else.

Small files of every format that can be written here are mutated, with fixed seeds, and read in processes that may die.
"""

import base64
import io
import random
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from dualattn.io.photos.workers import ReadingPool

MAX_PIXELS = 1_000_000  # so that a header that lies is refused
SECONDS = 120.0  # for a file of a few kilobytes, the start of its process included, on a machine that is busy
_SAMPLE = 100  # files between two looks at the memory
# the picture of `make_seeds` by pillow-heif 1.8 (x265), since nothing that may be required here writes HEIC
_HEIC = base64.b64decode(
    'AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAA'
    'AERAAAEAAQAAAAABoAABAAAAAAAAAH4AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAAAADc'
    'aXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAA'
    'AwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFw'
    'AAAAIAAAAAEAAAAYAAAAAf///+AAAAAC////2AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAhm1kYXQAAAB6'
    'KAGvCchrLzI9+GIiHrr71EZW1PNwbN6uCOsEGYAlCCjBchw+OszX280cGoXxbQdPRlKjl/ru2SDW0JDABceEGX/GCnvw8xPZ9mEMFuHDOsv0P9C3'
    'Gaw88cRoPxf08U7BnEmD//3NBHNeF/jzG9UUoO/oysxjYDjVP8A='
)


@dataclass
class Report:
    """What came of reading damaged files.

    Attributes:
        total: how many were read.
        decoded: how many gave a photograph all the same.
        reasons: why the others did not, the first words of each, with their number.
        faults: seed and reason of those that ended or hung a process: there must be none.
        peak_bytes: the most memory that a process which reads ever held; 0 where the system does not tell.
    """

    total: int = 0
    decoded: int = 0
    reasons: Counter = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)
    peak_bytes: int = 0


def make_seeds() -> dict[str, bytes]:
    """Return small whole photographs by name, of every format and layout that can be read here."""
    y, x = np.mgrid[:24, :32]
    rgb = np.stack([4 * x + y, 6 * y + x, 128 + 2 * x - 3 * y], axis=-1).clip(0, 255).astype(np.uint8)
    deep, gray = rgb.astype(np.uint16) * 257, np.ascontiguousarray(rgb[..., 0])
    alpha = np.dstack([rgb, gray])
    exif = Image.Exif()
    exif[271], exif[274], exif[306] = 'Zeiss Ikon', 6, '1950:06:01 12:00:00'
    seeds: dict[str, bytes] = {}

    def save(name: str, image: Image.Image, kind: str, **options) -> None:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        seeds[name] = buffer.getvalue()

    for name, pixels in (('gray', gray), ('rgb', rgb), ('rgba', alpha)):
        image = Image.fromarray(pixels)
        save(f'png-{name}', image, 'PNG', exif=exif, dpi=(300, 300))
        save(
            f'webp-{name}',
            image.convert('RGBA' if name == 'rgba' else 'RGB'),
            'WEBP',
            lossless=name != 'rgb',
            exif=exif,
        )
        if name != 'rgba':
            save(f'jpeg-{name}', image, 'JPEG', exif=exif, comment=b'Oma')
            save(f'jpeg-progressive-{name}', image, 'JPEG', progressive=True)
            save(f'bmp-{name}', image, 'BMP')
        save(f'jp2-{name}', image, 'JPEG2000')
    picture = Image.fromarray(rgb)
    save('jpeg-cmyk', picture.convert('CMYK'), 'JPEG')
    save('gif', picture.convert('P'), 'GIF', save_all=True, append_images=[picture.convert('P')], transparency=0)
    save('png-palette', picture.convert('P'), 'PNG', transparency=1)
    save('apng', picture, 'PNG', save_all=True, append_images=[Image.fromarray(rgb[::-1].copy())])
    save('avif', picture, 'AVIF')
    save('tiff-group4', picture.convert('1'), 'TIFF', compression='group4')
    seeds['png-16'] = bytes(imagecodecs.png_encode(deep))
    seeds['jpeg-12'] = bytes(imagecodecs.jpeg8_encode(deep >> 4, bitspersample=12))
    seeds['jpeg-lossless'] = bytes(imagecodecs.jpeg8_encode(deep, lossless=True, bitspersample=16))
    seeds['jp2-16'] = bytes(imagecodecs.jpeg2k_encode(deep, level=0))
    seeds['avif-10'] = bytes(imagecodecs.avif_encode(deep >> 6, bitspersample=10))
    seeds['ppm'] = b'P6 32 24 255\n' + rgb.tobytes()
    seeds['pgm-16'] = b'P5 32 24 65535\n' + deep[..., 0].astype('>u2').tobytes()
    seeds['pbm'] = b'P4 32 24\n' + np.packbits(gray > 90, axis=1).tobytes()
    if imagecodecs.JPEGXL.available:
        seeds['jxl-rgb'] = bytes(imagecodecs.jpegxl_encode(rgb))
        seeds['jxl-alpha-16'] = bytes(imagecodecs.jpegxl_encode(np.dstack([deep, deep[..., :1]]), usecontainer=True))
        seeds['jxl-loss'] = bytes(imagecodecs.jpegxl_encode(rgb, level=90))
        seeds['jxl-jpeg'] = bytes(imagecodecs.jpegxl_encode_jpeg(seeds['jpeg-rgb'], usecontainer=True))
    lab = np.dstack([gray, rgb[..., 1:] // 4])
    kinds: dict[str, tuple[np.ndarray, dict]] = {
        'lab': (lab, dict(photometric=8)),
        'cmyk-planar-16': (np.moveaxis(np.dstack([deep, deep[..., 0]]), -1, 0), dict(photometric='separated')),
        '12': (deep[..., 0] >> 4, dict(photometric='minisblack', bitspersample=12)),
        'palette': (gray >> 2, dict(photometric='palette', colormap=np.repeat(np.arange(256)[None] * 257, 3, axis=0))),
    }
    for name, (pixels, options) in kinds.items():
        buffer = io.BytesIO()
        if 'planar' in name:
            options['planarconfig'] = 'separate'
        tifffile.imwrite(buffer, pixels.astype(pixels.dtype), metadata=None, **options)
        seeds[f'tiff-{name}'] = buffer.getvalue()
    layouts: dict[str, dict] = {
        'plain': {},
        'planar': dict(planarconfig='separate'),
        'tiled': dict(tile=(16, 16), compression='deflate', predictor=True),
        'lzw': dict(compression='lzw', rowsperstrip=5),
        'big': dict(bigtiff=True, byteorder='>'),
        'jpeg': dict(compression='jpeg'),
    }
    for name, options in layouts.items():
        for bits, pixels in cast(tuple[tuple[int, np.ndarray], ...], ((8, rgb), (16, deep))):
            if name == 'jpeg' and bits == 16:
                continue
            buffer = io.BytesIO()
            stored = np.moveaxis(pixels, -1, 0) if name == 'planar' else pixels
            tifffile.imwrite(buffer, stored, photometric='rgb', metadata=None, **options)
            seeds[f'tiff-{name}-{bits}'] = buffer.getvalue()
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(rgb[::2, ::2], photometric='rgb', subfiletype=1, subifds=1, metadata=None)
        file.write(rgb, photometric='rgb', metadata=None)
    seeds['tiff-subifd'] = buffer.getvalue()
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, rgb, photometric='ycbcr', metadata=None)
    seeds['tiff-ycbcr'] = buffer.getvalue()
    if find_spec('rawpy') is not None:
        seeds['dng'] = _make_dng(deep)
    if find_spec('pi_heif') is not None:
        seeds['heic'] = _HEIC
    return seeds


def _make_dng(rgb: np.ndarray) -> bytes:
    """Return a DNG of an RGGB sensor that sees (H, W, 3) uint16."""
    mosaic = rgb[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = rgb[::2, ::2, 0], rgb[1::2, 1::2, 2]
    camera = [
        (50706, 'B', 4, (1, 4, 0, 0), True),
        (50708, 's', 0, 'Zeiss Ikon', True),
        (50721, '2i', 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (33421, 'H', 2, (2, 2), True),
        (33422, 'B', 4, (0, 1, 1, 2), True),
    ]
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, mosaic, photometric='cfa', extratags=camera, metadata=None)
    return buffer.getvalue()


def mutate(data: bytes, rng: random.Random, other: bytes = b'') -> bytes:
    """Return data with one to three damages: flipped bits, overwritten, cut, doubled, moved, spliced or zeroed parts.

    Half of them strike the first 256 bytes, where the headers are. The checksums of a PNG are set right again half of
    the time: else no damage would get behind them.
    """
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if len(out) < 16:
            break
        at = rng.randrange(min(len(out), 256) if rng.random() < 0.5 else len(out))
        length = rng.choice((1, 1, 2, 4, 16, 64))
        kind = rng.choice(
            ('flip', 'flip', 'flip', 'byte', 'byte', 'number', 'cut', 'drop', 'double', 'move', 'splice', 'zero')
        )
        if kind == 'flip':
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 'byte':
            out[at] = rng.randrange(256)
        elif kind == 'number':
            value = rng.choice((0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)))
            out[at : at + 4] = struct.pack(rng.choice('<>') + 'I', value)
        elif kind == 'cut':
            del out[max(16, len(out) - rng.randrange(1, len(out))) :]
        elif kind == 'drop':
            del out[at : at + length]
        elif kind == 'double':
            out[at:at] = out[at : at + length]
        elif kind == 'move':
            part = out[at : at + length]
            del out[at : at + length]
            to = rng.randrange(len(out) + 1)
            out[to:to] = part
        elif kind == 'splice':  # a part of another file, of its own length
            start = rng.randrange(len(other)) if other else 0
            out[at : at + length] = other[start : start + length]
        else:
            out[at : at + length] = bytes(len(out[at : at + length]))
    if out.startswith(b'\x89PNG') and rng.random() < 0.5:
        _set_checksums(out)
    return bytes(out)


def _set_checksums(data: bytearray) -> None:
    at = 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from('>I', data, at)
        if at + 12 + size > len(data):
            return
        struct.pack_into('>I', data, at + 8 + size, zlib.crc32(data[at + 4 : at + 8 + size]))
        at += 12 + size


def make_file(seed: int, seeds: dict[str, bytes]) -> tuple[str, bytes]:
    """Return the name of the photograph that a damaged file was made of, and the file: the same for the same seed."""
    rng = random.Random(seed)
    name = sorted(seeds)[seed % len(seeds)]
    return name, mutate(seeds[name], rng, seeds[rng.choice(sorted(seeds))])


def fuzz(count: int, first: int = 0, processes: int = 2, allow_truncated: bool = False) -> Report:
    """Read damaged files; see `Report` for what comes of them.

    Args:
        count: how many.
        first: seed of the first one; each has the next.
        processes: that read.
        allow_truncated: as for `read_photo`.
    """
    seeds, report = make_seeds(), Report()
    options = dict(max_pixels=MAX_PIXELS, allow_truncated=allow_truncated)
    with tempfile.TemporaryDirectory() as folder, ReadingPool(processes, SECONDS) as pool:

        def requests() -> Iterator[tuple[Path, dict]]:
            for seed in range(first, first + count):
                path = Path(folder, f'{seed % (4 * processes)}.jpg')  # a few names, used again when their file is read
                path.write_bytes(make_file(seed, seeds)[1])
                yield path, options

        for seed, reading in enumerate(pool.read(requests()), start=first):
            report.total += 1
            report.decoded += reading.photo is not None
            faulty = 'has crashed' in reading.reason or 'has not been read within' in reading.reason
            if faulty:
                report.faults.append((seed, f'{make_file(seed, seeds)[0]}: {reading.reason}'))
            if report.total % _SAMPLE == 0:
                report.peak_bytes = max(report.peak_bytes, pool.peak_bytes())
            if not faulty and reading.photo is None:
                report.reasons[reading.reason.partition(': cannot be read: ')[2][:60]] += 1
    return report
