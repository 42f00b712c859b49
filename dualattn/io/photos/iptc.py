"""IPTC-IIM records, an archive's captions, keywords and credits: found in each format, kept byte for byte, said in XMP.

JPEG and TIFF hold them as they are, PNG as a text that ImageMagick and exiftool know; the mapping to XMP is that of the
IPTC Photo Metadata Standard 2023.1 for IIM.
"""

import binascii
import struct
import zlib
from xml.sax.saxutils import escape

RESOURCE = 0x0404  # of Photoshop's image resources
_HEAD = b'Photoshop 3.0\0'  # of a segment of a JPEG
PNG_TEXT = 'Raw profile type iptc'
_MAX_BYTES = 4 << 20
_UTF8 = b'\x1b%G'  # ISO 2022, in record 1:90

# by data set of record 2: property, namespace prefix and form
_SINGLE = {
    10: ('photoshop:Urgency', 'text'),
    15: ('photoshop:Category', 'text'),
    40: ('photoshop:Instructions', 'text'),
    55: ('photoshop:DateCreated', 'date'),
    85: ('photoshop:AuthorsPosition', 'text'),
    90: ('photoshop:City', 'text'),
    92: ('Iptc4xmpCore:Location', 'text'),
    95: ('photoshop:State', 'text'),
    100: ('Iptc4xmpCore:CountryCode', 'text'),
    101: ('photoshop:Country', 'text'),
    103: ('photoshop:TransmissionReference', 'text'),
    105: ('photoshop:Headline', 'text'),
    110: ('photoshop:Credit', 'text'),
    115: ('photoshop:Source', 'text'),
    5: ('dc:title', 'alt'),
    116: ('dc:rights', 'alt'),
    120: ('dc:description', 'alt'),
}
_REPEATED = {
    20: ('photoshop:SupplementalCategories', 'Bag'),
    25: ('dc:subject', 'Bag'),
    80: ('dc:creator', 'Seq'),
    122: ('photoshop:CaptionWriter', 'text'),
}


def of_resources(data: bytes | None) -> bytes | None:
    """Return the records inside Photoshop's image resources ('8BIM' blocks), or None."""
    at = 0
    while data and data[at : at + 4] == b'8BIM' and at + 12 <= len(data):
        (number,) = struct.unpack_from('>H', data, at + 4)
        name = 1 + data[at + 6]
        start = at + 6 + name + name % 2
        if start + 4 > len(data):
            return None
        (size,) = struct.unpack_from('>I', data, start)
        if number == RESOURCE:
            return data[start + 4 : start + 4 + size] or None
        at = start + 4 + size + size % 2
    return None


def of_jpeg(segments: list[bytes]) -> bytes | None:
    """Return the records in the APP13 segments of a JPEG, with their markers; long ones go on from one to the next."""
    bodies = [segment[4:] for segment in segments if segment.startswith(b'\xff\xed')]
    return of_resources(b''.join(body[len(_HEAD) :] for body in bodies if body.startswith(_HEAD)))


def of_tiff(value: object, resources: object, byte_order: str) -> bytes | None:
    """Return the records of a TIFF: its own tag, bytes or (as Photoshop writes it) 32-bit words, or its resources."""
    if isinstance(value, tuple) and all(isinstance(item, int) and 0 <= item < 1 << 32 for item in value):
        value = struct.pack(f'{byte_order}{len(value)}I', *value)
    elif isinstance(value, int):
        value = struct.pack(f'{byte_order}I', value & 0xFFFFFFFF)
    if isinstance(value, bytes) and value:
        return value[:_MAX_BYTES]
    return of_resources(resources) if isinstance(resources, bytes) else None


def of_png(text: dict[str, str]) -> bytes | None:
    """Return the records of a PNG: a hidden text of records or of resources."""
    data = unhide(text.get(PNG_TEXT) or text.get('Raw profile type 8bim'))
    return of_resources(data) if data is not None and data.startswith(b'8BIM') else data


def unhide(raw: str | None) -> bytes | None:
    """Return what ImageMagick hides in a text of a PNG as a name, a length and hexadecimal digits; None for nothing."""
    parts = str(raw or '').split(None, 2)
    try:
        return binascii.unhexlify(''.join(parts[2].split())) or None
    except (IndexError, binascii.Error):
        return None


def resources(records: bytes) -> bytes:
    """Return Photoshop's image resources with these records alone."""
    return b'8BIM' + struct.pack('>HHI', RESOURCE, 0, len(records)) + records + bytes(len(records) % 2)


def jpeg_segments(records: bytes) -> bytes:
    """Return the APP13 segments that hold records in a JPEG; more than fit into one go on in the next."""
    data, out = resources(records), b''
    step = 65_533 - len(_HEAD)
    for at in range(0, len(data), step):
        part = _HEAD + data[at : at + step]
        out += b'\xff\xed' + struct.pack('>H', len(part) + 2) + part
    return out


def png_chunk(records: bytes) -> bytes:
    """Return the body of the zTXt chunk that holds records in a PNG."""
    digits = binascii.hexlify(resources(records)).decode()
    lines = '\n'.join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return PNG_TEXT.encode() + b'\0\0' + zlib.compress(f'\niptc\n{len(digits) // 2:8}\n{lines}\n'.encode())


def parse(records: bytes) -> dict[int, list[str]]:
    """Return, by data set of record 2, the values; text in the character set that record 1 states.

    A record that is cut ends the list: what stands before it counts.
    """
    found: dict[int, list[bytes]] = {}
    is_utf8, at = False, 0
    while at + 5 <= len(records) and records[at] == 0x1C:
        record, number, size = struct.unpack_from('>BBH', records, at + 1)
        at += 5
        if size & 0x8000:  # an extended data set: the length of its length
            count = size & 0x7FFF
            if count > 4 or at + count > len(records):
                break
            size, at = int.from_bytes(records[at : at + count], 'big'), at + count
        value = records[at : at + size]
        if len(value) < size:
            break
        at += size
        if (record, number) == (1, 90):
            is_utf8 = _UTF8 in value
        elif record == 2:
            found.setdefault(number, []).append(value)
    return {number: [_text(value, is_utf8) for value in values] for number, values in found.items()}


def _text(value: bytes, is_utf8: bool) -> str:
    try:
        return value.decode('utf-8' if is_utf8 else 'ascii')
    except UnicodeDecodeError:
        pass
    try:  # many writers forget to state it
        return value.decode('utf-8')
    except UnicodeDecodeError:
        return value.decode('latin-1')


def properties(records: bytes) -> dict[str, str]:
    """Return, by name, what the records say as the XML of XMP properties."""
    found = parse(records)
    out = {}
    for number, (name, form) in _SINGLE.items():
        value = _clean(found.get(number, [''])[0])
        if form == 'date':
            value = _date(value, _clean(found.get(60, [''])[0]))
        if value and form == 'alt':
            out[name] = f'<rdf:Alt><rdf:li xml:lang="x-default">{escape(value)}</rdf:li></rdf:Alt>'
        elif value:
            out[name] = escape(value)
    for number, (name, form) in _REPEATED.items():
        values = [escape(value) for value in map(_clean, found.get(number, [])) if value]
        if values and form == 'text':
            out[name] = values[0]
        elif values:
            out[name] = f'<rdf:{form}>{"".join(f"<rdf:li>{value}</rdf:li>" for value in values)}</rdf:{form}>'
    return out


def _clean(value: str) -> str:
    """Return a value without characters that XML does not allow."""
    return ''.join(c for c in value if c in '\t\n\r' or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE).strip()


def _date(date: str, time: str) -> str:
    """Return CCYYMMDD and HHMMSS+HHMM as XMP has them; parts that are 0 are not known and left out."""
    if len(date) != 8 or not date.isdigit() or date[:4] == '0000':
        return ''
    parts = [date[:4], date[4:6], date[6:]]
    known = parts[: 1 if parts[1] == '00' else 2 if parts[2] == '00' else 3]
    if len(known) == 3 and len(time) == 11 and time[:6].isdigit() and time[6] in '+-' and time[7:].isdigit():
        return f'{"-".join(known)}T{time[:2]}:{time[2:4]}:{time[4:6]}{time[6:9]}:{time[9:]}'
    return '-'.join(known)
