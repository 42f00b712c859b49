"""JPEG 2000, PNM, BMP, GIF, WebP, AVIF, HEIC and what is only recognised."""

import base64
import contextlib
import io
import struct
import tracemalloc

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dualattn.io.photos import ImageError, color_profile, read_photo, read_rgb

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 33, 46


def random(bits, channels):
    dtype = np.uint8 if bits <= 8 else np.uint16
    samples = RNG.integers(0, 1 << bits, (HEIGHT, WIDTH, channels), dtype=dtype)
    samples[0, 0], samples[0, 1] = 0, (1 << bits) - 1
    return samples


def save(path, data):
    path.write_bytes(data)
    return path


def split(samples, bits):
    """Return what pixels and alpha of stored samples are at the full range."""
    full = 255 if bits <= 8 else 65535
    whole = np.rint(samples / ((1 << bits) - 1) * full)
    alpha = whole[..., -1] if samples.shape[-1] in (2, 4) else None
    colors = whole[..., :-1] if alpha is not None else whole
    return colors[..., 0] if colors.shape[-1] == 1 else colors, alpha


class TestJpeg2000:
    @pytest.mark.parametrize('bits', [4, 7, 8, 10, 12, 14, 16])
    @pytest.mark.parametrize('channels', [1, 2, 3, 4])
    @pytest.mark.parametrize('container', ['jp2', 'j2k'])
    def test_tones_of_every_depth(self, tmp_path, bits, channels, container):
        samples = random(bits, channels)
        data = imagecodecs.jpeg2k_encode(samples.squeeze(), level=0, bitspersample=bits, codecformat=container)
        photo = read_photo(save(tmp_path / 'a.jp2', data))
        pixels, alpha = split(samples, bits)
        assert np.abs(photo.pixels - pixels).max() <= 0.5 and photo.bit_depth == (8 if bits <= 8 else 16)
        assert (photo.alpha is None) == (alpha is None)
        assert alpha is None or np.abs(photo.alpha - alpha).max() <= 0.5
        shown = read_rgb(tmp_path / 'a.jp2')
        if alpha is None:
            expected = pixels / (1 if bits <= 8 else 257)
            assert np.abs(shown - (expected if channels > 1 else expected[..., None])).max() <= 0.51

    def test_a_damaged_length_costs_no_memory(self, tmp_path):
        data = bytearray(imagecodecs.jpeg2k_encode(random(8, 3), level=0, codecformat='j2k'))
        at = data.index(b'\xff\x90') + 6
        data[at : at + 4] = b'\x7f\xff\xff\xff'  # bytes of the only part of the image
        path = save(tmp_path / 'a.j2k', bytes(data))
        tracemalloc.start()
        with contextlib.suppress(ImageError):
            read_photo(path, allow_truncated=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 << 20
        with pytest.raises(ImageError, match='bytes of a part of the image are missing'):
            read_photo(path)

    @pytest.mark.parametrize('kind', ['resc', 'resd'])
    def test_resolution_is_kept(self, tmp_path, kind):
        data = imagecodecs.jpeg2k_encode(random(8, 3), level=0, codecformat='jp2')
        body = struct.pack('>4H2b', 11811, 100, 23622, 1, 2, 0)  # 300 dpi down, 600 dpi across
        box = struct.pack('>I4sI4s', 8 + 8 + len(body), b'res ', 8 + len(body), kind.encode()) + body
        start = data.index(b'jp2h') - 4
        size = int.from_bytes(data[start : start + 4], 'big')
        whole = data[:start] + struct.pack('>I', size + len(box)) + data[start + 4 : start + size] + box
        assert read_photo(save(tmp_path / 'a.jp2', whole + data[start + size :])).dpi == (600, 300)
        whole = whole.replace(body, struct.pack('>4H2b', 1, 0, 1, 0, 127, -128))
        assert read_photo(save(tmp_path / 'a.jp2', whole + data[start + size :])).dpi is None

    def test_gray_with_alpha_of_no_stated_space(self, tmp_path):
        samples = random(8, 2)
        data = imagecodecs.jpeg2k_encode(samples, level=0, codecformat='jp2')
        at = data.index(b'colr') + 7
        photo = read_photo(save(tmp_path / 'a.jp2', data[:at] + bytes(4) + data[at + 4 :]))
        np.testing.assert_array_equal(photo.pixels, samples[..., 0])
        np.testing.assert_array_equal(photo.alpha, samples[..., 1])
        data = imagecodecs.jpeg2k_encode(random(1, 1)[..., 0], level=0, codecformat='jp2', bitspersample=1)
        at = data.index(b'colr') + 7
        with pytest.raises(ImageError, match='colour space 0'):  # where 0 is white
            read_photo(save(tmp_path / 'b.jp2', data[:at] + bytes(4) + data[at + 4 :]))

    @pytest.mark.parametrize('channels', [1, 3])
    def test_16_bits_as_opencv_writes_them(self, tmp_path, channels):
        samples = random(16, channels).squeeze()
        cv2.imwrite(str(tmp_path / 'a.jp2'), samples[..., ::-1] if channels == 3 else samples)
        oracle = cv2.imread(str(tmp_path / 'a.jp2'), cv2.IMREAD_UNCHANGED)
        oracle = oracle[..., ::-1] if channels == 3 else oracle
        np.testing.assert_array_equal(read_photo(tmp_path / 'a.jp2').pixels, oracle)
        assert read_rgb(tmp_path / 'a.jp2').max() == 255

    @pytest.mark.parametrize('mode', ['L', 'LA', 'RGB', 'RGBA'])
    def test_8_bits_as_pillow_writes_them(self, tmp_path, mode):
        samples = random(8, len(mode) if mode != 'L' else 1)
        Image.fromarray(samples.squeeze(), mode=mode).save(tmp_path / 'a.jp2', irreversible=False)
        pixels, alpha = split(samples, 8)
        photo = read_photo(tmp_path / 'a.jp2')
        np.testing.assert_array_equal(photo.pixels, pixels)
        assert (photo.alpha is None) == (alpha is None)

    def test_profile_inside_is_applied(self, tmp_path):
        samples = random(8, 3)
        data = imagecodecs.jpeg2k_encode(samples, level=0, codecformat='jp2')
        profile = color_profile.matrix_profile(gamma=1.0)
        at = data.index(b'colr') - 4
        (size,) = struct.unpack('>I', data[at : at + 4])
        box = struct.pack('>I4sBBB', 11 + len(profile), b'colr', 2, 0, 0) + profile
        head = data.index(b'jp2h') - 4
        (length,) = struct.unpack('>I', data[head : head + 4])
        changed = data[:head] + struct.pack('>I', length + len(box) - size) + data[head + 4 : at] + box
        photo = read_photo(save(tmp_path / 'a.jp2', changed + data[at + size :]))
        np.testing.assert_array_equal(photo.pixels, color_profile.convert(samples, 'RGB', profile))

    def test_signed_samples_and_other_spaces_are_refused(self, tmp_path):
        data = imagecodecs.jpeg2k_encode(random(12, 3), level=0, bitspersample=12, codecformat='jp2')
        siz = data.index(b'\xff\x4f\xff\x51')
        signed = bytearray(data)
        for component in range(3):
            signed[siz + 42 + 3 * component] |= 0x80
        with pytest.raises(ImageError, match='signed samples'):
            read_photo(save(tmp_path / 'a.jp2', bytes(signed)))
        foreign = data.replace(b'colr\1\0\0' + struct.pack('>I', 16), b'colr\1\0\0' + struct.pack('>I', 14))
        assert foreign != data
        with pytest.raises(ImageError, match='colour space 14'):
            read_photo(save(tmp_path / 'a.jp2', foreign))

    @pytest.mark.parametrize('kept', [0.1, 0.5, 0.9])
    def test_cut(self, tmp_path, kept):
        data = imagecodecs.jpeg2k_encode(random(8, 3), level=0, codecformat='jp2')
        with pytest.raises(ImageError, match=r'a\.jp2'):
            read_photo(save(tmp_path / 'a.jp2', data[: int(len(data) * kept)]))


class TestPnm:
    @pytest.mark.parametrize('largest', [1, 3, 100, 255, 256, 1023, 4095, 65535])
    @pytest.mark.parametrize('kind', [2, 3, 5, 6])
    def test_largest_value_is_white(self, tmp_path, kind, largest):
        channels = 3 if kind in (3, 6) else 1
        samples = RNG.integers(0, largest + 1, (HEIGHT, WIDTH, channels))
        samples[0, 0] = largest
        head = f'P{kind}\n# von Hand\n{WIDTH} {HEIGHT} # so breit\n{largest}\n'.encode()
        if kind < 4:
            body = b'\n'.join(b' '.join(b'%d' % value for value in row) for row in samples.reshape(HEIGHT, -1))
        else:
            body = samples.astype('>u2' if largest > 255 else 'u1').tobytes()
        photo = read_photo(save(tmp_path / 'a.pnm', head + body))
        full = 255 if largest <= 255 else 65535
        assert photo.pixels.dtype == (np.uint8 if full == 255 else np.uint16)
        assert (
            np.abs(photo.pixels - np.rint(samples.squeeze(-1) if channels == 1 else samples) * (full / largest)).max()
            <= 0.51
        )
        assert photo.pixels.reshape(-1)[0] == full

    @pytest.mark.parametrize('kind', [1, 4])
    def test_bilevel_has_black_for_1(self, tmp_path, kind):
        bits = RNG.integers(0, 2, (HEIGHT, WIDTH), dtype=np.uint8)
        head = f'P{kind} {WIDTH} {HEIGHT}\n'.encode()
        rows = [''.join(map(str, row)).encode() if kind == 1 else np.packbits(row).tobytes() for row in bits]
        save(tmp_path / 'a.pbm', head + (b'\n' if kind == 1 else b'').join(rows))
        np.testing.assert_array_equal(read_photo(tmp_path / 'a.pbm').pixels, 255 - 255 * bits)

    @pytest.mark.parametrize(
        ('kind', 'channels'), [('GRAYSCALE', 1), ('GRAYSCALE_ALPHA', 2), ('RGB', 3), ('RGB_ALPHA', 4)]
    )
    @pytest.mark.parametrize('largest', [255, 65535])
    def test_pam(self, tmp_path, kind, channels, largest):
        bits = 8 if largest == 255 else 16
        samples = random(bits, channels)
        head = f'P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH {channels}\nMAXVAL {largest}\nTUPLTYPE {kind}\nENDHDR\n'
        photo = read_photo(
            save(tmp_path / 'a.pam', head.encode() + samples.astype('>u2' if bits > 8 else 'u1').tobytes())
        )
        pixels, alpha = split(samples, bits)
        np.testing.assert_array_equal(photo.pixels, pixels)
        assert (photo.alpha is None) == (alpha is None)

    @pytest.mark.parametrize(
        'data', [b'P5 4 4 255\n\0', b'P6 2 2 70000\n', b'P5 x', b'P2 2 2 255\n1 2 x 4', b'P7\nWIDTH 1\n']
    )
    def test_nonsense(self, tmp_path, data):
        with pytest.raises(ImageError, match=r'a\.pnm'):
            read_photo(save(tmp_path / 'a.pnm', data))

    def test_cut_on_request(self, tmp_path, caplog):
        samples = random(8, 3)
        data = b'P6 %d %d 255\n' % (WIDTH, HEIGHT) + samples.tobytes()
        save(tmp_path / 'a.ppm', data[:-600])
        with pytest.raises(ImageError, match='600 of'):
            read_photo(tmp_path / 'a.ppm')
        found = read_photo(tmp_path / 'a.ppm', allow_truncated=True).pixels
        np.testing.assert_array_equal(found[:20], samples[:20])
        assert 'damaged' in caplog.text


class TestBmp:
    def header(self, bits, compression=0, size=40, masks=b'', height=HEIGHT, palette=b'', image=b''):
        offset = 14 + size + len(masks) * (size == 40) + len(palette)
        info = struct.pack('<IiiHHIIiiII', size, WIDTH, height, 1, bits, compression, len(image), 2835, 2835, 0, 0)
        info += masks if size == 40 else masks.ljust(size - 40, b'\0')
        return b'BM' + struct.pack('<IHHI', offset + len(image), 0, 0, offset) + info + palette + image

    @pytest.mark.parametrize('bits', [1, 4, 8, 24, 32])
    @pytest.mark.parametrize('top_down', [False, True])
    def test_plain_kinds_as_opencv_reads_them(self, tmp_path, bits, top_down):
        if bits <= 8:
            indices = RNG.integers(0, 1 << bits, (HEIGHT, WIDTH), dtype=np.uint8)
            palette = RNG.integers(0, 256, (1 << bits, 4), dtype=np.uint8)
            palette[:, 3] = 0
            spread = (indices[..., None] >> np.arange(bits - 1, -1, -1)) & 1
            rows = np.packbits(spread.reshape(HEIGHT, -1).astype(np.uint8), axis=1)
            expected = palette[indices][..., 2::-1]
        else:
            stored = RNG.integers(0, 256, (HEIGHT, WIDTH, bits // 8), dtype=np.uint8)
            palette, rows, expected = np.zeros((0, 4), np.uint8), stored.reshape(HEIGHT, -1), stored[..., 2::-1]
        rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
        image = (rows if top_down else rows[::-1]).tobytes()
        data = self.header(bits, height=-HEIGHT if top_down else HEIGHT, palette=palette.tobytes(), image=image)
        photo = read_photo(save(tmp_path / 'a.bmp', data))
        np.testing.assert_array_equal(photo.rgb, expected)
        oracle = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(photo.rgb, oracle)

    @pytest.mark.parametrize('masks', [(0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)])
    def test_16_bits(self, tmp_path, masks):
        stored = RNG.integers(0, 1 << 15, (HEIGHT, WIDTH), dtype=np.uint16)
        image = np.pad(stored[::-1], ((0, 0), (0, WIDTH % 2))).astype('<u2').tobytes()
        data = self.header(16, 3, masks=struct.pack('<III', *masks), image=image)
        expected = []
        for mask in masks:
            shift = (mask & -mask).bit_length() - 1
            expected.append(((stored & mask) >> shift) / (mask >> shift) * 255)
        found = read_photo(save(tmp_path / 'a.bmp', data)).pixels
        assert np.abs(found - np.stack(expected, axis=-1)).max() <= 1

    def test_alpha_and_profile_of_the_newest_header(self, tmp_path):
        stored = RNG.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
        profile = color_profile.matrix_profile(gamma=1.0)
        image = stored[::-1].tobytes()
        masks = struct.pack('<IIII', 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b'DEBM' + bytes(36 + 12)
        masks += struct.pack('<IIII', 4, 124 + len(image), len(profile), 0)
        photo = read_photo(save(tmp_path / 'a.bmp', self.header(32, 3, 124, masks, image=image) + profile))
        np.testing.assert_array_equal(photo.alpha, stored[..., 3])
        rgb = np.ascontiguousarray(stored[..., 2::-1])
        np.testing.assert_array_equal(photo.pixels, color_profile.convert(rgb, 'RGB', profile))


class TestWebp:
    @pytest.mark.parametrize('channels', [3, 4])
    @pytest.mark.parametrize('lossless', [False, True])
    def test_as_libwebp_decodes_it(self, tmp_path, channels, lossless):
        picture = np.kron(RNG.integers(40, 200, (6, 8, channels), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        data = imagecodecs.webp_encode(picture, level=90, lossless=lossless)
        oracle = imagecodecs.webp_decode(data)
        photo = read_photo(save(tmp_path / 'a.webp', data))
        np.testing.assert_array_equal(photo.pixels, oracle[..., :3])
        assert channels == 3 or np.array_equal(photo.alpha, oracle[..., 3])

    def test_profile_and_first_frame(self, tmp_path, caplog):
        frames = [Image.fromarray(random(8, 3)) for _ in range(3)]
        profile = color_profile.matrix_profile(gamma=1.0)
        options = dict(lossless=True, icc_profile=profile)
        frames[0].save(tmp_path / 'a.webp', save_all=True, append_images=frames[1:], **options)
        expected = color_profile.convert(np.asarray(frames[0]), 'RGB', profile)
        np.testing.assert_array_equal(read_photo(tmp_path / 'a.webp').pixels, expected)
        assert '3 frames' in caplog.text


@pytest.mark.parametrize('disposal', [0, 1, 2, 3])
def test_first_frame_of_a_gif_with_transparency(tmp_path, disposal, caplog):
    indices = RNG.integers(0, 4, (HEIGHT, WIDTH), dtype=np.uint8)
    palette = RNG.integers(0, 256, (4, 3), dtype=np.uint8)
    frames = []
    for turn in range(3):
        frame = Image.fromarray(np.rot90(indices, 2 * turn).copy())
        frame.putpalette(palette.tobytes())
        frames.append(frame)
    options = dict(transparency=1, disposal=disposal, interlace=1)
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:], **options)
    photo = read_photo(tmp_path / 'a.gif')
    opaque = indices != 1
    np.testing.assert_array_equal(photo.pixels[opaque], palette[indices][opaque])
    np.testing.assert_array_equal(photo.alpha, np.where(opaque, 255, 0))
    assert 'frames' in caplog.text


class TestAvifAndHeic:
    @pytest.mark.parametrize('bits', [8, 10, 12])
    @pytest.mark.parametrize('channels', [1, 3, 4])
    def test_bits_of_avif_are_kept(self, tmp_path, bits, channels):
        samples = np.kron(random(bits, channels)[:4, :6], np.ones((8, 8, 1))).astype(
            np.uint8 if bits == 8 else np.uint16
        )
        data = imagecodecs.avif_encode(samples.squeeze(), level=100, bitspersample=bits)
        photo = read_photo(save(tmp_path / 'a.avif', data))
        full = 255 if bits == 8 else 65535
        assert photo.bit_depth == (8 if bits == 8 else 16)
        expected = samples / ((1 << bits) - 1) * full
        found = photo.pixels if photo.pixels.ndim == 3 else photo.pixels[..., None]
        assert np.abs(found - expected[..., : min(channels, 3)]).mean() < full * 0.01
        assert (photo.alpha is not None) == (channels == 4)

    def test_wide_and_high_range(self, tmp_path):
        buffer = io.BytesIO()
        flat = np.full((32, 32, 3), (150, 110, 120), np.uint8)
        Image.fromarray(flat).save(buffer, 'AVIF', quality=100, subsampling='4:4:4')
        data = buffer.getvalue()
        at = data.index(b'colrnclx') + 8
        for code, wanted in (((12, 13), 'moved'), ((9, 16), 'PQ'), ((9, 18), 'HLG')):
            changed = save(tmp_path / 'a.avif', data[:at] + struct.pack('>HH', *code) + data[at + 4 :])
            if wanted == 'moved':
                expected = color_profile.convert(flat, 'RGB', color_profile.code_point_profile(*code))
                assert np.abs(read_photo(changed).pixels.astype(int) - expected).max() <= 4
            else:
                with pytest.raises(ImageError, match=f'{wanted}.*standard range'):
                    read_photo(changed)

    def test_heic_needs_its_library_and_says_so(self, tmp_path, monkeypatch):
        monkeypatch.setattr('dualattn.io.photos.reading.heif.find_spec', lambda name: None)
        save(tmp_path / 'a.jpg', b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(100))
        with pytest.raises(ImageError, match='pip install pi-heif'):
            read_photo(tmp_path / 'a.jpg')


# GRADIENT as an encoder has it that the suite must not need (pillow-heif 1.8, x265, quality 90, 4:4:4)
HEIC_8_WITH_ALPHA = base64.b64decode(
    'AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAm1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9jAAAA'
    'AERAAAIAAQAAAAACkQABAAAAAAAAAPQAAgAAAAADhQABAAAAAAAAAIEAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZl'
    'AgAAAAACAABodmMxAAAAAA5waXRtAAAAAAABAAABrGlwcnAAAAGEaXBjbwAAAHdodmNDAQQIAAAAnjgAAAAAHvAA/P/4+AAADwNgAAEAF0ABDAH/'
    '/wQIAAADAJ44AAADAAAeugJAYQABACpCAQEECAAAAwCeOAAAAwAAHpAEECCy3VXTXNwENBgQAAADAZAAAAMAEIBiAAEACEQBwXMYMBiQAAAAE2Nv'
    'bHJuY2x4AAEADQAGgAAAABRpc3BlAAAAAAAAAEAAAABAAAAAKGNsYXAAAAAZAAAAAQAAABAAAAAB////2QAAAAL////QAAAAAgAAABBwaXhpAAAA'
    'AAMICAgAAABxaHZjQwEECAAAAJ/4AAAAAB7wAPz8+PgAAA8DYAABABdAAQwB//8ECAAAAwCf+AAAAwAAHroCQGEAAQAmQgEBBAgAAAMAn/gAAAMA'
    'AB7AggQWW6q6a5sCAAADADIAAAMAAhBiAAEABkQBwXPBiQAAAA5waXhpAAAAAAEIAAAAJ2F1eEMAAAAAdXJuOm1wZWc6aGV2YzoyMDE1OmF1eGlk'
    'OjEAAAAAIGlwbWEAAAAAAAAAAgABBYECAwWEAAIFhgMHiIQAAAAaaXJlZgAAAAAAAAAOYXV4bAACAAEAAQAAAX1tZGF0AAAA8CgBrwYyCJEkGYDr'
    'ghKlQDTp+tXXlqUKhDMvGs13+Y0ou7RkMtWsVpQRsfnRS123/wT0y+Hw/sP1nxJ+TWZa9H2S2ho75UZY3njDxnLjZQ/yjEnzGJfLXISZTkVFQ3bG'
    '25AZrOi4emR28loWWjJVudLciVRjr2p1IuuB+z+B/ndKA31JRj61fSYizySTXDHcM8KlH6E/DIX55dJP6FBY++3f3nueOXpargc5x2IpU2NM5+ak'
    'AplG2FQqiasXrf5Mq/qf8sasE6mG8FVEnyBtjn/7ixS/ExzCizVMOuJetHgQvnfPec4K3VO28qMMP6XQYAAAAH0oAa4MZDbmMbPDqw4Mmk1ZNHJ2'
    'D8xpRfRHj28ea9x1znWFzINRl/SJ2+m98oBZ229mUlWkjfbs6R7K0/VCkGIohwpaK9CjZR9c3+YWlLOD2KbGB/89bUulgl8gNjyT7o1sHexE6BTm'
    '1tPmrS2AM6nBFhg8q17U70KUWurlOA=='
)
HEIC_10 = base64.b64decode(
    'AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAX5tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAA'
    'AERAAAEAAQAAAAABogABAAAAAAAAAMQAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/mlwcnAAAADe'
    'aXBjbwAAAHdodmNDAQQIAAAAnDgAAAAAHvAA/P/6+gAADwNgAAEAF0ABDAH//wQIAAADAJw4AAADAAAeugJAYQABACpCAQEECAAAAwCcOAAAAwAA'
    'HpAEECCbLdVdNc3AQ0GBAAADABkAAAMAAQhiAAEACEQBwXMYMBiQAAAAE2NvbHJuY2x4AAEADQAGgAAAABRpc3BlAAAAAAAAAEAAAABAAAAAKGNs'
    'YXAAAAAZAAAAAQAAABAAAAAB////2QAAAAL////QAAAAAgAAABBwaXhpAAAAAAMKCgoAAAAYaXBtYQAAAAAAAAABAAEFgQIDBYQAAADMbWRhdAAA'
    'AMAoAa8GMh/CAlC7S1PgWnBG7qi/tmU7dp/4J9v6J8+uKuVotJBcOI04/ND+nYZL4fD+x/WfFH5NZlr0fZLaGjvlRljegQ4vjE/GQaAPKfWi6O8f'
    'fT023eTpf/I/VPnjps+owxQbNlnE7o+fPAT4oBLVNfIGVVP0/4nu8FIr//xPf/+gW4cN+kz791LzT0PhtW/9ycoJvg/BUF3cIIrIXuibkU/9/v//'
    'wgTSZb8P/Nz3/ia+i5i3QP7CE0RnMLB8WhQ='
)
DOWN, ACROSS = np.mgrid[:16, :25]
GRADIENT = np.stack([9 * ACROSS + DOWN, 8 * DOWN + 2 * ACROSS + 60, 220 - 5 * ACROSS - 4 * DOWN], -1)


def test_heic_in_its_own_depth_and_memory(tmp_path):
    pytest.importorskip('pi_heif')
    photos = [read_photo(save(tmp_path / 'a.heic', data)) for data in (HEIC_8_WITH_ALPHA, HEIC_10)]
    assert [photo.bit_depth for photo in photos] == [8, 16]
    # all are looked at when the library has let go of them: their pixels must not lie in its memory
    for photo, step in zip(photos, (1, 257), strict=True):
        assert photo.pixels.shape == (16, 25, 3)
        assert np.abs(photo.pixels / step - GRADIENT).max() <= 3
    assert np.abs(photos[0].alpha.astype(int) - GRADIENT[..., 0]).max() <= 3 and photos[1].alpha is None


FOREIGN = {
    b'8BPS\0\1' + bytes(30): 'Photoshop document',
    b'\xff\x0a' + bytes(40): 'JPEG XL',
    b'FUJIFILMCCD-RAW 0201' + bytes(200): 'rawpy|LibRaw',
    b'\0\0\0\x18ftypcrx \0\0\0\1crx isom' + bytes(100): 'rawpy|LibRaw',
    b'IIRO\x08\0\0\0' + bytes(100): 'rawpy|LibRaw',
    b'v/1\1' + bytes(40): 'OpenEXR',
    b'II\xbc\1' + bytes(40): 'JPEG XR',
    b'%PDF-1.4' + bytes(40): 'not an image in a known format',
}


@pytest.mark.parametrize('data', FOREIGN, ids=lambda data: repr(data[:6]))
def test_what_is_not_read_is_called_by_its_name(tmp_path, data):
    with pytest.raises(ImageError, match=rf'a\.jpg.*({FOREIGN[data]})'):
        read_photo(save(tmp_path / 'a.jpg', data))
