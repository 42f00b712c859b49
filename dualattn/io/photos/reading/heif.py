"""HEIC and its relatives by pi-heif, where that is installed: 8 bits, and 10 and 12 bits at 16."""

import io
from importlib.util import find_spec

import numpy as np

from dualattn.io.photos import color_profile, metadata, xmp
from dualattn.io.photos.color_profile import ProfileError
from dualattn.io.photos.photo import ImageError
from dualattn.io.photos.reading import cut
from dualattn.io.photos.reading.pillow import MEDIA_PIXELS
from dualattn.io.photos.reading.source import Decoded, Source, divide_alpha


def decode(source: Source) -> Decoded:
    """Decode the primary image of a HEIF file.

    Raises:
        ImageError: pi-heif is not installed, or the colours are none that sRGB can show.
    """
    if find_spec('pi_heif') is None:
        raise ImageError('an HEIC photograph; it is read where pi-heif is installed: pip install pi-heif')
    import pi_heif

    data = source.read()
    data = cut.mend(source, data, cut.find_cut_box(data), MEDIA_PIXELS)
    heif = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    source.check_size(*heif.size)
    profile, stated = heif.info.get('icc_profile'), heif.info.get('nclx_profile')
    if not profile and stated:
        try:
            profile = color_profile.code_point_profile(
                int(stated['color_primaries']), int(stated['transfer_characteristics'])
            )
        except ProfileError as error:
            raise ImageError(str(error)) from error
    mode, _, deep = heif.mode.partition(';')
    # a copy, since the library's own memory goes with its image, without what its rows are padded with
    samples = np.array(heif)[:, : heif.size[0]]
    if samples.shape[1::-1] != heif.size or samples.dtype != (np.uint16 if deep or mode == 'I' else np.uint8):
        raise ImageError(f'an HEIC photograph of kind {heif.mode} as {samples.shape}, which is not supported')
    alpha = None
    if mode in ('RGBA', 'RGBa', 'LA', 'La'):
        samples, alpha = samples[..., :-1], samples[..., -1].copy()
        samples = samples[..., 0] if samples.shape[-1] == 1 else samples
    pixels = np.ascontiguousarray(samples)
    if alpha is not None and mode in ('RGBa', 'La'):
        pixels = divide_alpha(pixels, alpha)
    # libheif has turned it upright already, so what EXIF says of that no longer holds
    block = heif.info.get('exif')
    _, exif = metadata.keep_exif(lambda: metadata.load_exif(block), source.path) if block else (1, None)
    return Decoded(
        pixels,
        'GRAY' if pixels.ndim == 2 else 'RGB',
        alpha,
        profile or None,
        1,
        exif,
        metadata.dpi_of_exif(exif, 1),
        xmp=xmp.upright(heif.info.get('xmp')),
    )
