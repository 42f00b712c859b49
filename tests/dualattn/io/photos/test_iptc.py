"""IPTC records and XMP: byte for byte through every format, and what they say, as exiftool has it where it is there."""

import json
import shutil
import struct
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from dualattn.io.photos import Photo, iptc, read_photo, write_photo, xmp

PIXELS = np.full((10, 14, 3), 120, np.uint8)


def record(number, value, section=2):
    return struct.pack('>BBBH', 0x1C, section, number, len(value)) + value


RECORDS = (
    record(90, b'\x1b%G', 1)
    + record(0, b'\0\4')
    + record(5, 'Großmutter'.encode())
    + record(120, 'Am Meer & <Düne>'.encode())
    + b''.join(record(25, word) for word in (b'sea', b'summer', b'1950'))
    + record(80, 'Käthe'.encode())
    + record(110, b'Archive of the town')
    + record(55, b'19500612')
    + record(60, b'120000+0100')
    + record(101, b'Deutschland')
)
MEANINGS = {
    'Title': 'Großmutter',
    'Description': 'Am Meer & <Düne>',
    'Subject': ['sea', 'summer', 1950],
    'Creator': 'Käthe',
    'Credit': 'Archive of the town',
    'DateCreated': '1950:06:12 12:00:00+01:00',
    'Country': 'Deutschland',
}


def source(path, kind):
    """Write a photograph with the records as others write it."""
    image = Image.fromarray(PIXELS)
    if kind == 'jpg':
        image.save(path, 'JPEG', quality=95)
        data = path.read_bytes()
        other = b'8BIM' + struct.pack('>HHI', 0x03ED, 0, 3) + b'abc\0'  # another resource before them
        body = b'Photoshop 3.0\0' + other + iptc.resources(RECORDS)
        path.write_bytes(data[:2] + b'\xff\xed' + struct.pack('>H', len(body) + 2) + body + data[2:])
        return
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if kind == 'tif-resources':
        tags[34377] = iptc.resources(RECORDS)
    elif kind == 'tif-words':
        padded = RECORDS + bytes(-len(RECORDS) % 4)
        words = struct.unpack(f'<{len(padded) // 4}I', padded)
        tag = (33723, 'I', len(words), words, True)
        tifffile.imwrite(path, PIXELS, photometric='rgb', metadata=None, extratags=[tag])
        return
    else:
        tags.tagtype[33723] = 7
        tags[33723] = RECORDS
    image.save(path, 'TIFF', tiffinfo=tags)


@pytest.mark.parametrize('kind', ['jpg', 'tif', 'tif-words', 'tif-resources'])
@pytest.mark.parametrize('target', ['jpg', 'tif', 'png', 'png16', 'webp'])
def test_records_survive(tmp_path, kind, target, caplog):
    source(tmp_path / 'a', kind)
    photo = read_photo(tmp_path / 'a')
    assert photo.iptc.rstrip(b'\0') == RECORDS.rstrip(b'\0')
    if target == 'png16':
        photo = Photo(photo.rgb.astype(np.uint16) * 257, xmp=photo.xmp, iptc=photo.iptc)
    out = tmp_path / f'b.{target.removesuffix("16")}'
    write_photo(photo, out)
    again = read_photo(out)
    if target == 'webp':
        assert again.iptc is None and 'holds no IPTC records' in caplog.text
    else:
        assert again.iptc == photo.iptc
    assert b'Archive of the town' in again.xmp
    if shutil.which('exiftool') is None:
        return
    done = subprocess.run(['exiftool', '-j', '-XMP:all', str(out)], capture_output=True, check=True)
    (said,) = json.loads(done.stdout)
    assert {name: said.get(name) for name in MEANINGS} == MEANINGS
    if target != 'webp':
        done = subprocess.run(['exiftool', '-b', '-IPTC', str(out)], capture_output=True, check=True)
        assert done.stdout.rstrip(b'\0') == RECORDS.rstrip(b'\0')


def test_what_the_xmp_says_itself_stays():
    packet = xmp.add(None, {'photoshop:Credit': 'somebody else'})
    merged = xmp.add(packet, iptc.properties(RECORDS))
    assert merged.count(b'photoshop:Credit>') == 2 and b'somebody else' in merged and b'Deutschland' in merged
    replaced = xmp.add(merged, {'photoshop:Credit': 'me'}, replace=True)
    assert b'somebody else' not in replaced and b'>me<' in replaced


@pytest.mark.parametrize('text', ['Käthe', 'K\xe4the'])
def test_character_sets(text):
    stated, latin = record(90, b'\x1b%G', 1) + record(80, text.encode()), record(80, text.encode('latin-1'))
    assert iptc.parse(stated)[80] == iptc.parse(latin)[80] == ['Käthe']


@pytest.mark.parametrize('data', [b'', b'\x1c', RECORDS[:40], b'\x1c\2\x78\xff\xff', b'8BIM\4\4\0\0\xff\xff\xff\xff'])
def test_cut_records_are_no_error(data):
    assert iptc.properties(data).items() <= iptc.properties(RECORDS).items()  # what stands before the cut, unchanged
    assert iptc.of_resources(data) is None


def test_records_larger_than_a_segment(tmp_path):
    long = RECORDS + b''.join(record(120, bytes(30_000)) for _ in range(4))
    write_photo(Photo(PIXELS, iptc=long), tmp_path / 'a.jpg')
    assert read_photo(tmp_path / 'a.jpg').iptc == long


@pytest.mark.parametrize('size', [100, 70_000, 300_000])
@pytest.mark.parametrize('has_records', [False, True])
def test_what_was_added_fits_into_a_jpeg_whatever_the_packet_holds(tmp_path, size, has_records, caplog):
    history = b'<rdf:li>saved</rdf:li>' * (size // 22)
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:y="urn:y"><y:History><rdf:Seq>' + history + b'</rdf:Seq></y:History>'
        b'</rdf:Description></rdf:RDF></x:xmpmeta>'
    )
    packet = xmp.add(packet, {'xmp:CreatorTool': 'dualattn'}, replace=True)
    records = struct.pack('>BBBH', 0x1C, 2, 120, 3) + b'Oma' if has_records else None
    photo = Photo(np.zeros((8, 8, 3), np.uint8), xmp=packet, iptc=records)
    write_photo(photo, tmp_path / 'a.jpg')
    found = read_photo(tmp_path / 'a.jpg')
    assert b'<xmp:CreatorTool>dualattn</xmp:CreatorTool>' in found.xmp and (b'>Oma<' in found.xmp) == has_records
    ElementTree.fromstring(found.xmp)
    assert (b'History' in found.xmp) == (size == 100) == ('do not fit' not in caplog.text)
