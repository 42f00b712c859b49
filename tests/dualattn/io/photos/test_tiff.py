"""TIFF in all the layouts that scanners and archives have made: written by tifffile or by hand, checked by others."""

import importlib.util
import itertools
import struct

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from skimage.color import rgb2lab

from dualattn.io.photos import ImageError, count_pages, read_photo, read_rgb
from dualattn.io.photos.metadata import load_exif

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 37, 53
SMOOTH = np.stack(
    [np.add.outer(np.linspace(20, 90, HEIGHT), np.linspace(10 * channel, 120, WIDTH)) for channel in range(4)], axis=-1
)
SMOOTH = SMOOTH.round().astype(np.uint8)


def write(path, samples, photometric, planar=False, **options):
    """Write (H, W, C) samples."""
    samples = samples[..., 0] if samples.shape[-1] == 1 else samples
    if planar and samples.ndim == 3:
        samples, options = np.moveaxis(samples, -1, 0), options | dict(planarconfig='separate')
    tifffile.imwrite(path, samples, photometric=photometric, metadata=None, **options)


LAYOUTS = [
    dict(),
    dict(tile=(16, 32)),
    dict(rowsperstrip=5),
    dict(compression='lzw', predictor=True, rowsperstrip=7),
    dict(compression='deflate', predictor=True, tile=(32, 16)),
    dict(compression='packbits'),
    dict(compression='zstd'),
    dict(compression='lzma'),
    dict(compression='png', rowsperstrip=8),
    dict(compression='jpegxl', compressionargs=dict(lossless=True)),
    dict(compression='webp', compressionargs=dict(lossless=True)),
    dict(compression='jpeg2000', compressionargs=dict(level=0)),
]


@pytest.mark.parametrize(('planar', 'order', 'big'), list(itertools.product([False, True], '<>', [False, True])))
@pytest.mark.parametrize('layout', LAYOUTS, ids=lambda layout: '-'.join(map(str, layout.values())) or 'plain')
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_every_layout_gives_the_same_pixels(tmp_path, planar, order, big, layout, dtype):
    if layout.get('compression') == 'webp' and dtype == np.uint16:
        pytest.skip('WebP has 8 bits')
    if layout.get('compression') == 'webp' and planar:
        pytest.skip('WebP has no gray')
    if layout.get('compression') in ('png', 'jpegxl', 'jpeg2000') and order == '>' and dtype == np.uint16:
        pytest.skip('tifffile cannot write these')
    rgb = RNG.integers(0, np.iinfo(dtype).max + 1, (HEIGHT, WIDTH, 3), dtype=dtype)
    write(tmp_path / 'a.tif', rgb, 'rgb', planar, byteorder=order, bigtiff=big, **layout)
    photo = read_photo(tmp_path / 'a.tif')
    np.testing.assert_array_equal(photo.pixels, rgb)
    assert photo.alpha is None
    if dtype == np.uint8:
        np.testing.assert_array_equal(read_rgb(tmp_path / 'a.tif'), rgb)


@pytest.mark.parametrize('planar', [False, True])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ('photometric', 'colors'), [('minisblack', 1), ('miniswhite', 1), ('rgb', 3), ('separated', 4)]
)
@pytest.mark.parametrize('extra', [(), ('unassalpha',), ('assocalpha',), ('unspecified', 'unassalpha')])
def test_channels_beside_the_colours(tmp_path, planar, dtype, photometric, colors, extra, caplog):
    full = int(np.iinfo(dtype).max)
    samples = RNG.integers(0, full + 1, (HEIGHT, WIDTH, colors + len(extra)), dtype=dtype)
    if extra == ('assocalpha',):
        samples[..., -1] = RNG.integers(full // 2, full + 1, (HEIGHT, WIDTH))
        straight = samples[..., :-1].copy()
        samples[..., :-1] = np.rint(straight * (samples[..., -1:] / full)).astype(dtype)
    else:
        straight = samples[..., :colors]
    write(tmp_path / 'a.tif', samples, photometric, planar, **(dict(extrasamples=extra) if extra else {}))
    photo = read_photo(tmp_path / 'a.tif')
    straight = straight.astype(np.int64)
    if photometric == 'separated':
        expected = np.rint((full - straight[..., :3]) * (full - straight[..., 3:]) / full)
    else:
        expected = straight if photometric != 'miniswhite' or extra == ('assocalpha',) else full - straight
    if photometric == 'miniswhite' and extra == ('assocalpha',):
        return  # nobody has said what black ink times opacity is; only that it is read
    found = photo.pixels[..., None] if photo.pixels.ndim == 2 else photo.pixels
    tolerance = 3 if extra == ('assocalpha',) else 1 if photometric == 'separated' else 0
    assert np.abs(found.astype(np.int64) - expected).max() <= tolerance
    if extra:
        np.testing.assert_array_equal(photo.alpha, samples[..., -1])
        assert ('1 channel beside the colours is left out' in caplog.text) == (len(extra) == 2)
    else:
        assert photo.alpha is None


def test_a_fourth_channel_without_a_word_is_alpha_and_one_that_is_none_is_left_out(tmp_path, caplog):
    rgba = RNG.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    write(tmp_path / 'a.tif', rgba, 'rgb', extrasamples=['unspecified'])
    photo = read_photo(tmp_path / 'a.tif')
    np.testing.assert_array_equal(photo.pixels, rgba[..., :3])
    assert photo.alpha is None and 'left out' in caplog.text
    data = bytearray((tmp_path / 'a.tif').read_bytes())
    at = data.index(struct.pack('<HHI', 338, 3, 1))
    data[at : at + 2] = struct.pack('<H', 65000)  # a private tag in its place
    (tmp_path / 'b.tif').write_bytes(data)
    np.testing.assert_array_equal(read_photo(tmp_path / 'b.tif').alpha, rgba[..., 3])


@pytest.mark.parametrize('bits', [1, 2, 4, 6, 8, 10, 12, 14, 16])
@pytest.mark.parametrize('photometric', ['minisblack', 'miniswhite'])
def test_bits_of_gray_fill_the_range(tmp_path, bits, photometric):
    dtype = np.uint8 if bits <= 8 else np.uint16
    stored = RNG.integers(0, 1 << bits, (HEIGHT, WIDTH), dtype=dtype)
    stored[0, :2] = 0, (1 << bits) - 1
    write(tmp_path / 'a.tif', stored[..., None], photometric, bitspersample=bits)
    found = read_photo(tmp_path / 'a.tif').pixels
    full = np.iinfo(found.dtype).max
    assert found.dtype == dtype
    expected = np.rint(stored / ((1 << bits) - 1) * full)
    expected = full - expected if photometric == 'miniswhite' else expected
    assert np.abs(found - expected).max() <= 0.5


@pytest.mark.parametrize('planar', [False, True])
@pytest.mark.parametrize('bits', [10, 12, 14])
def test_packed_colour_as_opencv_or_by_its_numbers(tmp_path, bits, planar):
    stored = RNG.integers(0, 1 << bits, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    write(tmp_path / 'a.tif', stored, 'rgb', planar, bitspersample=bits)
    assert np.abs(read_photo(tmp_path / 'a.tif').pixels - stored / ((1 << bits) - 1) * 65535).max() <= 0.5


@pytest.mark.parametrize('compression', [2, 3, 4])
@pytest.mark.parametrize('photometric', [0, 1])
@pytest.mark.parametrize('order', [1, 2])
def test_fax_as_libtiff_has_it(tmp_path, compression, photometric, order):
    picture = Image.fromarray(SMOOTH[..., 0] > 120)
    name = {2: 'tiff_ccitt', 3: 'group3', 4: 'group4'}[compression]
    picture.save(tmp_path / 'a.tif', compression=name, tiffinfo={266: order, 262: photometric})
    with Image.open(tmp_path / 'a.tif') as image:
        expected = np.asarray(image.convert('L'))
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, expected)


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('old', [False, True])
def test_palettes_of_16_bits_and_of_writers_that_took_them_for_8(tmp_path, bits, old):
    palette = RNG.integers(0, 256, (3, 1 << bits), dtype=np.uint16)
    palette[0, 0] = 255
    indices = RNG.integers(0, 1 << bits, (HEIGHT, WIDTH), dtype=np.uint8 if bits == 8 else np.uint16)
    write(tmp_path / 'a.tif', indices[..., None], 'palette', colormap=palette * (1 if old else 257))
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, palette.T[indices])


@pytest.mark.parametrize(
    'dtype', [np.int8, np.int16, np.int32, np.float16, np.float32, np.float64, np.uint32, np.complex64]
)
@pytest.mark.parametrize('channels', [1, 3])
def test_numbers_without_black_and_white_are_refused(tmp_path, dtype, channels):
    samples = RNG.random((HEIGHT, WIDTH, channels)).astype(dtype)
    write(tmp_path / 'a.tif', samples, 'rgb' if channels == 3 else 'minisblack')
    for reader in (read_photo, read_rgb):
        with pytest.raises(ImageError, match=r'a\.tif.*save it as 8-bit or 16-bit'):
            reader(tmp_path / 'a.tif')


@pytest.mark.parametrize('kind', [8, 9])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('planar', [False, True])
def test_lab_as_littlecms_converts_it(tmp_path, kind, dtype, planar):
    l = np.linspace(25, 80, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    a, b = 15 * np.sin(l / 7), 15 * np.cos(l / 5)
    if dtype == np.uint8:
        stored = np.stack([l * 2.55, a + 128 * (kind == 9), b + 128 * (kind == 9)], axis=-1)
        stored = stored.round().astype(np.int16).astype(np.uint8)
    else:
        white = 65535 if kind == 8 else 65280
        stored = np.stack([l / 100 * white, (a + 128 * (kind == 9)) * 256, (b + 128 * (kind == 9)) * 256], axis=-1)
        stored = stored.round().astype(np.int32).astype(np.uint16)
    write(tmp_path / 'a.tif', stored, kind, planar)
    signed = np.stack([a, b], axis=-1).round().astype(np.int8).view(np.uint8)  # Pillow keeps a and b signed
    whole = np.dstack([(l * 2.55).round().astype(np.uint8), signed])
    lab = Image.frombytes('LAB', (WIDTH, HEIGHT), whole.tobytes())
    oracle = ImageCms.profileToProfile(
        lab,
        ImageCms.createProfile('LAB'),
        ImageCms.createProfile('sRGB'),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode='RGB',
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE,
    )
    photo = read_photo(tmp_path / 'a.tif')
    assert photo.bit_depth == 16
    assert np.abs(photo.pixels / 257 - np.asarray(oracle)).mean() < 0.7
    assert np.abs(photo.pixels / 257 - np.asarray(oracle)).max() < 3.5  # the oracle's Lab has whole numbers


@pytest.mark.parametrize('sampling', [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize('tiled', [False, True])
def test_jpeg_inside_as_libtiff_decodes_it(tmp_path, sampling, tiled):
    picture = np.kron(SMOOTH[..., :3], np.ones((4, 4, 1), np.uint8))
    tifffile.imwrite(
        tmp_path / 'a.tif',
        picture,
        photometric='rgb',
        compression='jpeg',
        compressionargs=dict(level=95),
        subsampling=sampling,
        metadata=None,
        **(dict(tile=(64, 64)) if tiled else {}),
    )
    expected = imagecodecs.tiff_decode((tmp_path / 'a.tif').read_bytes(), asrgb=True)[..., :3]
    found = read_photo(tmp_path / 'a.tif').pixels
    assert np.abs(found.astype(int) - expected).max() <= 2 and np.abs(found.astype(int) - picture).max() < 12


@pytest.mark.parametrize('sampling', [(1, 1), (2, 2), (4, 2)])
def test_subsampled_colours_outside_of_a_jpeg_as_libtiff_decodes_them(tmp_path, sampling):
    """By hand, as no writer here makes them: data units of luma, then one pair of chroma (TIFF 6.0, section 21)."""
    across, down = sampling
    height, width = 24, 32
    luma = np.kron(RNG.integers(40, 200, (height // 8, width // 8)), np.ones((8, 8), int)).astype(np.uint8)
    units = []
    for y, x in itertools.product(range(0, height, down), range(0, width, across)):
        units.append(luma[y : y + down, x : x + across].tobytes() + bytes([110, 150]))
    data = b''.join(units)
    from PIL import TiffImagePlugin

    directory = TiffImagePlugin.ImageFileDirectory_v2()
    tags = {256: width, 257: height, 258: (8, 8, 8), 259: 1, 262: 6, 277: 3, 278: height, 279: len(data), 273: 0}
    for tag, value in (tags | {530: sampling}).items():
        directory[tag] = value
    with open(tmp_path / 'a.tif', 'wb') as file:
        directory.save(file)
        file.write(data)
    y = luma.astype(float)
    expected = np.stack([y + 1.402 * 22, y - 0.344136 * -18 - 0.714136 * 22, y + 1.772 * -18], axis=-1).clip(0, 255)
    assert np.abs(read_photo(tmp_path / 'a.tif').pixels - expected).max() <= 1.5


def test_planar_cmyk_of_16_bits_is_the_interleaved_one(tmp_path):
    inks = RNG.integers(0, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
    for planar, name in ((False, 'a'), (True, 'b')):
        write(tmp_path / f'{name}.tif', inks, 'separated', planar)
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, read_photo(tmp_path / 'b.tif').pixels)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['planar16', 'tiled-gray', 'lab', 'sub'])
def test_orientation_of_every_kind(tmp_path, orientation, kind):
    rgb = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    tag = [(274, 'H', 1, orientation, True)]
    if kind == 'planar16':
        write(tmp_path / 'a.tif', rgb, 'rgb', True, extratags=tag)
    elif kind == 'tiled-gray':
        write(tmp_path / 'a.tif', rgb[..., :1], 'minisblack', tile=(16, 16), extratags=tag)
    elif kind == 'lab':
        write(tmp_path / 'a.tif', rgb, 9, extratags=tag)
        write(tmp_path / 'plain.tif', rgb, 9)
    else:  # the page says how its SubIFD is turned
        with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
            file.write(rgb[::4, ::4], photometric='rgb', subfiletype=1, subifds=1, extratags=tag, metadata=None)
            file.write(rgb, photometric='rgb', metadata=None)
    stored = rgb[..., 0] if kind == 'tiled-gray' else rgb
    stored = read_photo(tmp_path / 'plain.tif').pixels if kind == 'lab' else stored
    turned = {
        1: lambda pixels: pixels,
        2: lambda pixels: pixels[:, ::-1],
        3: lambda pixels: pixels[::-1, ::-1],
        4: lambda pixels: pixels[::-1],
        5: lambda pixels: pixels.swapaxes(0, 1),
        6: lambda pixels: np.rot90(pixels, -1),
        7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90,
    }[orientation](stored)
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, turned)


class TestPages:
    SMALL, LARGE = (RNG.integers(0, 256, shape, dtype=np.uint8) for shape in ((12, 16, 3), (48, 64, 3)))

    def write(self, path, *pages, **options):
        with tifffile.TiffWriter(path, **options) as file:
            for pixels, tags in pages:
                file.write(pixels, photometric='rgb', metadata=None, **tags)

    @pytest.mark.parametrize(
        'options', [{}, dict(bigtiff=True), dict(byteorder='>'), dict(bigtiff=True, byteorder='>')]
    )
    @pytest.mark.parametrize(
        'pages',
        [
            [(SMALL, dict(subfiletype=1)), (LARGE, {})],
            [(SMALL, dict(subfiletype=1, subifds=1)), (LARGE, {})],
            [(SMALL, dict(subfiletype=1, subifds=2)), (SMALL, dict(subfiletype=1)), (LARGE, {})],
            [(SMALL, {}), (LARGE, {})],  # nothing is said of the small one
            [(LARGE, {}), (SMALL, dict(subfiletype=1))],
            [(LARGE, dict(subifds=1)), (SMALL, dict(subfiletype=1))],
            [(LARGE, dict(subfiletype=1)), (LARGE[::-1], dict(subfiletype=4)), (LARGE, dict(subfiletype=0))][2:],
            [(SMALL, dict(extratags=[(255, 'H', 1, 2, True)])), (LARGE, dict(extratags=[(255, 'H', 1, 1, True)]))],
        ],
    )
    def test_the_photograph_is_found(self, tmp_path, pages, options):
        self.write(tmp_path / 'a.tif', *pages, **options)
        np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, self.LARGE)
        np.testing.assert_array_equal(read_rgb(tmp_path / 'a.tif'), self.LARGE)
        assert count_pages(tmp_path / 'a.tif') == 1

    def test_a_large_mask_is_no_photograph(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
            file.write(self.LARGE[::2, ::2], photometric='rgb', metadata=None)
            file.write(self.LARGE[..., 0] > 100, photometric='mask', subfiletype=4, metadata=None)
        np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, self.LARGE[::2, ::2])

    def test_pages_of_a_document_one_by_one(self, tmp_path, caplog):
        pages = [RNG.integers(0, 256, (40 + index, 30, 3), dtype=np.uint8) for index in range(3)]
        self.write(tmp_path / 'a.tif', *((page, {}) for page in pages))
        assert count_pages(tmp_path / 'a.tif') == 3
        np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, pages[0])
        assert '3 frames or pages, the first one is used' in caplog.text
        for index, page in enumerate(pages):
            np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif', page=index + 1).pixels, page)
        with pytest.raises(ImageError, match='page 4 of 3'):
            read_photo(tmp_path / 'a.tif', page=4)

    def test_what_a_thumbnail_knows_is_kept(self, tmp_path):
        tags = [(271, 's', 0, 'Zeiss', True), (700, 'B', 5, b'<a/> ', True)]
        self.write(tmp_path / 'a.tif', (self.SMALL, dict(subfiletype=1, subifds=1, extratags=tags)), (self.LARGE, {}))
        photo = read_photo(tmp_path / 'a.tif')
        assert load_exif(photo.exif)[271] == 'Zeiss' and photo.xmp == b'<a/> '

    def test_what_a_sensor_saw_is_developed_or_refused_and_its_preview_never_taken(self, tmp_path, monkeypatch):
        mosaic = RNG.integers(0, 4096, (96, 128), dtype=np.uint16)
        tags = [
            (50706, 'B', 4, (1, 4, 0, 0), True),
            (50708, 's', 0, 'Zeiss Ikon', True),
            (50721, '2i', 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        ]
        cfa = [(33421, 'H', 2, (2, 2), True), (33422, 'B', 4, (0, 1, 1, 2), True), (50717, 'I', 1, 4095, True)]
        with tifffile.TiffWriter(tmp_path / 'a.dng') as file:
            file.write(self.SMALL, photometric='rgb', subfiletype=1, subifds=1, extratags=tags, metadata=None)
            file.write(mosaic, photometric='cfa', subfiletype=0, extratags=cfa, metadata=None)
        if importlib.util.find_spec('rawpy') is not None:
            photo = read_photo(tmp_path / 'a.dng')
            assert photo.pixels.shape == (96, 128, 3) and photo.bit_depth == 16
        monkeypatch.setattr('dualattn.io.photos.reading.raw.find_spec', lambda name: None)
        with pytest.raises(ImageError, match='pip install rawpy'):
            read_photo(tmp_path / 'a.dng')


class TestDamage:
    def write(self, path, **options):
        pixels = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        tifffile.imwrite(path, pixels, photometric='rgb', rowsperstrip=8, metadata=None, **options)
        return pixels, path.read_bytes()

    @pytest.mark.parametrize('compression', ['none', 'lzw', 'deflate', 'packbits'])
    def test_cut_strips_are_refused_with_the_reason_and_salvaged_on_request(self, tmp_path, compression, caplog):
        pixels, data = self.write(tmp_path / 'a.tif', compression=compression)
        (tmp_path / 'a.tif').write_bytes(data[: int(len(data) * 0.6)])
        with pytest.raises(ImageError, match='truncated.*--allow-truncated'):
            read_photo(tmp_path / 'a.tif')
        found = read_photo(tmp_path / 'a.tif', allow_truncated=True).pixels
        np.testing.assert_array_equal(found[:32], pixels[:32])
        assert (found[48:] == 0).all() and 'damaged' in caplog.text

    @pytest.mark.parametrize('kept', [-4, -1])
    @pytest.mark.parametrize('channels', [1, 3])
    def test_directory_at_the_end_that_is_cut(self, tmp_path, kept, channels):
        picture = SMOOTH[..., :channels].squeeze()
        Image.fromarray(picture).save(tmp_path / 'a.tif', compression='tiff_lzw')
        (tmp_path / 'a.tif').write_bytes((tmp_path / 'a.tif').read_bytes()[:kept])
        with pytest.raises(ImageError, match='truncated.*missing'):
            read_photo(tmp_path / 'a.tif')
        if channels == 3:  # its bits per sample are gone: nothing tells what the strips hold
            with pytest.raises(ImageError, match='tags 258'):
                read_photo(tmp_path / 'a.tif', allow_truncated=True)
            return
        found = read_photo(tmp_path / 'a.tif', allow_truncated=True).pixels
        np.testing.assert_array_equal(found, picture)

    def test_strips_that_lie_nowhere_and_circles(self, tmp_path):
        _, data = self.write(tmp_path / 'a.tif')
        with tifffile.TiffFile(tmp_path / 'a.tif') as file:
            page = file.pages[0]
            end = page.offset + 2 + 12 * len(page.tags)
        circle = bytearray(data)
        circle[end : end + 4] = struct.pack('<I', page.offset)
        (tmp_path / 'b.tif').write_bytes(circle)
        assert read_photo(tmp_path / 'b.tif').pixels.shape == (64, 64, 3)


@pytest.mark.parametrize('compression', ['none', 'lzw', 'deflate'])
def test_opencv_reads_the_same(tmp_path, compression):
    for dtype in (np.uint8, np.uint16):
        rgb = RNG.integers(0, np.iinfo(dtype).max + 1, (HEIGHT, WIDTH, 3), dtype=dtype)
        number = {'none': 1, 'lzw': 5, 'deflate': 8}[compression]
        cv2.imwrite(str(tmp_path / 'a.tif'), rgb[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, number])
        np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, rgb)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_lab_under_another_white(tmp_path, dtype):
    """As scikit-image has Lab, under D65, which ImageMagick writes and states."""
    rgb = RNG.integers(30, 220, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    lab = rgb2lab(rgb)
    scale, step = (2.55, 1) if dtype == np.uint8 else (655.35, 256)
    stored = np.rint(lab * [scale, step, step]).astype(np.int32).astype(dtype)
    white = (318, '2I', 2, (3127, 10000, 3290, 10000), True)
    tifffile.imwrite(tmp_path / 'a.tif', stored, photometric=8, metadata=None, extratags=[white])
    difference = np.abs(read_photo(tmp_path / 'a.tif').pixels / 257 - rgb)
    assert difference.max() <= (10 if dtype == np.uint8 else 1.5) and difference.mean() < 1.5


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('kind', [8, 9])
@pytest.mark.parametrize('planar', [False, True])
def test_lab_with_alpha(tmp_path, dtype, kind, planar):
    lab = RNG.integers(0, 100, (HEIGHT, WIDTH, 4)).astype(dtype)
    write(tmp_path / 'a.tif', lab, kind, planar, extrasamples=['unassalpha'])
    write(tmp_path / 'b.tif', lab[..., :3].copy(), kind, planar)
    found = read_photo(tmp_path / 'a.tif')
    np.testing.assert_array_equal(found.pixels, read_photo(tmp_path / 'b.tif').pixels)
    np.testing.assert_array_equal(found.alpha, lab[..., 3].astype(np.uint16) * (257 if dtype == np.uint8 else 1))


def _bigtiff(order, pointer):
    """Write a BigTIFF by hand, 3 x 2 gray pixels with EXIF and GPS; pointers to directories have this type."""

    def directory(start, entries):
        head, values = struct.pack(order + 'Q', len(entries)), b''
        behind = start + 8 + 20 * len(entries) + 8
        for code, kind, count, value in entries:
            if len(value) > 8:
                field = struct.pack(order + 'Q', behind + len(values))
                values += value
            else:
                field = value.ljust(8, b'\0')
            head += struct.pack(order + 'HHQ', code, kind, count) + field
        return head + bytes(8) + values

    def number(form, *values):
        return struct.pack(order + form, *values)

    exposure = [(0x829A, 5, 1, number('2I', 1, 125)), (0x9003, 2, 20, b'1950:06:01 12:00:00\0')]
    place = [(1, 2, 2, b'N\0'), (2, 5, 3, number('6I', 52, 1, 31, 1, 12, 1))]
    wide = number({4: 'I', 13: 'I', 16: 'Q', 18: 'Q'}[pointer], 0)
    main = [
        *((256, 3, 1, number('H', 3)), (257, 3, 1, number('H', 2)), (258, 3, 1, number('H', 8))),
        *((259, 3, 1, number('H', 1)), (262, 3, 1, number('H', 1)), (271, 2, 11, b'Zeiss Ikon\0')),
        *((273, 16, 1, number('Q', 16)), (277, 3, 1, number('H', 1)), (278, 3, 1, number('H', 2))),
        *((279, 16, 1, number('Q', 6)), (282, 5, 1, number('2I', 1200, 1)), (283, 5, 1, number('2I', 600, 1))),
        *((296, 3, 1, number('H', 2)), (315, 2, 4, b'Oma\0'), (34665, pointer, 1, wide), (34853, pointer, 1, wide)),
    ]
    at = 24
    exif_at = at + len(directory(at, main))
    place_at = exif_at + len(directory(exif_at, exposure))
    form = {4: 'I', 13: 'I', 16: 'Q', 18: 'Q'}[pointer]
    main[-2:] = [(34665, pointer, 1, number(form, exif_at)), (34853, pointer, 1, number(form, place_at))]
    head = (
        (b'II' if order == '<' else b'MM')
        + number('HHH', 43, 8, 0)
        + number('Q', at)
        + bytes([0, 50, 100, 150, 200, 250])
    )
    return head.ljust(at, b'\0') + directory(at, main) + directory(exif_at, exposure) + directory(place_at, place)


@pytest.mark.parametrize('pointer', [4, 13, 16, 18])
@pytest.mark.parametrize('order', ['<', '>'])
def test_exif_of_a_bigtiff(tmp_path, order, pointer):
    (tmp_path / 'a.tif').write_bytes(_bigtiff(order, pointer))
    found = read_photo(tmp_path / 'a.tif')
    np.testing.assert_array_equal(found.pixels, [[0, 50, 100], [150, 200, 250]])
    entries = load_exif(found.exif)
    assert (entries[271], entries[315], found.dpi) == ('Zeiss Ikon', 'Oma', (1200, 600))
    if order == '>' or pointer in (4, 13):  # of the others Pillow follows no pointer, which costs no photograph
        assert entries.get_ifd(34665)[0x9003] == '1950:06:01 12:00:00' and entries.get_ifd(34665)[0x829A] == 1 / 125
        assert entries.get_ifd(34853)[1] == 'N' and entries.get_ifd(34853)[2] == (52, 31, 12)


def test_broken_directories_of_a_bigtiff_end(tmp_path):
    data = bytearray(_bigtiff('>', 18))
    at = data.index(struct.pack('>HHQ', 34665, 18, 1)) + 12
    for target in (0, 16, 24, len(data) - 3, 1 << 40):  # itself, nonsense, nowhere
        data[at : at + 8] = struct.pack('>Q', target)
        (tmp_path / 'a.tif').write_bytes(data)
        assert load_exif(read_photo(tmp_path / 'a.tif').exif)[271] == 'Zeiss Ikon'
