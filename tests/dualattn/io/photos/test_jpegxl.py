"""JPEG XL: what its header says of depth, colours and alpha; a packed JPEG; metadata in a container."""

import base64
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dualattn.io.photos import ImageError, color_profile, read_photo, read_rgb
from dualattn.io.photos.metadata import load_exif

Y, X = np.mgrid[:40, :56] / 56
RGB = np.rint(255 * np.stack([0.5 + 0.45 * np.sin(4 * X + 3 * Y + phase) for phase in (0, 2, 4)], -1)).astype(np.uint8)
DEEP = RGB.astype(np.uint16) * 257 - 5


# by cjxl 0.7 from GRADIENT with the profile of Adobe RGB and a gamma of 2.2, without loss and at a distance of 0.3
WITH_PROFILE = base64.b64decode(
    '/wp4ADCAEN4aBiTMA6CaYszFFtV53dKgjy/2JmpYaBFHaAkyd32E3U8GXSwMp42EsHOE7RwSo7UrZDQaLV2D1xEGIOto64wAP3FfNTPW2WOZPQAD'
    '/i8srfiVi6GuE4ssK3koBCham8pKp5nq8s76S65XbiDLOr4Bjr7C5sqmnqLSYQHWzpYBmsqWlrLmUHutXN+oTtO4hgpwV2///Xee8jTeCbRfSP/9'
    'd99Q//23XxGc5UKBj3M5i+DTEtyUDzGJsJAH9XUDoW1AQc/nZ97Ky/zIzPz13lFU2ZYvJ0BHvYKUO6R2CK11+LhowlwOCAIBAFABSyg0Fp7zVfhe'
    'BQUFJRcjGCmwIsYYG2OwagyeM1gXg4cwjDFGxOBZMTjV9QAiQJ4AgNukleyBdgiRSxDK8t+PpA/w3/bf/5/+//7/v89e993VdoBj'
)
WITH_PROFILE_AND_LOSS = base64.b64decode(
    '/wp4ADCAFN4aBiTMA6CaYszFFtV53dKgjy/2JmpYaBFHaAkyd32E3U8GXSwMp42EsHOE7RwSo7UrZDQaLV2D1xEGIOto64wAP3FfNTPW2WOZPQAD'
    '/i8srfiVi6GuE4ssK3koBCham8pKp5nq8s76S65XbiDLOr4Bjr7C5sqmnqLSYQHWzpYBmsqWlrLmUHutXN+oTtO4hgpwV2///Xee8jTeCbRfSP/9'
    'd99Q//23XxGc5UKBj3M5i+DTEtyUDzGJsJAH9XUDoW1AQc/nZ97Ky/zIzPz13lFU2ZYvJ0BHvYKUO6R2CK11+LhowlwOABKIANwCj/wpAQBQoTLK'
    'uMHLuZ4vP3RYTNu4ztBW2xaWJIqMY5N0AocksRCUtzMwACxTvrYCMZ+9pYc3VmruRgvOKdOYdG01jfzVa2rF7qwWz2R8xDFzAKBCCiS7Vo/i6Xik'
    'dJEXIy/GGE9IiBHgZFRBmMYAipstfw3RCs19bPaO3rbi9E+hO/vxBKQMqfgBCw4im0T++TCmq/9+9t75ZbAIDCDr1RjQAFz/K/iDY+gbKQA2STw6'
    'YS6hAe4A'
)
DOWN, ACROSS = np.mgrid[:16, :25]
GRADIENT = np.stack([9 * ACROSS + DOWN, 8 * DOWN + 2 * ACROSS + 60, 220 - 5 * ACROSS - 4 * DOWN], -1).astype(np.uint8)


def save(path, data):
    path.write_bytes(data)
    return path


def box(name, body):
    return struct.pack('>I', 8 + len(body)) + name + body


def contain(codestream, *others, parts=1):
    """Put a codestream into a container, whole or in parts."""
    out = b'\0\0\0\x0cJXL \r\n\x87\n' + box(b'ftyp', b'jxl \0\0\0\0jxl ') + b''.join(others)
    if parts == 1:
        return out + box(b'jxlc', codestream)
    step = -(-len(codestream) // parts)
    for index in range(parts):
        last = 0x80000000 if index == parts - 1 else 0
        part = codestream[index * step : (index + 1) * step]
        out += box(b'jxlp', struct.pack('>I', index | last) + part)
    return out


def srgb_of_light(samples, full):
    light = samples / full
    return 65535 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize('parts', [0, 1, 3])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_8_bits_without_loss(tmp_path, channels, parts):
    pixels = np.dstack([RGB, RGB[..., 1]])[..., :channels] if channels != 2 else RGB[..., :2]
    data = imagecodecs.jpegxl_encode(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))
    found = read_photo(save(tmp_path / 'a.jpg', contain(data, parts=parts) if parts else data))
    colors = {1: RGB[..., 0], 2: RGB[..., 0]}.get(channels, RGB)
    np.testing.assert_array_equal(found.pixels, colors)
    if channels in (2, 4):
        np.testing.assert_array_equal(found.alpha, RGB[..., 1])
    else:
        assert found.alpha is None


@pytest.mark.parametrize('bits', [9, 10, 12, 14, 16])
@pytest.mark.parametrize('is_gray', [False, True])
def test_more_bits_in_linear_light(tmp_path, bits, is_gray):
    samples = DEEP >> (16 - bits)
    samples = np.ascontiguousarray(samples[..., 1]) if is_gray else samples
    data = imagecodecs.jpegxl_encode(samples, bitspersample=bits)  # which states linear light above 8 bits
    found = read_photo(save(tmp_path / 'a.jxl', data))
    assert found.bit_depth == 16
    assert np.abs(found.pixels - srgb_of_light(samples, (1 << bits) - 1)).max() < 130  # of 65535
    assert np.abs(read_rgb(tmp_path / 'a.jxl')[..., 1].astype(int) - (found.rgb[..., 1] / 257)).max() <= 0.51


@pytest.mark.parametrize('bits', [1, 5, 7])
def test_fewer_bits_fill_the_range(tmp_path, bits):
    samples = RGB >> (8 - bits)
    found = read_photo(save(tmp_path / 'a.jxl', imagecodecs.jpegxl_encode(samples, bitspersample=bits)))
    np.testing.assert_array_equal(found.pixels, np.rint(samples * (255 / ((1 << bits) - 1))).astype(np.uint8))


def test_with_loss(tmp_path):
    found = read_photo(save(tmp_path / 'a.jxl', imagecodecs.jpegxl_encode(RGB, level=98)))
    assert 0 < np.abs(found.pixels.astype(int) - RGB).mean() < 3


def test_a_packed_jpeg_is_the_jpeg_with_its_profile_and_metadata(tmp_path):
    profile = color_profile.matrix_profile((0.64, 0.33, 0.21, 0.71, 0.15, 0.06), gamma=2.2)
    exif = Image.Exif()
    exif[271], exif[274] = 'Zeiss Ikon', 6
    Image.fromarray(RGB).save(tmp_path / 'a.jpg', quality=90, icc_profile=profile, exif=exif, dpi=(300, 300))
    packed = imagecodecs.jpegxl_encode_jpeg((tmp_path / 'a.jpg').read_bytes(), usecontainer=True)
    found, whole = read_photo(save(tmp_path / 'a.jxl', packed)), read_photo(tmp_path / 'a.jpg')
    np.testing.assert_array_equal(found.pixels, whole.pixels)
    assert (found.exif, found.dpi, found.icc_profile) == (whole.exif, whole.dpi, whole.icc_profile)
    assert found.pixels.shape == (56, 40, 3)
    # without what it is unpacked by, its pixels and its profile are those of libjxl
    other = read_photo(save(tmp_path / 'b.jxl', packed.replace(b'jbrd', b'free')))
    assert other.pixels.shape == found.pixels.shape
    assert np.abs(other.rgb / np.iinfo(other.pixels.dtype).max - found.pixels / 255).mean() < 0.01


@pytest.mark.parametrize('is_packed', [False, True])
def test_metadata_of_a_container(tmp_path, is_packed):
    exif = Image.Exif()
    exif[271], exif[274], exif[282], exif[283], exif[296] = 'Zeiss Ikon', 6, 600.0, 600.0, 2
    block = b'\0\0\0\0' + exif.tobytes().removeprefix(b'Exif\0\0')
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>Oma</rdf:RDF></x:xmpmeta>'
    others = [box(b'Exif', block), box(b'xml ', packet)]
    if is_packed:
        others = [
            box(b'brob', name + imagecodecs.brotli_encode(body)) for name, body in ((b'Exif', block), (b'xml ', packet))
        ]
    found = read_photo(save(tmp_path / 'a.jxl', contain(imagecodecs.jpegxl_encode(RGB), *others)))
    assert found.pixels.shape == RGB.shape  # the codestream says how it is turned, not EXIF
    assert load_exif(found.exif)[271] == 'Zeiss Ikon' and 274 not in load_exif(found.exif)
    assert found.dpi == (600, 600) and b'Oma' in found.xmp


def test_profile_inside_is_applied(tmp_path, monkeypatch):
    profile = color_profile.matrix_profile((0.64, 0.33, 0.21, 0.71, 0.15, 0.06), gamma=2.2)
    expected = color_profile.convert(GRADIENT, 'RGB', profile)
    whole = read_photo(save(tmp_path / 'a.jxl', WITH_PROFILE))
    np.testing.assert_array_equal(whole.pixels, expected)
    assert color_profile.is_srgb(whole.icc_profile)
    lossy = read_photo(save(tmp_path / 'b.jxl', WITH_PROFILE_AND_LOSS))
    assert lossy.bit_depth == 16  # it comes in linear light, whose darks 8 bits would cut to a few steps
    assert np.abs(lossy.pixels / 257 - expected).mean() < 2
    monkeypatch.setattr('dualattn.io.photos.reading.libjxl.is_available', lambda: False)
    with pytest.raises(ImageError, match=r'a\.jxl.*ICC profile.*save it as TIFF or PNG'):
        read_photo(tmp_path / 'a.jxl')


def test_first_frame_and_channels_beside_the_colours(tmp_path, caplog):
    frames = imagecodecs.jpegxl_encode(np.stack([RGB, RGB[::-1]]), photometric='rgb')
    np.testing.assert_array_equal(read_photo(save(tmp_path / 'a.jxl', frames)).pixels, RGB)
    assert 'the first one is used' in caplog.text
    planes = np.ascontiguousarray(np.moveaxis(RGB, -1, 0))
    data = imagecodecs.jpegxl_encode(planes, planar=True, photometric='gray')
    np.testing.assert_array_equal(read_photo(save(tmp_path / 'b.jxl', data)).pixels, RGB[..., 0])
    assert '2 channels beside the colours are left out' in caplog.text


@pytest.mark.parametrize('kind', [np.float32, np.float16])
def test_numbers_without_black_and_white_are_refused(tmp_path, kind):
    with pytest.raises(ImageError, match='floating-point'):
        read_photo(save(tmp_path / 'a.jxl', imagecodecs.jpegxl_encode((RGB / 255).astype(kind))))


@pytest.mark.parametrize('is_contained', [False, True])
@pytest.mark.parametrize('kept', [3, 12, 30, 0.5, 0.95])
def test_cut(tmp_path, kept, is_contained):
    data = imagecodecs.jpegxl_encode(RGB)
    data = contain(data) if is_contained else data
    with pytest.raises(ImageError, match=r'a\.jxl.*cannot be read'):
        read_photo(save(tmp_path / 'a.jxl', data[: kept if kept > 1 else int(kept * len(data))]))


def test_too_large_is_refused_from_its_header(tmp_path):
    data = imagecodecs.jpegxl_encode(np.zeros((300, 400), np.uint8))
    with pytest.raises(ImageError, match='400 x 300 pixels are more than the limit'):
        read_photo(save(tmp_path / 'a.jxl', data[:40]), max_pixels=100_000)


def test_a_build_without_its_decoder_says_so(tmp_path, monkeypatch):
    path = save(tmp_path / 'a.jxl', imagecodecs.jpegxl_encode(RGB))
    monkeypatch.setattr(imagecodecs.JPEGXL, 'available', False)
    with pytest.raises(ImageError, match='JPEG XL.*imagecodecs'):
        read_photo(path)
