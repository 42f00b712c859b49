"""The reader and writer: every kind of file a user may hand in, and every kind of broken one."""

import logging
import os
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from dualattn.io.photos import (
    ImageError,
    Photo,
    color_profile,
    read_photo,
    read_rgb,
    write_photo,
)
from dualattn.io.photos.metadata import load_exif

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (12, 20, 3), dtype=np.uint16)
# smooth, so that lossy formats come close
SMOOTH = np.dstack([*np.meshgrid(np.linspace(30, 220, 40), np.linspace(60, 180, 24)), np.full((24, 40), 120.0)])
SMOOTH = SMOOTH.round().astype(np.uint8)


def png_chunk(name, data):
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def png(width, height, depth, color_type, rows, *chunks):
    header = png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, color_type, 0, 0, 0))
    return (
        b'\x89PNG\r\n\x1a\n'
        + header
        + b''.join(chunks)
        + png_chunk(b'IDAT', zlib.compress(rows))
        + png_chunk(b'IEND', b'')
    )


def tiff16(path, pixels, **tags):
    """Write a 16-bit TIFF with further tags given as t274=6; the writer under test must not test itself."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    plain = {256: pixels.shape[1], 257: pixels.shape[0], 258: (16,) * channels, 259: 1, 262: 2 if channels > 1 else 1}
    plain |= {277: channels, 278: pixels.shape[0], 279: pixels.nbytes, 273: 0}
    for tag, value in (plain | {int(name[1:]): value for name, value in tags.items()}).items():
        directory[tag] = value
    with open(path, 'wb') as file:
        directory.save(file)
        file.write(pixels.astype('<u2').tobytes())


@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.ppm', '.tif', '.jp2', '.webp'])
def test_lossless_color_files_are_read_exactly_whatever_their_name(tmp_path, suffix):
    options = {'.webp': dict(lossless=True), '.jp2': dict(irreversible=False)}.get(suffix, {})
    Image.fromarray(RGB).save(tmp_path / f'a{suffix}', **options)
    os.rename(tmp_path / f'a{suffix}', tmp_path / 'Großmutter am Meer 祖母.dat')
    photo = read_photo(tmp_path / 'Großmutter am Meer 祖母.dat')
    np.testing.assert_array_equal(photo.pixels, RGB)
    assert (photo.alpha, photo.exif, photo.icc_profile, photo.bit_depth) == (None, None, None, 8)
    np.testing.assert_array_equal(read_rgb(tmp_path / 'Großmutter am Meer 祖母.dat'), RGB)


def test_gray_stays_two_dimensional(tmp_path):
    Image.fromarray(RGB[..., 0]).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.png').pixels, RGB[..., 0])
    np.testing.assert_array_equal(read_rgb(tmp_path / 'a.png'), np.repeat(RGB[..., :1], 3, axis=2))


def test_bilevel(tmp_path):
    Image.fromarray(RGB[..., 0] > 127).save(tmp_path / 'a.tif')
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, np.where(RGB[..., 0] > 127, 255, 0))


def test_palette_with_and_without_transparency(tmp_path):
    indices = RNG.integers(0, 3, (12, 20), dtype=np.uint8)
    colors = np.array([[200, 10, 30], [20, 180, 40], [15, 25, 190]], np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colors.tobytes())
    image.save(tmp_path / 'a.png')
    photo = read_photo(tmp_path / 'a.png')
    np.testing.assert_array_equal(photo.pixels, colors[indices])
    assert photo.alpha is None
    image.save(tmp_path / 'b.png', transparency=1)
    photo = read_photo(tmp_path / 'b.png')
    np.testing.assert_array_equal(photo.pixels, colors[indices])
    np.testing.assert_array_equal(photo.alpha, np.where(indices == 1, 0, 255))


@pytest.mark.parametrize('mode', ['LA', 'RGBA'])
def test_alpha_is_kept_and_laid_over_white_for_data_sets(tmp_path, mode):
    alpha = RNG.integers(0, 256, (12, 20), dtype=np.uint8)
    pixels = RGB if mode == 'RGBA' else RGB[..., :1]
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / 'a.png')
    photo = read_photo(tmp_path / 'a.png')
    np.testing.assert_array_equal(photo.pixels, pixels if mode == 'RGBA' else pixels[..., 0])
    np.testing.assert_array_equal(photo.alpha, alpha)
    weight = alpha[..., None] / 255
    assert np.abs(read_rgb(tmp_path / 'a.png') - (pixels * weight + 255 * (1 - weight))).max() <= 0.5 + 1e-6


def test_cmyk_jpeg_comes_close_to_its_colors(tmp_path):
    Image.fromarray(SMOOTH).convert('CMYK').save(tmp_path / 'a.jpg', quality=100, subsampling=0)
    assert np.abs(read_photo(tmp_path / 'a.jpg').pixels.astype(int) - SMOOTH).max() <= 4
    assert np.abs(read_rgb(tmp_path / 'a.jpg').astype(int) - SMOOTH).max() <= 4


def test_ycbcr_tiff(tmp_path):
    Image.fromarray(SMOOTH).save(tmp_path / 'a.tif', compression='jpeg', quality=100)
    assert np.abs(read_photo(tmp_path / 'a.tif').pixels.astype(int) - SMOOTH).max() <= 5


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.pgm'])
def test_16_bit_gray(tmp_path, suffix):
    Image.fromarray(RGB16[..., 0]).save(tmp_path / f'a{suffix}')
    photo = read_photo(tmp_path / f'a{suffix}')
    assert photo.bit_depth == 16
    np.testing.assert_array_equal(photo.pixels, RGB16[..., 0])
    expected = np.rint(RGB16[..., 0] / 257)
    np.testing.assert_array_equal(read_rgb(tmp_path / f'a{suffix}'), np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('channels', [3, 4])
def test_16_bit_color(tmp_path, suffix, channels):
    alpha = RNG.integers(0, 65536, (12, 20), dtype=np.uint16)
    pixels = RGB16 if channels == 3 else np.dstack([RGB16, alpha])
    if suffix == '.tif':
        tiff16(tmp_path / 'é.tif', pixels, **({'t338': 2} if channels == 4 else {}))
    else:
        rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
        (tmp_path / 'é.png').write_bytes(png(20, 12, 16, 2 if channels == 3 else 6, rows))
    photo = read_photo(tmp_path / f'é{suffix}')
    np.testing.assert_array_equal(photo.pixels, RGB16)
    assert photo.alpha is None if channels == 3 else np.array_equal(photo.alpha, alpha)
    assert read_rgb(tmp_path / f'é{suffix}').shape == RGB.shape


def test_16_bit_gray_with_alpha_png(tmp_path):
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in RGB16[..., :2])
    (tmp_path / 'a.png').write_bytes(png(20, 12, 16, 4, rows))
    photo = read_photo(tmp_path / 'a.png')
    np.testing.assert_array_equal(photo.pixels, RGB16[..., 0])
    np.testing.assert_array_equal(photo.alpha, RGB16[..., 1])


@pytest.mark.parametrize('color_type', [0, 2])
def test_transparent_color_of_a_16_bit_png(tmp_path, color_type):
    pixels = RGB16[..., 0] if color_type == 0 else RGB16
    key = pixels[3:4, 4].astype('>u2').tobytes()  # an array, as scalars drop the byte order
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
    (tmp_path / 'a.png').write_bytes(png(20, 12, 16, color_type, rows, png_chunk(b'tRNS', key)))
    photo = read_photo(tmp_path / 'a.png')
    np.testing.assert_array_equal(photo.pixels, pixels)
    assert photo.alpha[3, 4] == 0 and (photo.alpha == 65535).sum() == photo.alpha.size - 1


def test_16_bit_tiff_with_colors_multiplied_by_alpha(tmp_path):
    alpha = RNG.integers(20000, 65536, (12, 20, 1), dtype=np.uint16)
    multiplied = np.rint(RGB16 * (alpha / 65535)).astype(np.uint16)
    tiff16(tmp_path / 'a.tif', np.dstack([multiplied, alpha]), t338=1)
    assert np.abs(read_photo(tmp_path / 'a.tif').pixels.astype(int) - RGB16).max() <= 2


def test_16_bit_tiff_where_white_is_zero_is_no_negative(tmp_path):
    tiff16(tmp_path / 'a.tif', RGB16[..., 0], t262=0)
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, 65535 - RGB16[..., 0])


@pytest.mark.parametrize(
    ('dtype', 'reason'), [(np.float32, '32-bit floating'), (np.int32, '32-bit'), (np.int16, 'signed')]
)
def test_other_numbers_are_refused_with_what_to_do(tmp_path, dtype, reason):
    if dtype == np.int16:
        tiff16(tmp_path / 'a.tif', RGB16[..., 0], t339=2)
    else:
        Image.fromarray(RGB16[..., 0].astype(dtype)).save(tmp_path / 'a.tif')
    for reader in (read_photo, read_rgb):
        with pytest.raises(ImageError, match=rf'a\.tif.*{reason}.*save it'):
            reader(tmp_path / 'a.tif')


@pytest.mark.parametrize('suffix', ['.ppm', '.jp2', '.tif', '.png'])
def test_8_bits_are_read_without_a_word(tmp_path, suffix, caplog):
    Image.fromarray(RGB).save(tmp_path / f'a{suffix}')
    read_photo(tmp_path / f'a{suffix}')
    assert not caplog.records


@pytest.mark.parametrize('suffix', ['.gif', '.webp', '.png', '.tif'])
def test_first_frame_of_animations_and_pages_is_taken_and_said_once(tmp_path, suffix, caplog):
    frames = [Image.fromarray(np.full((12, 20), value, np.uint8)).convert('P') for value in (40, 200, 90)]
    frames = frames if suffix == '.gif' else [frame.convert('RGB') for frame in frames]
    options = {'.webp': dict(lossless=True)}.get(suffix, {})
    frames[0].save(tmp_path / f'a{suffix}', save_all=True, append_images=frames[1:], **options)
    with caplog.at_level(logging.WARNING):
        photo = read_photo(tmp_path / f'a{suffix}')
    assert (photo.pixels == 40).all()
    assert [record.getMessage() for record in caplog.records] == [
        f'{tmp_path / f"a{suffix}"}: 3 frames or pages, the first one is used'
    ]


# by the definition: where the first row and the first column of the file belong
UPRIGHT = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize(
    'kind', ['jpg', 'png', 'png16', 'tif', 'tif16', 'webp', 'tif-gray', 'tif-gray16', 'tif-RGBA', 'tif-CMYK', 'tif-lzw']
)
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation(tmp_path, kind, orientation):
    path = tmp_path / f'a.{kind.removesuffix("16").partition("-")[0]}'
    exif = Image.Exif()
    exif[274] = orientation
    stored = SMOOTH
    if kind == 'png16':
        stored = RGB16
        rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in RGB16)
        path.write_bytes(png(20, 12, 16, 2, rows, png_chunk(b'eXIf', exif.tobytes()[6:])))
    elif kind in ('tif16', 'tif-gray16'):
        stored = RGB16 if kind == 'tif16' else RGB16[..., 0]
        tiff16(path, stored, t274=orientation)
    elif kind == 'tif-gray':
        stored = SMOOTH[..., 0]
        Image.fromarray(stored).save(path, exif=exif)
    elif kind in ('tif-RGBA', 'tif-CMYK'):
        image = Image.fromarray(SMOOTH).convert(kind.removeprefix('tif-'))
        image.save(path, exif=exif)
        stored = np.asarray(image.convert('RGB'))
    else:
        options = {'webp': dict(lossless=True), 'jpg': dict(quality=95), 'tif-lzw': dict(compression='tiff_lzw')}
        Image.fromarray(SMOOTH).save(path, exif=exif, **options.get(kind, {}))
        if kind == 'jpg':
            stored = np.asarray(Image.open(path))
    expected = UPRIGHT[orientation](stored)
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, expected)
    if kind != 'jpg':  # 16 bits are cut or rounded, as the decoder has it
        shown = expected / 257 if stored.dtype == np.uint16 else expected
        difference = read_rgb(path) - (shown if shown.ndim == 3 else shown[..., None])
        assert np.abs(difference).max() < (1 if stored.dtype == np.uint16 else 1e-9)
    assert photo.exif is None or 274 not in load_exif(photo.exif)
    # what is written stays upright for a reader that obeys the tag
    write_photo(photo, tmp_path / 'out.png')
    with Image.open(tmp_path / 'out.png') as image:
        assert image.getexif().get(274, 1) == 1 and image.size == photo.pixels.shape[1::-1]


class TestBadInput:
    def check(self, path, reason):
        for reader in (read_photo, read_rgb):
            with pytest.raises(ImageError, match=reason) as caught:
                reader(path)
            assert str(path) in str(caught.value)

    def test_zero_bytes(self, tmp_path):
        (tmp_path / 'a.jpg').write_bytes(b'')
        self.check(tmp_path / 'a.jpg', 'empty')

    def test_text_named_jpg(self, tmp_path):
        (tmp_path / 'a.jpg').write_text('this is not an image')
        self.check(tmp_path / 'a.jpg', 'not an image')

    def test_formats_that_start_programs_are_not_opened(self, tmp_path):
        (tmp_path / 'a.jpg').write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n')
        self.check(tmp_path / 'a.jpg', 'not an image')

    def test_missing_and_folder(self, tmp_path):
        self.check(tmp_path / 'none.jpg', 'no such file')
        self.check(tmp_path, 'not a regular file')

    @pytest.mark.parametrize('kind', ['jpg', 'png', 'tif', 'webp', 'gif', 'bmp', 'png16', 'tif16', 'tif16lzw'])
    @pytest.mark.parametrize('kept', [0.1, 0.5, 0.95])
    def test_truncated(self, tmp_path, kind, kept):
        path = tmp_path / f'a.{kind[:3]}'
        noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        if kind == 'tif16':
            tiff16(path, noise.astype(np.uint16) * 257)
        elif kind == 'tif16lzw':
            path.write_bytes(cv2.imencode('.tif', noise.astype(np.uint16) * 251)[1].tobytes())
        elif kind == 'png16':  # with EXIF data, as asking for those would else decode the image
            write_photo(Photo(noise.astype(np.uint16) * 251, exif=b'Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0'), path)
        else:
            Image.fromarray(noise).save(path, {'jpg': 'JPEG', 'tif': 'TIFF', 'web': 'WEBP'}.get(kind[:3]))
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * kept)])
        self.check(path, 'cannot be read|not an image')

    def test_png_bomb_is_refused_from_its_header(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 89_478_485)  # Pillow's; importing nuscenes-devkit lifts it
        size = 30_000  # 900 million pixels in 110 kB: one bit each, all zero
        path = tmp_path / 'bomb.png'
        path.write_bytes(png(size, size, 1, 0, b'\0' * ((size + 7) // 8 + 1) * size))
        tracemalloc.start()
        for reader in (read_photo, read_rgb):
            with pytest.raises(ImageError, match=r'bomb\.png.*pixels'):
                reader(path)
            with pytest.raises(ImageError, match='900000000 pixels'):
                reader(path, max_pixels=1 << 40)  # Pillow's own limit stands behind ours
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5 << 20

    def test_limit_is_an_argument_and_inclusive(self, tmp_path):
        Image.fromarray(RGB).save(tmp_path / 'a.png')
        assert read_photo(tmp_path / 'a.png', max_pixels=240).pixels.shape == RGB.shape
        with pytest.raises(ImageError, match='20 x 12 pixels are more than the limit of 239'):
            read_photo(tmp_path / 'a.png', max_pixels=239)

    def test_absurd_side(self, tmp_path):
        Image.fromarray(np.zeros((1, 70_000), np.uint8)).save(tmp_path / 'a.png')
        self.check(tmp_path / 'a.png', '70000 x 1')

    def test_large_legal_image_brings_no_warning(self, tmp_path, recwarn):
        path = tmp_path / 'a.png'
        path.write_bytes(png(9_999, 10_000, 1, 0, b'\0' * 1251 * 10_000))
        assert read_photo(path).pixels.shape == (10_000, 9_999)
        assert not [warning for warning in recwarn if 'Decompression' in str(warning.category)]

    @pytest.mark.parametrize('shape', [(1, 1), (1, 4000), (4000, 1)])
    def test_thin_images_are_fine(self, tmp_path, shape):
        Image.fromarray(np.full(shape, 77, np.uint8)).save(tmp_path / 'a.png')
        np.testing.assert_array_equal(read_photo(tmp_path / 'a.png').pixels, np.full(shape, 77))


def test_jpeg_is_decoded_small_but_never_below_min_side(tmp_path):
    Image.fromarray(SMOOTH).resize((1000, 600), Image.Resampling.BICUBIC).save(tmp_path / 'a.jpg')
    assert read_rgb(tmp_path / 'a.jpg').shape == (600, 1000, 3)
    assert read_rgb(tmp_path / 'a.jpg', min_side=256).shape == (300, 500, 3)
    assert read_rgb(tmp_path / 'a.jpg', min_side=64).shape == (75, 125, 3)
    assert read_rgb(tmp_path / 'a.jpg', min_side=700).shape == (600, 1000, 3)


class TestPhoto:
    def test_wrong_arrays_are_refused(self):
        with pytest.raises(TypeError, match='float32'):
            Photo(RGB.astype(np.float32))
        with pytest.raises(TypeError, match='alpha must be uint8'):
            Photo(RGB, alpha=RGB16[..., 0])
        for shape in ((4,), (4, 4, 4), (4, 4, 1), (0, 4), (2, 2, 2, 3)):
            with pytest.raises(ValueError, match='pixels must be'):
                Photo(np.zeros(shape, np.uint8))
        for dpi in ((0, 300), (300, float('nan')), (300, 70_000)):
            with pytest.raises(ValueError, match='dpi must be two numbers'):
                Photo(RGB, dpi=dpi)
        with pytest.raises(ValueError, match=r'alpha must be \(12, 20\)'):
            Photo(RGB, alpha=RGB[:5, :, 0])


class TestWrite:
    @pytest.mark.parametrize('suffix', ['.png', '.tif', '.TIFF'])
    @pytest.mark.parametrize('pixels', [RGB, RGB16], ids=['8', '16'])
    @pytest.mark.parametrize('has_alpha', [False, True])
    def test_lossless_round_trip(self, tmp_path, suffix, pixels, has_alpha):
        photo = Photo(pixels, pixels[::-1, :, 0].copy() if has_alpha else None, None, color_profile.srgb_profile())
        write_photo(photo, tmp_path / f'ä ö{suffix}')
        again = read_photo(tmp_path / f'ä ö{suffix}')
        np.testing.assert_array_equal(again.pixels, pixels)
        assert (again.alpha is None) == (not has_alpha)
        np.testing.assert_array_equal(again.alpha, photo.alpha)
        assert again.icc_profile == photo.icc_profile
        # an independent decoder agrees
        with Image.open(tmp_path / f'ä ö{suffix}') as image:
            np.testing.assert_array_equal(np.asarray(image)[..., :3], pixels if pixels is RGB else pixels >> 8)

    def test_jpeg_is_444_and_close(self, tmp_path):
        write_photo(Photo(SMOOTH), tmp_path / 'a.jpg')
        with Image.open(tmp_path / 'a.jpg') as image:
            assert {component[1:3] for component in image.layer} == {(1, 1)}
            assert np.abs(np.asarray(image).astype(int) - SMOOTH).max() <= 4

    def test_jpeg_lays_transparent_parts_over_white_and_says_so(self, tmp_path, caplog):
        alpha = np.zeros(SMOOTH.shape[:2], np.uint8)
        alpha[:, 20:] = 255
        write_photo(Photo(SMOOTH, alpha), tmp_path / 'a.jpg')
        pixels = read_photo(tmp_path / 'a.jpg').pixels
        assert pixels[:, :16].min() > 245 and np.abs(pixels[:, 24:].astype(int) - SMOOTH[:, 24:]).max() < 10
        assert 'white' in caplog.text

    @pytest.mark.parametrize('suffix', ['.jpg', '.webp'])
    def test_16_bits_are_rounded_where_the_format_has_8(self, tmp_path, suffix, caplog):
        write_photo(Photo(SMOOTH.astype(np.uint16) * 257), tmp_path / f'a{suffix}')
        assert np.abs(read_photo(tmp_path / f'a{suffix}').pixels.astype(int) - SMOOTH).max() <= 8
        assert '8 of the 16 bits' in caplog.text

    def test_webp_keeps_alpha(self, tmp_path):
        write_photo(Photo(RGB, RGB[..., 0]), tmp_path / 'a.webp')
        np.testing.assert_array_equal(read_photo(tmp_path / 'a.webp').alpha, RGB[..., 0])

    def test_gray_is_written_as_rgb(self, tmp_path):
        write_photo(Photo(RGB[..., 0], icc_profile=color_profile.srgb_profile()), tmp_path / 'a.png')
        with Image.open(tmp_path / 'a.png') as image:
            assert image.mode == 'RGB'

    def test_existing_output(self, tmp_path):
        path = tmp_path / 'a.png'
        path.write_text('precious')
        with pytest.raises(FileExistsError, match=r'a\.png exists'):
            write_photo(Photo(RGB), path)
        assert path.read_text() == 'precious'
        write_photo(Photo(RGB), path, overwrite=True)
        np.testing.assert_array_equal(read_photo(path).pixels, RGB)

    def test_unknown_suffix(self, tmp_path):
        with pytest.raises(ImageError, match=r"'\.gif' cannot be written, use one of \.png"):
            write_photo(Photo(RGB), tmp_path / 'a.gif')

    def test_too_large_for_the_format(self, tmp_path):
        with pytest.raises(ImageError, match=r'a\.webp.*16383'):
            write_photo(Photo(np.zeros((1, 16_384, 3), np.uint8)), tmp_path / 'a.webp')
        assert list(tmp_path.iterdir()) == []

    def test_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / 'file').write_text('no folder')
        with pytest.raises(OSError, match=r'a\.png: cannot be written.*choose another'):
            write_photo(Photo(RGB), tmp_path / 'file' / 'a.png')
        with pytest.raises(OSError, match=r'a\.png: cannot be written: No such file'):
            write_photo(Photo(RGB), tmp_path / 'missing' / 'a.png')

    @pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write everywhere')
    def test_folder_without_permission(self, tmp_path):
        os.chmod(tmp_path, 0o500)
        with pytest.raises(OSError, match='Permission denied'):
            write_photo(Photo(RGB), tmp_path / 'a.png')

    def test_failure_in_the_middle_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch):
        path = tmp_path / 'a.png'
        path.write_text('precious')

        def fail(self, file, *args, **kwargs):
            file.write(b'half')
            raise OSError(28, 'No space left on device')

        monkeypatch.setattr(Image.Image, 'save', fail)
        with pytest.raises(OSError, match='No space left'):
            write_photo(Photo(RGB), path, overwrite=True)
        assert path.read_text() == 'precious' and os.listdir(tmp_path) == ['a.png']

    def test_longest_name_and_ordinary_permissions(self, tmp_path):
        path = tmp_path / ('n' * 251 + '.png')
        write_photo(Photo(RGB), path)
        (tmp_path / 'plain').touch()
        assert path.stat().st_mode == (tmp_path / 'plain').stat().st_mode
