"""PNG chunk by chunk: what stands beside the pixels costs no photograph, what states their colours is obeyed."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dualattn.io.photos import ImageError, color_profile, read_photo, read_rgb
from dualattn.io.photos.metadata import load_exif

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 21, 30
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PALETTE = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# by the definition of sRGB
LIGHT = np.linspace(0, 1, 256)
CODED = np.where(LIGHT <= 0.0031308, 12.92 * LIGHT, 1.055 * LIGHT ** (1 / 2.4) - 0.055)


def chunk(name, data):
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def rows_of(samples, bits):
    """Pack (H, W, C) samples, each row behind its filter 0."""
    out = b''
    for row in samples.reshape(len(samples), -1):
        if bits == 16:
            out += b'\0' + row.astype('>u2').tobytes()
        else:
            spread = (row[:, None] >> np.arange(bits - 1, -1, -1)) & 1
            out += b'\0' + np.packbits(spread.reshape(-1).astype(np.uint8)).tobytes()
    return out


def make(samples, bits, kind, *before, interlace=False, after=(), end=True, level=6):
    """Write a PNG by hand: (H, W, C) samples of so many bits."""
    height, width = samples.shape[:2]
    if interlace:
        parts = [samples[top::down, left::across] for left, top, across, down in ADAM7]
        data = b''.join(rows_of(part, bits) for part in parts if part.size)
    else:
        data = rows_of(samples, bits)
    header = struct.pack('>IIBBBBB', width, height, bits, kind, 0, 0, int(interlace))
    out = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
    if kind == 3:
        before = (chunk(b'PLTE', PALETTE[: 1 << bits].tobytes()), *before)
    out += b''.join(before) + chunk(b'IDAT', zlib.compress(data, level)) + b''.join(after)
    return out + (chunk(b'IEND', b'') if end else b'')


KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8), (4, 8), (4, 16)]
KINDS += [(6, 8), (6, 16)]


def random(kind, bits):
    return RNG.integers(0, 1 << bits, (HEIGHT, WIDTH, CHANNELS[kind]), dtype=np.uint16)


@pytest.mark.parametrize('kind', [0, 2, 4, 6])
@pytest.mark.parametrize('size', [(1, 1), (2, 3), (5, 4), (9, 17)])
def test_interlaced_16_bits_of_every_size_without_a_word_of_libpng(tmp_path, kind, size, capfd):
    samples = RNG.integers(0, 1 << 16, (*size, CHANNELS[kind]), dtype=np.uint16)
    path = tmp_path / 'a.png'
    path.write_bytes(make(samples, 16, kind, interlace=True))
    found = read_photo(path)
    colors = samples[..., : 1 if kind in (0, 4) else 3]
    np.testing.assert_array_equal(found.pixels.reshape(colors.shape), colors)
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('interlace', [False, True])
@pytest.mark.parametrize(('kind', 'bits'), KINDS)
@pytest.mark.parametrize('transparent', [False, True])
def test_every_kind(tmp_path, kind, bits, interlace, transparent):
    samples = random(kind, bits)
    before = []
    if transparent and kind in (0, 2):
        key = samples[3, 4]
        before = [chunk(b'tRNS', key.astype('>u2').tobytes())]
    elif transparent and kind == 3:
        before = [chunk(b'tRNS', bytes(range(0, min(1 << bits, 200))))]
    (tmp_path / 'a.png').write_bytes(make(samples, bits, kind, *before, interlace=interlace))
    photo = read_photo(tmp_path / 'a.png')
    full = 65535 if bits == 16 else 255
    colors = PALETTE[samples[..., 0]] if kind == 3 else samples * (full // ((1 << bits) - 1))
    colors = colors[..., :-1] if kind in (4, 6) else colors
    colors = colors[..., 0] if colors.shape[-1] == 1 else colors
    np.testing.assert_array_equal(photo.pixels, colors)
    assert photo.bit_depth == (16 if bits == 16 else 8)
    if kind in (4, 6):
        np.testing.assert_array_equal(photo.alpha, samples[..., -1])
    elif transparent and kind != 3:
        np.testing.assert_array_equal(photo.alpha == 0, (samples == key).all(axis=-1))
    elif transparent:
        table = np.minimum(np.arange(256), 255)
        table[min(1 << bits, 200) :] = 255
        np.testing.assert_array_equal(photo.alpha, table[samples[..., 0]])
    else:
        assert photo.alpha is None
        oracle = cv2.imdecode(np.frombuffer((tmp_path / 'a.png').read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        oracle = oracle[..., ::-1] if oracle.ndim == 3 else oracle
        found = photo.pixels if photo.pixels.ndim == oracle.ndim else photo.rgb
        np.testing.assert_array_equal(found, oracle)


ANCILLARY = [
    b'tEXtComment\0hello',
    b'zTXtComment\0\0xx',
    b'iTXtComment\0\0\0\0\0hello',
    b'eXIfMM\0*',
    b'prVtdata',
    b'tIME1234567',
]


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('body', ANCILLARY, ids=lambda body: body[:4].decode())
@pytest.mark.parametrize('damage', ['cut', 'checksum', 'length'])
@pytest.mark.parametrize('place', ['before', 'behind'])
def test_damage_beside_the_pixels_costs_no_photograph(tmp_path, body, damage, bits, place, caplog):
    samples = random(2, bits)
    whole = chunk(body[:4], body[4:])
    if damage == 'checksum':
        broken = whole[:-1] + bytes([whole[-1] ^ 1])
    else:
        broken = struct.pack('>I', len(body) + (2000 if damage == 'length' else 4)) + whole[4:-4]
    if place == 'before' and damage != 'checksum':
        pytest.skip('the pixels are then inside of it')
    options = dict(after=(broken,), end=damage == 'checksum') if place == 'behind' else {}
    data = make(samples, bits, 2, *([broken] if place == 'before' else []), **options)
    (tmp_path / 'a.png').write_bytes(data)
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.png').pixels, samples)
    assert body[:4].decode() in caplog.text
    assert read_rgb(tmp_path / 'a.png').shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(('kind', 'bits'), KINDS)
def test_missing_end_is_missed_by_nobody(tmp_path, kind, bits):
    samples = random(kind, bits)
    (tmp_path / 'a.png').write_bytes(make(samples, bits, kind))
    (tmp_path / 'b.png').write_bytes(make(samples, bits, kind, end=False))
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.png').pixels, read_photo(tmp_path / 'b.png').pixels)


@pytest.mark.parametrize(('kind', 'bits'), KINDS)
@pytest.mark.parametrize('interlace', [False, True])
def test_cut_pixels_are_refused_and_salvaged_on_request(tmp_path, kind, bits, interlace, caplog):
    samples = random(kind, bits)
    data = make(samples, bits, kind, interlace=interlace, level=0)
    start = data.index(b'IDAT')
    (tmp_path / 'a.png').write_bytes(data[: start + (len(data) - start) * 3 // 5])
    with pytest.raises(ImageError, match='truncated.*--allow-truncated'):
        read_photo(tmp_path / 'a.png')
    (tmp_path / 'whole.png').write_bytes(data)
    found = read_photo(tmp_path / 'a.png', allow_truncated=True)
    whole = read_photo(tmp_path / 'whole.png')
    assert 'pixels stay black' in caplog.text
    if not interlace:
        np.testing.assert_array_equal(found.pixels[: HEIGHT // 3], whole.pixels[: HEIGHT // 3])


def test_damaged_pixels_are_refused(tmp_path):
    data = bytearray(make(random(2, 8), 8, 2))
    data[data.index(b'IDAT') + 40] ^= 0xFF
    (tmp_path / 'a.png').write_bytes(data)
    with pytest.raises(ImageError, match=r'a\.png.*(checksum|damaged)'):
        read_photo(tmp_path / 'a.png')


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('kind', [0, 2, 6])
def test_compressed_pixels_that_are_damaged_behind_intact_chunks(tmp_path, kind, bits, caplog):
    raw = rows_of(random(kind, bits), bits)
    stored = bytearray(zlib.compress(raw, 0))
    stored[len(raw) // 2] ^= 64
    head = make(random(kind, bits), bits, kind).partition(b'IDAT')[0][:-4]

    def save(body):
        (tmp_path / 'a.png').write_bytes(head + chunk(b'IDAT', body) + chunk(b'IEND', b''))
        return tmp_path / 'a.png'

    whole = read_photo(save(zlib.compress(raw))).pixels
    for body, reason in (
        (bytes(stored), 'checksum'),
        (zlib.compress(raw[: len(raw) * 4 // 5]), 'missing'),
        (zlib.compress(raw)[:-1] + b'\x99', 'checksum'),
    ):
        with pytest.raises(ImageError, match=f'{reason}.*--allow-truncated'):
            read_photo(save(body))
        found = read_photo(save(body), allow_truncated=True).pixels
        assert 'damaged' in caplog.text
        np.testing.assert_array_equal(found[: HEIGHT // 3], whole[: HEIGHT // 3])
        caplog.clear()
    # zlib's own checksum alone is cut: the pixels are there
    np.testing.assert_array_equal(read_photo(save(zlib.compress(raw)[:-4])).pixels, whole)


def gray_ramp(bits):
    ramp = np.arange(0, 1 << bits, 1 if bits == 8 else 257, dtype=np.uint16)
    return np.repeat(ramp.reshape(8, 32, 1), 1, axis=2)


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('gamma', [1.0, 0.55556, 0.3])
def test_stated_gamma_is_obeyed(tmp_path, bits, channels, gamma):
    samples = np.repeat(gray_ramp(bits), channels, axis=2)
    stated = chunk(b'gAMA', struct.pack('>I', round(gamma * 100_000)))
    (tmp_path / 'a.png').write_bytes(make(samples, bits, 0 if channels == 1 else 2, stated))
    found = read_photo(tmp_path / 'a.png').rgb[..., 1] / (257 if bits == 16 else 1)
    light = np.linspace(0, 1, 256) ** (1 / gamma)
    expected = (
        np.interp(light, LIGHT, CODED)
        if False
        else np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    )
    assert np.abs(found.reshape(-1) - 255 * expected).max() <= 1.3
    assert read_rgb(tmp_path / 'a.png')[4, 4, 1] == pytest.approx(255 * expected[4 * 32 + 4], abs=1.3)


@pytest.mark.parametrize(
    'stated', [[b'gAMA' + struct.pack('>I', 45455)], [b'sRGB\0', b'gAMA' + struct.pack('>I', 100_000)]]
)
def test_what_says_srgb_changes_nothing(tmp_path, stated):
    samples = random(2, 8)
    chunks = [chunk(body[:4], body[4:]) for body in stated]
    chrm = struct.pack('>8I', 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    (tmp_path / 'a.png').write_bytes(make(samples, 8, 2, *chunks, chunk(b'cHRM', chrm)))
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.png').pixels, samples)


WIDE = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046)


def matrix_of(primaries, white=(0.3127, 0.3290)):
    """RGB to XYZ, from the definition: the primaries add up to white."""
    x, y = np.array(primaries).reshape(3, 2).T
    columns = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    target = np.array([white[0] / white[1], 1, (1 - sum(white)) / white[1]])
    return columns * np.linalg.solve(columns, target)


def expected_from(samples, primaries, decode):
    light = decode(samples / 255.0)
    linear = light @ (np.linalg.inv(matrix_of(color_profile.SRGB_PRIMARIES)) @ matrix_of(primaries)).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def srgb_light(coded):
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('stated', ['cHRM', 'cHRM+gAMA', 'cICP-p3', 'cICP-2020-linear'])
def test_stated_primaries_are_obeyed(tmp_path, stated, bits):
    p3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
    primaries = p3 if 'p3' in stated else WIDE
    numbers = struct.pack('>8I', *(round(value * 100_000) for value in (0.3127, 0.3290, *primaries)))
    chunks = {
        'cHRM': [chunk(b'cHRM', numbers)],
        'cHRM+gAMA': [chunk(b'cHRM', numbers), chunk(b'gAMA', struct.pack('>I', 50_000))],
        'cICP-p3': [chunk(b'cICP', bytes([12, 13, 0, 1])), chunk(b'sRGB', b'\0')],  # cICP comes first
        'cICP-2020-linear': [chunk(b'cICP', bytes([9, 8, 0, 1]))],
    }[stated]
    decode = {'cHRM+gAMA': np.square, 'cICP-2020-linear': lambda coded: coded}.get(stated, srgb_light)
    samples = RNG.integers(90, 170, (HEIGHT, WIDTH, 3), dtype=np.uint16)  # inside sRGB's gamut
    stored = samples * (257 if bits == 16 else 1)
    (tmp_path / 'a.png').write_bytes(make(stored, bits, 2, *chunks))
    found = read_photo(tmp_path / 'a.png').pixels / (257 if bits == 16 else 1)
    assert np.abs(found - expected_from(samples, primaries, decode)).max() <= 2


@pytest.mark.parametrize('code', [(9, 16, 0, 1), (9, 18, 0, 1), (1, 13, 1, 1), (1, 13, 0, 0), (99, 13, 0, 1)])
def test_colours_that_srgb_cannot_show_are_refused(tmp_path, code):
    (tmp_path / 'a.png').write_bytes(make(random(2, 16), 16, 2, chunk(b'cICP', bytes(code))))
    with pytest.raises(ImageError, match=r'a\.png.*save it'):
        read_photo(tmp_path / 'a.png')


@pytest.mark.parametrize('size', [(1 << 20) + 1, 5 << 20])
def test_profile_of_any_size_a_printer_has(tmp_path, size):
    profile = color_profile.matrix_profile(gamma=1.0)
    profile += bytes(size)
    body = b'wide\0\0' + zlib.compress(profile)
    samples = np.repeat(gray_ramp(8), 3, axis=2)
    (tmp_path / 'a.png').write_bytes(make(samples, 8, 2, chunk(b'iCCP', body)))
    found = read_photo(tmp_path / 'a.png').pixels[..., 1].reshape(-1)
    assert np.abs(found - 255 * CODED).max() <= 1.3


def test_profile_that_is_a_bomb_is_dropped_with_a_message(tmp_path, caplog):
    samples = random(2, 8)
    (tmp_path / 'a.png').write_bytes(make(samples, 8, 2, chunk(b'iCCP', b'x\0\0' + zlib.compress(bytes(40 << 20)))))
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.png').pixels, samples)
    assert 'taken as sRGB' in caplog.text


@pytest.mark.parametrize('bits', [8, 16])
def test_damaged_animation_never_reaches_a_decoder(tmp_path, bits, caplog):
    """A 16-bit one with a damaged first fdAT ended the process inside OpenCV."""
    samples = random(6, bits)
    control = chunk(b'acTL', struct.pack('>II', 3, 0))
    frame = chunk(b'fcTL', struct.pack('>IIIIIHHBB', 0, WIDTH, HEIGHT, 0, 0, 1, 10, 0, 0))
    broken = chunk(b'fdAT', struct.pack('>I', 1) + b'garbage' * 20)
    broken = broken[:-4] + b'\0\0\0\0'
    (tmp_path / 'a.png').write_bytes(make(samples, bits, 6, control, frame, after=(broken, broken)))
    photo = read_photo(tmp_path / 'a.png')
    np.testing.assert_array_equal(photo.pixels, samples[..., :3])
    assert '3 frames or pages' in caplog.text


def test_metadata_of_16_bits_too(tmp_path):
    exif = Image.Exif()
    exif[271], exif[274] = 'Zeiss', 6
    samples = random(2, 16)
    chunks = [
        chunk(b'pHYs', struct.pack('>IIB', 11811, 11811, 1)),
        chunk(b'eXIf', exif.tobytes()[6:]),
        chunk(b'tEXt', b'Title\0Oma'),
        chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0<x/>'),
    ]
    (tmp_path / 'a.png').write_bytes(make(samples, 16, 2, *chunks))
    photo = read_photo(tmp_path / 'a.png')
    np.testing.assert_array_equal(photo.pixels, np.rot90(samples, -1))
    assert load_exif(photo.exif)[271] == 'Zeiss' and photo.text == {'Title': 'Oma'} and photo.xmp == b'<x/>'
    assert photo.dpi == pytest.approx((300, 300), abs=0.1)


def test_texts_that_unpack_to_gigabytes_do_not(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text('Comment', 'x' * (30 << 20), zip=True)
    pixels = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.png', pnginfo=info)
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.png').pixels, pixels)
