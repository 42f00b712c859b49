"""Files that are cut: refused with the true reason, salvaged on request, whole where the pixels are."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dualattn.io.photos import ImageError, read_photo
from dualattn.io.photos.fuzzing import make_seeds

Y, X = np.mgrid[:280, :300] / 300  # JPEG XL has parts of 256 x 256
RNG = np.random.default_rng(0)
SMOOTH = np.stack([0.5 + 0.4 * np.sin(5 * X + 3 * Y + phase) for phase in (0, 2, 4)], axis=-1)
RGB = (SMOOTH * 240 + RNG.integers(0, 12, SMOOTH.shape)).astype(np.uint8)
DEEP = RGB.astype(np.uint16) * 257


def by_pillow(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, kind, **options)
    return buffer.getvalue()


MADE = {
    'a.gif': by_pillow('GIF'),
    'a.bmp': by_pillow('BMP'),
    'a.webp': by_pillow('WEBP'),
    'lossless.webp': by_pillow('WEBP', lossless=True),
    'a.jp2': by_pillow('JPEG2000'),
    'tiles.jp2': by_pillow('JPEG2000', tile_size=(32, 32)),
    'deep.j2k': imagecodecs.jpeg2k_encode(DEEP, level=0, codecformat='j2k'),
    'a.avif': by_pillow('AVIF', quality=90),
    'deep.avif': imagecodecs.avif_encode(DEEP >> 6, bitspersample=10, level=90),
    'a.jxl': imagecodecs.jpegxl_encode(RGB, level=90),
    '12.jpg': imagecodecs.jpeg8_encode(DEEP >> 4, bitspersample=12),
    'lossless.jpg': imagecodecs.jpeg8_encode(DEEP, lossless=True, bitspersample=16),
}


def save(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize('kept', [0.6, 0.9])
@pytest.mark.parametrize('name', MADE)
def test_refused_and_salvaged_on_request(tmp_path, name, kept, caplog):
    data = MADE[name]
    whole = read_photo(save(tmp_path / name, data)).pixels.astype(float)
    path = save(tmp_path / f'cut {name}', data[: int(kept * len(data))])
    with pytest.raises(ImageError, match=rf'{name}: cannot be read: the file is truncated.*--allow-truncated'):
        read_photo(path)
    assert not caplog.records
    try:
        found = read_photo(path, allow_truncated=True).pixels
    except ImageError as error:
        assert name.endswith('avif') and 'is missing, and what is there cannot be decoded' in str(error).replace(
            'are', 'is'
        )
        return  # a decoder of AV1 may look at the last bits first
    assert 'damaged' in caplog.text and 'missing' in caplog.text
    full = np.iinfo(found.dtype).max
    error = np.abs(found - whole).max(axis=-1) / full
    assert found.shape == whole.shape and error.max() > 0.02  # something is missing
    # most formats go from the top to the bottom; JPEG 2000 goes from coarse to fine
    assert np.median(error) < 0.02 if 'j' not in name[-3:] or name.endswith('jpg') else np.median(error) < 0.2


@pytest.mark.parametrize('name', ['a.jp2', 'tiles.jp2', 'deep.j2k', '12.jpg', 'lossless.jpg'])
@pytest.mark.parametrize('count', [1, 2])
def test_an_end_marker_that_is_missing_is_nothing(tmp_path, name, count, caplog):
    whole = read_photo(save(tmp_path / name, MADE[name]))
    cut = read_photo(save(tmp_path / name, MADE[name][:-count]))
    np.testing.assert_array_equal(cut.pixels, whole.pixels)
    assert not caplog.records


def long_exif():
    exif = Image.Exif()
    exif[270] = 'Oma ' * 200
    return exif


@pytest.mark.parametrize('options', [{}, dict(lossless=True)])
@pytest.mark.parametrize('count', [1, 700])
def test_webp_that_is_cut_behind_its_pixels(tmp_path, options, count, caplog):
    data = by_pillow('WEBP', exif=long_exif(), **options)
    whole = read_photo(save(tmp_path / 'a.webp', data))
    cut = read_photo(save(tmp_path / 'a.webp', data[:-count]))
    np.testing.assert_array_equal(cut.pixels, whole.pixels)
    assert whole.exif and not cut.exif and "'EXIF', which is left out; its pixels are whole" in caplog.text


@pytest.mark.parametrize('count', [3, 700])
def test_boxes_that_are_cut_behind_the_pixels(tmp_path, count, caplog):
    packet = bytes.fromhex('be7acfcb97a942e89c71999491e3afac') + b'<x:xmpmeta>' + b'Oma ' * 200
    data = by_pillow('JPEG2000')
    at = data.index(b'jp2c') - 4
    data = data[:at] + struct.pack('>I', len(data) - at) + data[at + 4 :]
    data += struct.pack('>I', len(packet) + 8) + b'uuid' + packet
    assert read_photo(save(tmp_path / 'a.jp2', data)).xmp
    cut = read_photo(save(tmp_path / 'a.jp2', data[:-count]))
    np.testing.assert_array_equal(cut.pixels, RGB)
    assert cut.xmp is None and "'uuid', which is left out" in caplog.text


@pytest.mark.parametrize('name', ['12.jpg', 'lossless.jpg'])
def test_damage_inside_the_rare_kinds_of_jpeg(tmp_path, name, caplog):
    data = MADE[name]
    path = save(tmp_path / name, data[: len(data) // 2].rstrip(b'\xff') + b'\xff\xd9')  # it says that it ends here
    with pytest.raises(ImageError, match='compressed image is damaged'):
        read_photo(path)
    assert read_photo(path, allow_truncated=True).pixels.shape == RGB.shape
    assert 'parts of the image may be wrong' in caplog.text


def test_lengths_that_lie_cost_no_memory(tmp_path):
    data = bytearray(MADE['a.avif'])
    at = data.index(b'mdat') - 4
    data[at : at + 4] = b'\x7f\xff\xff\xf0'
    with pytest.raises(ImageError, match='truncated'):
        read_photo(save(tmp_path / 'a.avif', data), allow_truncated=True)


def test_a_raw_photograph_that_ends_too_early(tmp_path, capfd):
    pytest.importorskip('rawpy')
    path = save(tmp_path / 'a.dng', make_seeds()['dng'][:-300])
    with pytest.raises(ImageError, match='LibRaw cannot develop: .*, Unexpected end of file'):
        read_photo(path)
    assert capfd.readouterr().err == ''  # LibRaw itself would say it there, without a name
