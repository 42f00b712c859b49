"""JPEG: what its markers say, bits beyond 8, and an end that is missing."""

import io
import itertools
import struct

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dualattn.io.photos import ImageError, color_profile, read_photo, read_rgb
from dualattn.io.photos.metadata import load_exif

RNG = np.random.default_rng(0)
Y, X = np.mgrid[:48, :64] / 64
SMOOTH = np.stack([0.5 + 0.4 * np.sin(5 * X + 3 * Y + phase) for phase in (0, 2, 4, 1)], axis=-1)
RGB = (SMOOTH[..., :3] * 255).round().astype(np.uint8)


def encode(pixels=RGB, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'JPEG', **dict(quality=92) | options)
    return buffer.getvalue()


def save(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize('sampling', ['4:4:4', '4:2:2', '4:2:0', '4:1:1'])
@pytest.mark.parametrize('restart', [0, 1])
def test_kinds_of_everyday_as_opencv_decodes_them(tmp_path, progressive, sampling, restart):
    data = encode(progressive=progressive, subsampling=sampling, restart_marker_rows=restart)
    oracle = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    found = read_photo(save(tmp_path / 'a.jpg', data)).pixels
    assert np.abs(found.astype(int) - oracle).max() <= 2


def test_arithmetic_coding(tmp_path):
    data = imagecodecs.jpeg8_encode(RGB, level=92, subsampling='444')
    assert np.abs(read_photo(save(tmp_path / 'a.jpg', data)).pixels.astype(int) - RGB).max() < 12


@pytest.mark.parametrize('marker', ['none', 'adobe0', 'letters'])
def test_three_channels_that_are_rgb(tmp_path, marker):
    """Without JFIF, Adobe's transform 0 or the letters R, G, B as names of components say so."""
    plain = imagecodecs.jpeg8_encode(RGB, level=95, colorspace='rgb', outcolorspace='rgb', subsampling='444')
    assert np.abs(read_photo(save(tmp_path / 'a.jpg', plain)).pixels.astype(int) - RGB).max() < 8
    oracle = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(oracle.astype(int) - RGB).max() < 8


@pytest.mark.parametrize('kind', ['cmyk', 'ycck'])
def test_four_channels_of_adobe_are_stored_as_light(tmp_path, kind):
    inks = (SMOOTH * 255).round().astype(np.uint8)
    image = Image.fromarray(inks, mode='CMYK')
    image.save(tmp_path / 'a.jpg', quality=95, subsampling=0)
    if kind == 'ycck':
        stored = imagecodecs.jpeg8_encode(255 - inks, level=95, colorspace='cmyk', outcolorspace='ycck')
        (tmp_path / 'a.jpg').write_bytes(stored)
    expected = (255 - inks[..., :3].astype(int)) * (255 - inks[..., 3:].astype(int)) / 255
    assert np.abs(read_photo(tmp_path / 'a.jpg').pixels - expected).max() < 10


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_12_bits_are_kept(tmp_path, channels, caplog):
    stored = (SMOOTH[..., :channels] * 4095).round().astype(np.uint16).squeeze()
    options = {4: dict(colorspace='cmyk', outcolorspace='cmyk'), 3: dict(subsampling='444')}.get(channels, {})
    data = imagecodecs.jpeg8_encode(stored, level=98, bitspersample=12, **options)
    exif = Image.Exif()
    exif[271], exif[274] = 'Zeiss', 6
    block = exif.tobytes()
    data = data[:2] + b'\xff\xe1' + struct.pack('>H', len(block) + 2) + block + data[2:]
    photo = read_photo(save(tmp_path / 'a.jpg', data))
    expected = stored / 4095 * 65535
    if channels == 4:
        expected = expected[..., :3] * expected[..., 3:] / 65535
    assert photo.bit_depth == 16 and load_exif(photo.exif)[271] == 'Zeiss'
    assert np.abs(photo.pixels - np.rot90(expected, -1)).max() < 65535 * 0.03
    assert np.abs(photo.pixels - np.rot90(expected, -1)).mean() < 65535 * 0.003
    assert read_rgb(tmp_path / 'a.jpg').shape == (64, 48, 3) and not caplog.records


@pytest.mark.parametrize('bits', [8, 12, 16])
@pytest.mark.parametrize('channels', [1, 3])
def test_lossless_kind(tmp_path, bits, channels):
    stored = SMOOTH[..., :channels] * ((1 << bits) - 1)
    stored = stored.round().astype(np.uint8 if bits == 8 else np.uint16).squeeze()
    data = imagecodecs.jpeg8_encode(stored, lossless=True, bitspersample=bits)
    photo = read_photo(save(tmp_path / 'a.jpg', data))
    full = 255 if bits == 8 else 65535
    assert np.abs(photo.pixels - stored / ((1 << bits) - 1) * full).max() <= 0.5


def test_jpeg_ls_is_refused_by_its_name(tmp_path):
    with pytest.raises(ImageError, match=r'near-lossless \(LS\) JPEG, which is not supported'):
        read_photo(save(tmp_path / 'a.jpg', imagecodecs.jpegls_encode(RGB[..., 0])))


@pytest.mark.parametrize('options', [{}, dict(progressive=True), dict(restart_marker_rows=1), dict(subsampling=0)])
@pytest.mark.parametrize('tail', [b'', b'\xff', b'\0\0\0\0'])
def test_missing_end_marker_is_nothing(tmp_path, options, tail, caplog):
    data = encode(**options)
    whole = read_photo(save(tmp_path / 'a.jpg', data)).pixels
    np.testing.assert_array_equal(read_photo(save(tmp_path / 'b.jpg', data[:-2] + tail)).pixels, whole)
    np.testing.assert_array_equal(read_rgb(tmp_path / 'b.jpg'), whole)
    assert not caplog.records


@pytest.mark.parametrize('options', [{}, dict(progressive=True), dict(restart_marker_rows=1)])
@pytest.mark.parametrize('cut', [5, 30, 0.7, 0.9])
def test_missing_image_data_are_no_missing_end(tmp_path, options, cut, caplog):
    data = encode(**options)
    kept = data[: int(len(data) * cut)] if cut < 1 else data[: -int(cut)]
    with pytest.raises(ImageError, match=r'a\.jpg.*truncated.*--allow-truncated'):
        read_photo(save(tmp_path / 'a.jpg', kept))
    with pytest.raises(ImageError, match=r'truncated.*missing$'):  # which training and measuring have no option for
        read_rgb(tmp_path / 'a.jpg')
    found = read_photo(tmp_path / 'a.jpg', allow_truncated=True)
    assert found.pixels.shape == RGB.shape and 'damaged' in caplog.text


def _scan(data):
    at = data.index(b'\xff\xda')
    return at + 2 + struct.unpack_from('>H', data, at + 2)[0]


def _zeroed(data):
    middle = (_scan(data) + len(data)) // 2
    return data[:middle] + bytes(32) + data[middle + 32 :]


def _without_a_restart(data):
    at = data.index(b'\xff\xd2')
    return data[:at] + data[at + 2 :]


def _cut_inside(data):
    middle = (_scan(data) + len(data)) // 2
    return data[:middle] + data[-2:]


DAMAGES = [
    (dict(progressive=True), _zeroed),
    (dict(progressive=True), _cut_inside),
    (dict(restart_marker_rows=1), _without_a_restart),
    (dict(restart_marker_rows=1), _zeroed),
    ({}, _cut_inside),
    (dict(subsampling=0), _cut_inside),
]


@pytest.mark.parametrize('mode', ['L', 'RGB', 'CMYK'])
@pytest.mark.parametrize(('options', 'damage'), DAMAGES)
def test_damaged_image_data_are_never_read_in_silence(tmp_path, options, damage, mode, caplog):
    buffer = io.BytesIO()
    Image.fromarray(RGB).convert(mode).resize((256, 192)).save(buffer, 'JPEG', quality=92, **options)
    path = save(tmp_path / 'a.jpg', damage(buffer.getvalue()))
    with pytest.raises(ImageError, match=r'a\.jpg.*(damaged|truncated).*--allow-truncated'):
        read_photo(path)
    with pytest.raises(ImageError, match=r'a\.jpg.*(damaged|truncated)'):
        read_rgb(path, min_side=32)  # as a training reads it
    assert read_photo(path, allow_truncated=True).pixels.shape[:2] == (192, 256)
    assert 'damaged' in caplog.text


def test_what_decoders_complain_of_and_costs_no_pixel(tmp_path, caplog):
    data = encode()
    whole = read_photo(save(tmp_path / 'a.jpg', data)).pixels
    adobe = b'\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x07'  # no transform has this number
    bad_icc = b'\xff\xe2\x00\x12ICC_PROFILE\x00\x02\x02\x00\x00'
    for kind, changed in (
        ('behind the end', data + b'\xff\xd8 and more' * 9),
        ('number of a transform', data[:2] + adobe + data[2:]),
        ('half a profile', data[:2] + bad_icc + data[2:]),
    ):
        np.testing.assert_array_equal(read_photo(save(tmp_path / 'a.jpg', changed)).pixels, whole, kind)
        assert 'damaged' not in caplog.text
    padded = save(tmp_path / 'a.jpg', data[:-2] + bytes(40) + data[-2:])
    np.testing.assert_array_equal(read_photo(padded).pixels, whole)
    assert 'left over' in caplog.text


@pytest.mark.parametrize('first', [3, 0, 2])
@pytest.mark.parametrize('second', [5, 0, 3])
def test_a_second_frame_never_reaches_a_decoder(tmp_path, first, second):
    """Between them and without a table, libjpeg-turbo's lossless decoder crashes: found by mutated files."""
    if first == 3:
        data = imagecodecs.jpeg8_encode(RGB.astype(np.uint16) * 257, lossless=True, bitspersample=16)
    else:
        data = encode(progressive=first == 2)
    at = data.index(b'\xff\xc4')
    path = save(tmp_path / 'a.jpg', data[: at + 1] + bytes([0xC0 + second]) + data[at + 2 :])
    with pytest.raises(ImageError, match='two frame headers'):
        read_photo(path)


def test_scans_that_never_began_are_missed(tmp_path):
    data = encode(progressive=True)
    at = [index for index in range(len(data) - 1) if data[index : index + 2] == b'\xff\xda']
    assert len(at) > 3
    for scan in at[2:]:
        with pytest.raises(ImageError, match='truncated'):
            read_photo(save(tmp_path / 'a.jpg', data[:scan]))


def test_first_picture_of_a_phone(tmp_path):
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())
    first.save(tmp_path / 'a.jpg', 'MPO', save_all=True, append_images=[second], quality=95)
    assert np.abs(read_photo(tmp_path / 'a.jpg').pixels.astype(int) - RGB).max() < 12


def test_adobe_rgb_of_a_camera_that_embeds_no_profile(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769).setdefault(0xA005, {1: 'R03'})
    flat = np.full((32, 32, 3), (90, 140, 100), np.uint8)
    data = encode(flat, subsampling=0, quality=100, exif=exif)
    found = read_photo(save(tmp_path / 'a.jpg', data)).pixels[16, 16]
    profile = color_profile.matrix_profile((0.64, 0.33, 0.21, 0.71, 0.15, 0.06), gamma=2.19921875)
    expected = color_profile.convert(flat[:1, :1], 'RGB', profile)[0, 0]
    assert np.abs(found.astype(int) - expected).max() <= 3 and expected[0] < 80


@pytest.mark.parametrize('marker', [0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF])
def test_kinds_that_nobody_decodes_are_named(tmp_path, marker):
    data = bytearray(encode())
    data[data.index(b'\xff\xc0') + 1] = marker
    with pytest.raises(ImageError, match=r'a\.jpg.*JPEG, which is not supported'):
        read_photo(save(tmp_path / 'a.jpg', bytes(data)))


@pytest.mark.parametrize(('orientation', 'kind'), list(itertools.product(range(1, 9), ['gray', 'cmyk', 'progressive'])))
def test_orientations(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(RGB)
    image = image.convert({'gray': 'L', 'cmyk': 'CMYK', 'progressive': 'RGB'}[kind])
    image.save(tmp_path / 'plain.jpg', quality=95)
    image.save(tmp_path / 'a.jpg', quality=95, exif=exif)
    stored = read_photo(tmp_path / 'plain.jpg').pixels
    from PIL import ImageOps

    with Image.open(tmp_path / 'a.jpg') as opened:
        shape = ImageOps.exif_transpose(opened).size[::-1]
    found = read_photo(tmp_path / 'a.jpg').pixels
    assert found.shape[:2] == shape
    marked = Image.fromarray(stored)
    marked.getexif()[274] = orientation
    np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(marked)))
