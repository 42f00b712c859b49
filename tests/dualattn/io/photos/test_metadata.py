"""What a file says beside its pixels, from each format to each."""

import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from dualattn.io.photos import ImageError, Photo, read_photo, write_photo
from dualattn.io.photos.metadata import load_exif

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
# smooth, so that lossy formats come close
SMOOTH = np.dstack([*np.meshgrid(np.linspace(30, 220, 40), np.linspace(60, 180, 24)), np.full((24, 40), 120.0)])
SMOOTH = SMOOTH.round().astype(np.uint8)


@pytest.mark.parametrize('source', ['jpg', 'tif', 'png'])
@pytest.mark.parametrize('target', ['jpg', 'tif', 'png', 'webp', 'png16', 'tif16'])
def test_exif_survives_without_what_is_no_longer_true(tmp_path, source, target):
    exif = Image.Exif()
    exif[271], exif[274], exif[306] = 'Zeiss Ikon', 6, '1950:06:01 12:00:00'
    details = exif.get_ifd(0x8769)
    details[0x9003], details[0xA002], details[0x829A] = '1950:06:01 12:00:00', 40, TiffImagePlugin.IFDRational(1, 125)
    details[0x927C] = b'maker note with offsets'
    exif.get_ifd(0x8825)[1] = 'N'
    Image.fromarray(SMOOTH).save(tmp_path / f'a.{source}', exif=exif.tobytes())  # bytes: TIFF else lacks the details
    photo = read_photo(tmp_path / f'a.{source}')
    if target.endswith('16'):
        photo = Photo(photo.pixels.astype(np.uint16) * 257, exif=photo.exif)
    write_photo(photo, tmp_path / f'b.{target[:3] if target != "webp" else target}')
    (written,) = tmp_path.glob('b.*')
    with Image.open(written) as image:
        found = image.getexif()
        assert (found[271], found[306], found.get(274, 1)) == ('Zeiss Ikon', '1950:06:01 12:00:00', 1)
        inner = found.get_ifd(0x8769)
        assert inner[0x9003] == '1950:06:01 12:00:00' and float(inner[0x829A]) == pytest.approx(1 / 125)
        assert 0x927C not in inner and inner.get(0xA002, image.width) == image.width
        assert found.get_ifd(0x8825)[1] == 'N'
        image.load()
    # reading our own file gives the same pixels, so no tag of the source has come into a place where it hurts
    if target not in ('jpg', 'webp'):
        np.testing.assert_array_equal(read_photo(written).pixels, photo.pixels)


DETAILS = {  # of EXIF's own directory: type and bytes
    0x9003: (2, b'1932:05:01 12:00:00\0'),
    0x9101: (7, b'\1\2\3\0'),
    0x9286: (7, b'UNICODE\0\xd6\0l\0'),
    0xA300: (7, b'\2'),
    0xA434: (2, 'Tessar für Öl\0'.encode()),
}
TEXTS = {
    0x10E: (2, 'Großmutter in Łódź, «1932»\0'.encode()),
    0x13B: (2, 'Künstler\0'.encode('latin-1')),
    0x8298: (2, 'Müller\0Archiv é\0'.encode()),
}


def exif_block(order):
    """Write the entries as EXIF has them (TIFF 6.0, section 2), with nothing of Pillow's in it."""

    def directory(entries, at):
        head, tail = struct.pack(f'{order}H', len(entries)), b''
        end = at + 2 + 12 * len(entries) + 4
        for tag, (kind, value) in sorted(entries.items()):
            head += struct.pack(f'{order}HHI', tag, kind, len(value) // {2: 1, 7: 1, 4: 4}[kind])
            head += value.ljust(4, b'\0') if len(value) <= 4 else struct.pack(f'{order}I', end + len(tail))
            tail += value + bytes(len(value) % 2) if len(value) > 4 else b''
        return head + bytes(4) + tail

    size = len(directory(TEXTS | {0x8769: (4, bytes(4))}, 8))
    first = directory(TEXTS | {0x8769: (4, struct.pack(f'{order}I', 8 + size))}, 8)
    start = {'<': b'II', '>': b'MM'}[order] + struct.pack(f'{order}HI', 42, 8)
    return b'Exif\0\0' + start + first + directory(DETAILS, 8 + size)


def entries_of(block):
    """Read all entries back: type and bytes by tag."""
    order, found = {b'II': '<', b'MM': '>'}[block[:2]], {}

    def walk(at):
        for index in range(*struct.unpack_from(f'{order}H', block, at)):
            tag, kind, count = struct.unpack_from(f'{order}HHI', block, at + 2 + 12 * index)
            (value,) = struct.unpack_from(f'{order}I', block, at + 10 + 12 * index)
            if tag == 0x8769:
                walk(value)
            elif kind in (1, 2, 7):
                start = at + 10 + 12 * index if count <= 4 else value
                found[tag] = kind, block[start : start + count]

    walk(struct.unpack_from(f'{order}I', block, 4)[0])
    return found


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('source', ['jpg', 'png', 'webp'])
@pytest.mark.parametrize('target', ['jpg', 'tif', 'png', 'webp', 'png16', 'tif16'])
def test_texts_and_types_of_exif_survive_byte_for_byte(tmp_path, order, source, target):
    Image.fromarray(SMOOTH).save(tmp_path / f'a.{source}', exif=exif_block(order))
    photo = read_photo(tmp_path / f'a.{source}')
    if target.endswith('16'):
        photo = Photo(photo.pixels.astype(np.uint16) * 257, exif=photo.exif, dpi=(300, 300))
    written = tmp_path / f'b.{target.removesuffix("16")}'
    write_photo(photo, written)
    with Image.open(written) as image:
        block = written.read_bytes() if image.format == 'TIFF' else image.info['exif'].removeprefix(b'Exif\0\0')
    found = entries_of(block)
    assert {tag: found.get(tag) for tag in TEXTS | DETAILS} == TEXTS | DETAILS


@pytest.mark.parametrize('orientation', [1, 6])
def test_texts_of_an_avif_that_turns_itself(tmp_path, orientation):
    block = exif_block('>')
    Image.fromarray(SMOOTH).save(tmp_path / 'a.avif', exif=block)
    data = (tmp_path / 'a.avif').read_bytes()
    if orientation != 1:  # EXIF says 6, the file itself nothing, and that holds
        entry = struct.pack('>HHII', 0x10E, *struct.unpack_from('>HII', block, block.index(b'\x01\x0e') + 2))
        assert entry in data
        turned = block.replace(entry, struct.pack('>HHIHH', 0x112, 3, 1, orientation, 0), 1)
        data = data.replace(block[6:], turned[6:])
    (tmp_path / 'a.avif').write_bytes(data)
    photo = read_photo(tmp_path / 'a.avif')
    assert photo.pixels.shape == SMOOTH.shape
    write_photo(photo, tmp_path / 'b.tif')
    found = entries_of((tmp_path / 'b.tif').read_bytes())
    assert found[0x8298] == TEXTS[0x8298] and found[0x9286] == DETAILS[0x9286]


def test_broken_exif_does_not_cost_the_photograph(tmp_path, caplog):
    Image.fromarray(RGB).save(tmp_path / 'a.png', exif=b'Exif\0\0garbage that is no directory')
    photo = read_photo(tmp_path / 'a.png')
    np.testing.assert_array_equal(photo.pixels, RGB)
    assert photo.exif is None and 'broken EXIF' in caplog.text


def test_exif_too_large_for_jpeg_is_left_out_with_a_warning(tmp_path, caplog):
    exif = Image.Exif()
    exif[270] = 'x' * 70_000
    write_photo(Photo(RGB, exif=exif.tobytes()), tmp_path / 'a.jpg')
    assert 'do not fit' in caplog.text
    assert len(Image.open(tmp_path / 'a.jpg').getexif()) == 0


@pytest.mark.parametrize('source', ['jpg', 'tif', 'png', 'bmp'])
@pytest.mark.parametrize('target', ['jpg', 'tif', 'png', 'webp', 'png16', 'tif16'])
def test_resolution_survives(tmp_path, source, target):
    Image.fromarray(SMOOTH).save(tmp_path / f'a.{source}', dpi=(1200, 600))
    photo = read_photo(tmp_path / f'a.{source}')
    assert photo.dpi == pytest.approx((1200, 600), abs=0.1)
    if target.endswith('16'):
        photo = Photo(photo.pixels.astype(np.uint16) * 257, exif=photo.exif, dpi=photo.dpi)
    written = tmp_path / f'b.{target.removesuffix("16")}'
    write_photo(photo, written)
    assert read_photo(written).dpi == pytest.approx((1200, 600), abs=0.1)
    with Image.open(written) as image:
        tags = image.getexif()
        found = image.info['dpi'] if target != 'webp' else (tags[282], tags[283])
        assert [float(value) for value in found] == pytest.approx([1200, 600], abs=0.1)


@pytest.mark.parametrize('suffix', ['jpg', 'tif'])
def test_resolution_turns_with_the_photograph(tmp_path, suffix):
    exif = Image.Exif()
    exif[274], exif[282], exif[283], exif[296] = 6, 300.0, 150.0, 3  # per centimetre
    Image.fromarray(SMOOTH).save(tmp_path / f'a.{suffix}', exif=exif)
    assert read_photo(tmp_path / f'a.{suffix}').dpi == pytest.approx((381, 762))


@pytest.mark.parametrize('suffix', ['jpg', 'tif', 'png', 'bmp', 'webp'])
def test_no_resolution_is_made_up(tmp_path, suffix):
    exif = Image.Exif()
    exif[271] = 'Zeiss Ikon'
    options = {'bmp': dict(dpi=(0, 0))}.get(suffix, dict(exif=exif))
    Image.fromarray(SMOOTH).save(tmp_path / f'a.{suffix}', **options)
    assert read_photo(tmp_path / f'a.{suffix}').dpi is None


@pytest.mark.parametrize('target', ['jpg', 'tif', 'png', 'webp', 'png16', 'tif16'])
def test_descriptions_and_xmp_survive_and_ask_for_no_rotation(tmp_path, target):
    exif = Image.Exif()
    exif[0x9C9B], exif[0x9C9C], exif[0x4746] = 'Käthe'.encode('utf-16-le'), 'am Meer'.encode('utf-16-le'), 4
    xmp = b'<x:xmpmeta><d tiff:Orientation="6" dc:title="Oma"/></x:xmpmeta>'
    Image.fromarray(SMOOTH).save(tmp_path / 'a.jpg', exif=exif, xmp=xmp)
    photo = read_photo(tmp_path / 'a.jpg')
    assert photo.pixels.shape == (40, 24, 3)  # XMP may be what tells the orientation
    if target.endswith('16'):
        photo = Photo(photo.pixels.astype(np.uint16) * 257, exif=photo.exif, xmp=photo.xmp)
    written = tmp_path / f'b.{target.removesuffix("16")}'
    write_photo(photo, written)
    again = read_photo(written)
    assert again.pixels.shape == (40, 24, 3) and again.xmp == xmp.replace(b'="6"', b'="1"')
    found = load_exif(again.exif)
    assert bytes(found[0x9C9B]).decode('utf-16-le') == 'Käthe'
    assert bytes(found[0x9C9C]).decode('utf-16-le') == 'am Meer' and found[0x4746] == 4


@pytest.mark.parametrize('bits', [8, 16])
def test_texts_of_a_png_survive_and_elsewhere_are_missed(tmp_path, bits, caplog):
    texts = PngImagePlugin.PngInfo()
    texts.add_text('Title', 'Großmutter')
    texts.add_itxt('Description', '祖母', 'ja', 'Description')
    texts.add_text('Comment', 'am Meer')
    Image.fromarray(RGB).save(tmp_path / 'a.png', pnginfo=texts)
    photo = read_photo(tmp_path / 'a.png')
    expected = {'Title': 'Großmutter', 'Description': '祖母', 'Comment': 'am Meer'}
    assert photo.text == expected
    if bits == 16:
        photo = Photo(photo.pixels.astype(np.uint16) * 257, text=photo.text)
    write_photo(photo, tmp_path / 'b.png')
    assert read_photo(tmp_path / 'b.png').text == expected and not caplog.records
    write_photo(photo, tmp_path / 'b.jpg')
    assert read_photo(tmp_path / 'b.jpg').text == {'Comment': 'am Meer'}
    assert 'left out: Description, Title;' in caplog.text


def test_comment_of_a_jpeg_survives(tmp_path, caplog):
    Image.fromarray(SMOOTH).save(tmp_path / 'a.jpg', comment='Käthe, 1950')
    photo = read_photo(tmp_path / 'a.jpg')
    for name in ('b.jpg', 'b.png'):
        write_photo(photo, tmp_path / name)
        assert read_photo(tmp_path / name).text == {'Comment': 'Käthe, 1950'}
    with Image.open(tmp_path / 'b.jpg') as image:
        assert image.info['comment'] == 'Käthe, 1950'.encode()
    Image.fromarray(SMOOTH).save(tmp_path / 'c.jpg', comment='Käthe'.encode('latin-1'))
    assert read_photo(tmp_path / 'c.jpg').text == {'Comment': 'Käthe'}
    assert not caplog.records
    write_photo(photo, tmp_path / 'b.tif')
    assert 'TIFF holds no text chunks, left out: Comment' in caplog.text


def test_exif_data_that_are_none_are_an_error_with_the_name(tmp_path):
    with pytest.raises(ImageError, match=r'a\.jpg: cannot be written as JPEG'):
        write_photo(Photo(RGB, exif=b'none at all'), tmp_path / 'a.jpg')


PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"%s dc:source="Oma">%s</rdf:Description>'
    b'</rdf:RDF></x:xmpmeta>'
)


def test_xmp_that_imagemagick_hides_in_a_text(tmp_path):
    chunks = PngImagePlugin.PngInfo()
    packet = PACKET % (b'', b'')
    chunks.add_text('Raw profile type xmp', f'\nxmp\n{len(packet):8}\n{packet.hex()}\n', zip=True)
    chunks.add_text('Title', 'Oma')
    Image.fromarray(RGB).save(tmp_path / 'a.png', pnginfo=chunks)
    photo = read_photo(tmp_path / 'a.png')
    assert photo.xmp == packet and photo.text == {'Title': 'Oma'}


@pytest.mark.parametrize('as_attribute', [False, True])
def test_xmp_that_goes_on_in_further_segments_is_said(tmp_path, as_attribute, caplog):
    """A first packet that names others which are no longer there would be wrong."""
    space, name = b' xmlns:xmpNote="http://ns.adobe.com/xmp/note/"', b'xmpNote:HasExtendedXMP'
    attribute, element = b' %s="%s"' % (name, b'A' * 32), b'<%s>%s</%s>' % (name, b'A' * 32, name)
    parts = (space + attribute, b'') if as_attribute else (space, element)
    Image.fromarray(RGB).save(tmp_path / 'a.jpg', xmp=PACKET % parts)
    data = (tmp_path / 'a.jpg').read_bytes()
    further = b'http://ns.adobe.com/xmp/extension/\0' + b'A' * 32 + struct.pack('>II', 5, 0) + b'<rdf>'
    segment = b'\xff\xe1' + struct.pack('>H', 2 + len(further)) + further
    at = data.index(b'\xff\xdb')
    (tmp_path / 'a.jpg').write_bytes(data[:at] + segment + data[at:])
    assert read_photo(tmp_path / 'a.jpg').xmp == PACKET % (space, b'')
    assert 'behind its first packet are left out' in caplog.text
