"""TIFF: the photograph among the pages, in any layout that tifffile decodes; what it would get wrong is refused."""

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from dualattn.io.photos import color_profile, iptc, metadata, xmp
from dualattn.io.photos.photo import ImageError
from dualattn.io.photos.reading import bigtiff, raw
from dualattn.io.photos.reading.source import Decoded, Source, divide_alpha, scale_bits

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, SEPARATED, YCBCR = range(7)
CIELAB, ICCLAB, CFA, LINEAR_RAW = 8, 9, 32803, 34892
_SPACES = {WHITE_IS_ZERO: 'GRAY', BLACK_IS_ZERO: 'GRAY', RGB: 'RGB', YCBCR: 'RGB', SEPARATED: 'CMYK'}
_CHANNELS = {'GRAY': 1, 'RGB': 3, 'CMYK': 4, 'LAB': 3, 'PALETTE': 1}
# tags (TIFF 6.0; the last three by ICC.1 and Adobe's notes)
_SUBFILE, _OLD_SUBFILE, _BITS, _EXTRA, _FORMAT, _ORIENTATION = 254, 255, 258, 338, 339, 274
_WHITE, _COLOR_MAP, _INK_SET, _ICC, _XMP, _RESOURCES = 318, 320, 332, 34675, 700, 34377
# the tags that the pixels hang on, and the bytes of TIFF's types
_STORAGE_TAGS = {*range(256, 285), 317, 320, *range(322, 326), 338, 339, 347, 530}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MAX_PAGES = 10_000
_MAX_CHANNELS = 16
_JPEG = (6, 7, 34892, 33007)
_OLD_JPEG = 6
# A page with so much of the pixels of the largest one is no thumbnail of it: pages of a document differ a little.
_FULL_RESOLUTION = 0.8


@dataclass(frozen=True)
class Page:
    """A directory of the file and what it says of itself.

    Attributes:
        tiff: tifffile's page.
        index: position in the main chain, -1 for a SubIFD.
        parent: the page that a SubIFD belongs to.
    """

    tiff: tifffile.TiffPage
    index: int
    parent: 'Page | None' = None

    @property
    def pixels(self) -> int:
        """Pixels of the image; 0 for a directory without one."""
        return int(self.tiff.imagewidth) * int(self.tiff.imagelength)

    @property
    def is_reduced(self) -> bool:
        """Tell whether it says that it is a smaller copy of another image, or the mask of one."""
        kind = int(self.tag(_SUBFILE, 0))
        return bool(kind & 0b101) or int(self.tag(_OLD_SUBFILE, 1)) == 2 or self.tiff.photometric == MASK

    @property
    def is_raw(self) -> bool:
        """Tell whether it holds what a camera's sensor saw, not yet a picture."""
        return int(self.tiff.photometric) in (CFA, LINEAR_RAW)

    def tag(self, code: int, default):
        """Return the value of a tag of this page."""
        found = self.tiff.tags.get(code)
        return default if found is None else found.value

    def own_or_parents(self, code: int, default):
        """Return the value of a tag of this page, or of the one that it is a SubIFD of."""
        found = self.tag(code, None)
        if found is None and self.parent is not None:
            return self.parent.tag(code, default)
        return default if found is None else found


@contextmanager
def _opened(source: Source) -> Iterator[list[Page]]:
    """Open the file and list its directories, SubIFDs behind the page that they belong to."""
    logger = logging.getLogger('tifffile')
    was_disabled, logger.disabled = logger.disabled, True  # its remarks on broken tags have no name of a file
    try:
        source.file.seek(0)
        with tifffile.TiffFile(source.file, _multifile=False) as file:
            yield list(_walk(file, source))
    finally:
        logger.disabled = was_disabled


def _walk(file: tifffile.TiffFile, source: Source) -> Iterator[Page]:
    seen = set()
    for index in range(_MAX_PAGES):
        try:
            tiff = cast(tifffile.TiffPage, file.pages[index])  # frames come only where they are asked for
        except IndexError:
            return
        except tifffile.TiffFileError as error:
            if index == 0:
                raise
            _refuse_broken_chain(source, f'page {index + 1} is damaged ({error})')
            return
        if tiff.offset in seen:
            return  # a circle
        seen.add(tiff.offset)
        page = Page(tiff, index)
        yield page
        yield from _walk_sub(page, seen, depth=0)
        layout = file.tiff
        end = tiff.offset + layout.tagnosize + len(tiff.tags) * layout.tagsize + layout.offsetsize
        if end > source.size:
            _refuse_broken_chain(source, 'the end of its last directory is missing')
            return


def _refuse_broken_chain(source: Source, reason: str) -> None:
    """Refuse a file that may hold a further page, which may be the photograph; say it where that is allowed."""
    if not source.allow_truncated:
        raise ImageError(f'the file is truncated or damaged: {reason}; --allow-truncated takes what is there')
    source.warn('damaged: %s', reason)


def _walk_sub(page: Page, seen: set[int], depth: int) -> Iterator[Page]:
    if not page.tiff.subifds or page.tiff.pages is None or depth > 3:
        return
    for tiff in cast(list[tifffile.TiffPage], page.tiff.pages[:100]):
        if tiff.offset not in seen:
            seen.add(tiff.offset)
            sub = Page(tiff, -1, page)
            yield sub
            yield from _walk_sub(sub, seen, depth + 1)


def _photographs(pages: list[Page]) -> list[Page]:
    """Return the pages at full resolution: no thumbnails, masks or previews, stated or evident."""
    full = [page for page in pages if page.pixels and not page.is_reduced]
    full = full or [page for page in pages if page.pixels and page.tiff.photometric != MASK]
    largest = max((page.pixels for page in full), default=0)
    return [page for page in full if page.pixels >= _FULL_RESOLUTION * largest]


def count_pages(source: Source) -> int:
    """Return how many photographs a TIFF holds at full resolution."""
    with _opened(source) as pages:
        return len(_photographs(pages))


def decode(source: Source) -> Decoded:
    """Decode the photograph of a TIFF, DNG included; `Source.page` counts those at full resolution.

    Raises:
        ImageError: a kind that cannot be read right; the message says which and what to do.
    """
    try:
        with _opened(source) as pages:
            if any(page.is_raw for page in _photographs(pages)):
                return raw.decode(source)
            page = _choose(pages, source)
            source.check_size(page.tiff.imagewidth, page.tiff.imagelength)
            return _decode(page, source)
    except tifffile.TiffFileError as error:
        raise ImageError(f'a TIFF without an intact directory ({error})') from error


def _choose(pages: list[Page], source: Source) -> Page:
    photographs = _photographs(pages)
    if not photographs:
        raise ImageError('a TIFF without an intact directory: no page has an image; it may be cut off')
    if source.page is None:
        if len(photographs) > 1:
            source.warn('%d frames or pages, the first one is used', len(photographs))
        return photographs[0]
    if not 1 <= source.page <= len(photographs):
        raise ImageError(f'page {source.page} of {len(photographs)}')
    return photographs[source.page - 1]


def _decode(page: Page, source: Source) -> Decoded:
    tiff, photometric = page.tiff, int(page.tiff.photometric)
    if cut := _cut_tags(page, source):
        names = ', '.join(map(str, cut))
        raise ImageError(f'the file is truncated: its tags {names}, which say how the image is stored, are missing')
    bits = _check(page)
    if photometric == YCBCR and (tiff.compression not in _JPEG or tiff.compression == _OLD_JPEG):
        samples, bits = _decode_by_libtiff(page, source), 8
    else:
        samples = _samples(page, source)
    space = {PALETTE: 'PALETTE', CIELAB: 'LAB', ICCLAB: 'LAB'}.get(photometric) or _SPACES[photometric]
    channels = _CHANNELS[space]
    alpha = _alpha(page, samples, channels, bits, source)
    samples = samples[..., 0] if channels == 1 else samples[..., :channels]
    profile = page.own_or_parents(_ICC, None)
    if space == 'PALETTE':
        pixels, space = _colors_of_indices(page, samples), 'RGB'
        alpha = None if alpha is None else alpha if alpha.dtype == np.uint8 else (alpha >> 8).astype(np.uint8)
    elif space == 'LAB':
        pixels = color_profile.adapt_lab(_lab(samples, bits, photometric), _white_point(page))
        alpha = None if alpha is None else alpha if alpha.dtype == np.uint16 else alpha.astype(np.uint16) * 257
    else:
        pixels = scale_bits(samples, bits)
        if photometric == WHITE_IS_ZERO:
            pixels = np.iinfo(pixels.dtype).max - pixels
    if alpha is not None and _extra_samples(page)[:1] == (1,) and space != 'LAB':
        pixels = divide_alpha(pixels, alpha)
    orientation = page.own_or_parents(_ORIENTATION, 1)
    found = _metadata(page, source)
    return Decoded(
        np.ascontiguousarray(pixels),
        space,
        alpha,
        bytes(profile) if isinstance(profile, bytes) else None,
        orientation if orientation in range(1, 9) else 1,
        **found,
    )


def _cut_tags(page: Page, source: Source) -> list[int]:
    """Return the tags that say how the image is stored and whose values lie behind the end of the file."""
    layout, size = page.tiff.parent.tiff, source.size
    head = '<' if page.tiff.parent.byteorder == '<' else '>'
    entry = head + ('HHQ' if page.tiff.parent.is_bigtiff else 'HHI')
    inline = layout.offsetsize
    source.file.seek(page.tiff.offset)
    raw = source.file.read(layout.tagnosize)
    count = int.from_bytes(raw, 'little' if head == '<' else 'big')
    raw = source.file.read(count * layout.tagsize)
    found = []
    for at in range(0, len(raw) - layout.tagsize + 1, layout.tagsize):
        code, kind, number = struct.unpack_from(entry, raw, at)
        length = _TYPE_BYTES.get(kind, 1) * number
        if length > inline and code in _STORAGE_TAGS:
            (offset,) = struct.unpack_from(head + ('Q' if inline == 8 else 'I'), raw, at + layout.tagsize - inline)
            found += [code] if offset + length > size else []
    return found


def _check(page: Page) -> int:
    """Refuse what would be read wrongly; return the bits per sample."""
    tiff, photometric = page.tiff, int(page.tiff.photometric)
    channels = tiff.samplesperpixel
    bits = page.tag(_BITS, 1)
    bits = bits if isinstance(bits, tuple) else (bits,)
    kinds = page.tag(_FORMAT, 1)
    kind = kinds[0] if isinstance(kinds, tuple) else kinds
    what = f'a TIFF with {channels} channel{"s" if channels > 1 else ""} of {bits[0]} bits'
    advice = 'save it as 8-bit or 16-bit RGB or gray, unsigned'
    if len(set(bits)) > 1:
        raise ImageError(f'{what}, other channels of {sorted(set(bits))}, which is not supported; {advice}')
    if kind in (2, 3, 5, 6):
        name = {2: 'signed', 3: 'floating-point'}.get(kind, 'complex')
        raise ImageError(f'{bits[0]}-bit {name} samples have no stated black and white; {advice}')
    if not 1 <= bits[0] <= 16:
        raise ImageError(f'{what}, which is not supported; {advice}')
    if photometric not in (*_SPACES, PALETTE, CIELAB, ICCLAB):
        raise ImageError(f'a TIFF of photometric kind {photometric}, which is not supported; {advice}')
    if photometric == SEPARATED and (channels < 4 or page.tag(_INK_SET, 1) != 1):
        raise ImageError('inks that are not cyan, magenta, yellow and black; save it as RGB')
    if photometric in (CIELAB, ICCLAB) and bits[0] not in (8, 16):
        raise ImageError(f'Lab of {bits[0]} bits; {advice}')
    if photometric == PALETTE and page.tag(_COLOR_MAP, None) is None:
        raise ImageError('a palette image without its palette')
    if tiff.imagedepth != 1 or channels > _MAX_CHANNELS:
        raise ImageError(f'{what} and a depth of {tiff.imagedepth}, which is not supported; {advice}')
    needed = _CHANNELS[{PALETTE: 'PALETTE', CIELAB: 'LAB', ICCLAB: 'LAB'}.get(photometric) or _SPACES[photometric]]
    if channels < needed:
        raise ImageError(f'{what}, where its colours need {needed}; {advice}')
    return bits[0]


def _samples(page: Page, source: Source) -> np.ndarray:
    """Return the samples as stored, (H, W, C)."""
    tiff = page.tiff
    missing = _missing_segments(page, source)
    if missing and not source.allow_truncated:
        raise ImageError(
            f'the file is truncated: {missing} of the {len(tiff.dataoffsets)} parts of the image lie behind its end; '
            '--allow-truncated takes what is there'
        )
    if source.allow_truncated:
        planes = _salvage(page, source)
    else:
        # one thread, since several photographs are read at a time
        planes = tiff.asarray(squeeze=False, maxworkers=1)
    # (planes, depth, H, W, channels of a plane) -> (H, W, C)
    return np.moveaxis(planes[:, 0, :, :, 0], 0, -1) if tiff.planarconfig == 2 else planes[0, 0]


def _missing_segments(page: Page, source: Source) -> int:
    """Return how many strips or tiles are not wholly in the file."""
    tiff, size = page.tiff, source.size
    expected = int(np.prod(tiff.chunked))
    inside = [
        count > 0 and offset > 0 and offset + count <= size
        for offset, count in zip(tiff.dataoffsets, tiff.databytecounts, strict=False)
    ]
    if len(tiff.dataoffsets) == 1 and expected > 1 and all(inside):
        return 0  # contiguous strips, which tifffile has joined
    return max(expected, len(inside)) - sum(inside)


def _salvage(page: Page, source: Source) -> np.ndarray:
    """Decode strip by strip; what is missing or broken stays black, and is said."""
    tiff = page.tiff
    if tiff.dtype is None:
        raise ImageError('the TIFF does not say of which kind its samples are')
    planes = np.zeros(tiff.shaped, tiff.dtype)
    # tifffile joins contiguous strips to one read, so that a cut one would cost the whole image
    if tiff.is_contiguous:
        source.file.seek(tiff.dataoffsets[0])
        raw = source.file.read(planes.nbytes)
        whole = len(raw) // tiff.dtype.itemsize
        stored = np.frombuffer(raw, tiff.dtype.newbyteorder(tiff.parent.byteorder), whole)
        planes.reshape(-1)[:whole] = stored
        lost = planes.nbytes - len(raw)
        if lost:
            source.warn('damaged: %d of %d bytes of the image are missing and stay black', lost, planes.nbytes)
        return planes
    lost = 0
    tables = tiff.jpegtables
    for index, (offset, count) in enumerate(zip(tiff.dataoffsets, tiff.databytecounts, strict=False)):
        source.file.seek(offset)
        data = source.file.read(count)
        keywords = {'jpegtables': tables, 'jpegheader': tiff.jpegheader} if tiff.compression in _JPEG else {}
        try:
            segment, (s, d, h, w, _), shape = tiff.decode(data, index, **keywords)
        except Exception:  # whatever a codec raises on a cut strip, the others are wanted
            lost += 1
            continue
        if segment is not None:
            part = segment[: tiff.imagedepth - d, : tiff.imagelength - h, : tiff.imagewidth - w]
            planes[s, d : d + part.shape[0], h : h + part.shape[1], w : w + part.shape[2]] = part
            lost += len(data) < count
    if lost:
        source.warn('damaged: %d of %d parts of the image are missing and stay black', lost, len(tiff.dataoffsets))
    return planes


def _decode_by_libtiff(page: Page, source: Source) -> np.ndarray:
    """Decode YCbCr outside of a JPEG, of which libtiff knows the subsampling and coefficients: (H, W, 3)."""
    if page.index < 0:
        raise ImageError('YCbCr colours in a SubIFD; save it as RGB')
    rgb = imagecodecs.tiff_decode(source.read(), page.index, asrgb=True)
    if rgb.shape[:2] != (page.tiff.imagelength, page.tiff.imagewidth) or rgb.dtype != np.uint8:
        raise ImageError(f'decoders disagree on the image: {page.tiff.shape} and {rgb.shape}')
    return rgb[..., :3]


def _extra_samples(page: Page) -> tuple[int, ...]:
    """Return what the channels beside the colours are: 0 unspecified, 1 multiplied alpha, 2 alpha."""
    value = page.tag(_EXTRA, ())
    return tuple(int(item) for item in (value if isinstance(value, tuple) else (value,)))


def _alpha(page: Page, samples: np.ndarray, channels: int, bits: int, source: Source) -> np.ndarray | None:
    """Return alpha (H, W), full range, from the first extra channel that is one; say which channels are left out."""
    count = samples.shape[-1] - channels
    if count <= 0:
        return None
    kinds = _extra_samples(page)
    if not kinds and count == 1:  # a writer that forgot the tag: nothing else is the fourth channel
        kinds = (2,)
    kinds = (*kinds, *(0,) * count)[:count]
    at = next((index for index, kind in enumerate(kinds) if kind in (1, 2)), None)
    left = count - (at is not None)
    if left:
        source.warn('%d channel%s beside the colours %s left out', left, *(('', 'is') if left == 1 else ('s', 'are')))
    return None if at is None else scale_bits(np.ascontiguousarray(samples[..., channels + at]), bits)


def _colors_of_indices(page: Page, indices: np.ndarray) -> np.ndarray:
    """Look indices up in the palette: (H, W, 3) uint8."""
    palette = np.asarray(page.tag(_COLOR_MAP, None), np.uint32).reshape(3, -1).T  # reds, greens, blues -> rows
    if palette.max() > 255:  # else a writer has taken the 16 bits of the standard for 8
        palette = palette >> 8
    if int(indices.max()) >= len(palette):
        raise ImageError(f'index {int(indices.max())} in a palette of {len(palette)} colours')
    return palette.astype(np.uint8)[indices]


def _lab(samples: np.ndarray, bits: int, photometric: int) -> np.ndarray:
    """Return L in [0, 100] and a, b as float32 (TIFF 6.0, section 23; ICCLab by Adobe's technical note)."""
    values = samples.astype(np.float32)
    step = 1.0 if bits == 8 else 256.0
    if photometric == CIELAB:  # a and b are signed
        l = values[..., 0] * (100 / (255 if bits == 8 else 65535))
        signed = np.ascontiguousarray(samples[..., 1:]).view(np.int8 if bits == 8 else np.int16)
        ab = signed.astype(np.float32) / step
    else:  # as in profiles of version 2: 65280 is white, 128 is neutral
        l = values[..., 0] * (100 / (255 if bits == 8 else 65280))
        ab = values[..., 1:] / step - 128
    return np.concatenate([l[..., None], ab], axis=-1).astype(np.float32)


def _white_point(page: Page) -> tuple[float, float] | None:
    """Return x and y of the white that the page states, or None."""
    value = page.own_or_parents(_WHITE, None)
    if not isinstance(value, tuple) or len(value) != 4 or 0 in value:
        return None
    return value[0] / value[1], value[2] / value[3]


def _metadata(page: Page, source: Source) -> dict:
    """Return EXIF entries, resolution, XMP and IPTC records of a page; a SubIFD has those of its parent."""
    owner = page if page.parent is None else page.parent
    file = page.tiff.parent
    orientation, exif = metadata.keep_exif(lambda: _load_entries(source, owner), source.path)
    dpi = metadata.dpi_of_exif(exif, orientation)
    packet = owner.tag(_XMP, None)
    return dict(
        exif=exif,
        dpi=dpi,
        xmp=xmp.upright(packet if isinstance(packet, bytes) else None),
        iptc=iptc.of_tiff(owner.tag(metadata.IPTC_TAG, None), owner.tag(_RESOURCES, None), file.byteorder),
    )


def _load_entries(source: Source, page: Page) -> Image.Exif:
    file, entries = page.tiff.parent, Image.Exif()
    if file.is_bigtiff and file.byteorder == '>':
        entries.load(bigtiff.exif_block(source.file, page.tiff.offset))
    else:
        entries.endian, entries.bigtiff = file.byteorder, file.is_bigtiff
        entries.load_from_fp(source.file, page.tiff.offset)
    return entries
