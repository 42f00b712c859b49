"""Formats told by their first bytes, never by a name."""

import struct

# camera raws that are no TIFF; the others are told from their directories
_RAW_SIGNATURES = (
    *(b'IIRO', b'IIRS', b'MMOR', b'IIU\0', b'FUJIFILMCCD-RAW', b'FOVb', b'\0MRM', b'ARRI'),
    *(b'II\x1a\0\0\0HEAPCCDR', b'HEAPCCDR', b'RIFF\0\0\0\0RMRC'),
)
_AVIF_BRANDS = {b'avif', b'avis'}
_HEIF_BRANDS = {b'heic', b'heix', b'hevc', b'hevx', b'heim', b'heis', b'hevm', b'hevs', b'mif1', b'msf1', b'mif2'}
# What is recognised and never read: a name says more than 'unknown'.
_NEVER = (
    (b'8BPS', 'a Photoshop document; save it as TIFF'),
    (b'gimp xcf', 'a GIMP document; export it as TIFF or PNG'),
    (b'v/1\x01', 'an OpenEXR file, whose light has no upper bound; save it as 16-bit TIFF'),
    (b'#?RADIANCE', 'a Radiance file, whose light has no upper bound; save it as 16-bit TIFF'),
    (b'SIMPLE  =', 'a FITS file; save it as 16-bit TIFF'),
    (b'DDS ', 'a DDS texture; save it as PNG'),
    (b'\x8aMNG', 'an MNG animation; save a frame as PNG'),
    (b'\x8bJNG', 'a JNG file; save it as PNG'),
    (b'II\xbc\x01', 'a JPEG XR file; save it as TIFF or PNG'),
)
HEADER_BYTES = 64
FORMATS = 'JPEG, PNG, TIFF, WebP, BMP, GIF, PNM, JPEG 2000, AVIF, HEIC, JPEG XL, DNG and camera raw'


def identify(header: bytes) -> str | None:
    """Return the name of the format that a file with these first `HEADER_BYTES` has, or None for an unknown one."""
    if header.startswith(b'\xff\xd8\xff'):
        return 'JPEG'
    if header.startswith(b'\x89PNG\r\n\x1a\n'):
        return 'PNG'
    if any(header.startswith(signature) for signature in _RAW_SIGNATURES) or header[8:12] == b'CR\2\0':
        return 'RAW'
    if header[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        return 'TIFF'
    if header[:4] == b'RIFF' and header[8:12] == b'WEBP':
        return 'WEBP'
    if header.startswith((b'GIF87a', b'GIF89a')):
        return 'GIF'
    if header.startswith((b'\0\0\0\x0cjP  \r\n\x87\n', b'\xff\x4f\xff\x51')):
        return 'JPEG2000'
    if header.startswith((b'\xff\x0a', b'\0\0\0\x0cJXL \r\n\x87\n')):
        return 'JPEGXL'
    if header[4:8] == b'ftyp':
        return _identify_media(header)
    if header[:2] in (b'P1', b'P2', b'P3', b'P4', b'P5', b'P6') and header[2:3] in (b' ', b'\t', b'\n', b'\r', b'#'):
        return 'PPM'
    if header.startswith(b'P7\n'):
        return 'PAM'
    if header.startswith(b'BM'):
        return 'BMP'
    return None


def describe_foreign(header: bytes) -> str | None:
    """Return what a file of a known format is that is never read, with what to do, or None."""
    return next((said for signature, said in _NEVER if header.startswith(signature)), None)


def _identify_media(header: bytes) -> str | None:
    """Tell AVIF, HEIF and Canon's raws apart, which share a container (ISO 14496-12), by their brands."""
    (size,) = struct.unpack('>I', header[:4])
    brands = {header[8:12]} | {header[at : at + 4] for at in range(16, min(size, len(header)), 4)}
    if b'crx ' in brands:
        return 'RAW'
    if header[8:12] in _AVIF_BRANDS or (brands & _AVIF_BRANDS and header[8:12] not in _HEIF_BRANDS - {b'mif1'}):
        return 'AVIF'
    return 'HEIF' if brands & _HEIF_BRANDS else None
