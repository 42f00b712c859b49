"""Colour profiles: what embedded ICC data do to the pixels that are read."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from dualattn.io.photos import Photo, color_profile, read_photo, read_rgb, write_photo

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (12, 20, 3), dtype=np.uint16)
SMOOTH = np.dstack([*np.meshgrid(np.linspace(30, 220, 40), np.linspace(60, 180, 24)), np.full((24, 40), 120.0)])
SMOOTH = SMOOTH.round().astype(np.uint8)


def icc_gray(gamma):
    """A gray profile with a pure gamma, as scanners embed them."""
    curve = b'curv\0\0\0\0' + struct.pack('>IHH', 1, round(gamma * 256), 0)
    white = b'XYZ \0\0\0\0' + struct.pack('>iii', 63190, 65536, 54061)
    tags = struct.pack('>I', 2) + b'kTRC' + struct.pack('>II', 156, 16) + b'wtpt' + struct.pack('>II', 172, 20)
    header = bytearray(128)
    header[8:12], header[12:16], header[16:20], header[20:24] = b'\2\x10\0\0', b'scnr', b'GRAY', b'XYZ '
    header[36:40] = b'acsp'
    header[68:80] = struct.pack('>iii', 63190, 65536, 54061)
    data = bytes(header) + tags + curve + white
    return struct.pack('>I', len(data)) + data[4:]


def icc_rgb(gamma=2.19921875, swap=False):
    """An sRGB-like profile with another gamma, and red and green exchanged on demand, so that a mistake is seen."""
    data = bytearray(color_profile.srgb_profile())
    for index in range(struct.unpack_from('>I', data, 128)[0]):
        name, start, _ = struct.unpack_from('>4sII', data, 132 + 12 * index)
        if name in (b'rTRC', b'gTRC', b'bTRC'):
            data[start : start + 14] = b'curv\0\0\0\0' + struct.pack('>IH', 1, round(gamma * 256))
        if swap and name in (b'rXYZ', b'gXYZ'):
            data[132 + 12 * index : 136 + 12 * index] = b'gXYZ' if name == b'rXYZ' else b'rXYZ'
    return bytes(data)


class TestColorProfile:
    def test_srgb_profile_is_kept_with_untouched_pixels(self, tmp_path):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
        for pixels in (RGB, RGB16):
            write_photo(Photo(pixels, icc_profile=profile), tmp_path / 'a.png', overwrite=True)
            photo = read_photo(tmp_path / 'a.png')
            np.testing.assert_array_equal(photo.pixels, pixels)
            assert photo.icc_profile == profile

    def test_other_rgb_profile_is_converted_as_littlecms_does(self, tmp_path):
        profile = icc_rgb(gamma=1.0, swap=True)
        Image.fromarray(SMOOTH).save(tmp_path / 'a.png', icc_profile=profile)
        photo = read_photo(tmp_path / 'a.png')
        # by the definition of sRGB: red and green exchanged, linear light coded
        linear = SMOOTH[..., [1, 0, 2]] / 255
        expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
        assert np.abs(photo.pixels - expected).max() <= 1.01
        assert ImageCms.ImageCmsProfile(io.BytesIO(photo.icc_profile)).profile.xcolor_space == 'RGB '
        assert color_profile.is_srgb(photo.icc_profile)
        np.testing.assert_array_equal(read_rgb(tmp_path / 'a.png'), photo.pixels)

    @pytest.mark.parametrize('suffix', ['.png', '.tif'])
    def test_16_bit_conversion_agrees_with_littlecms_at_8_bits(self, tmp_path, suffix):
        profile = icc_rgb(gamma=1.8, swap=True)
        write_photo(Photo(RGB16, icc_profile=profile), tmp_path / f'a{suffix}')
        photo = read_photo(tmp_path / f'a{suffix}')
        assert photo.bit_depth == 16 and color_profile.is_srgb(photo.icc_profile)
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        oracle = ImageCms.profileToProfile(
            Image.fromarray(np.rint(RGB16 / 257).astype(np.uint8)), source, ImageCms.createProfile('sRGB')
        )
        bright = RGB16.min(axis=-1) > 8000  # where the 8-bit rounding of the oracle's input is not magnified
        difference = np.abs(photo.pixels / 257 - np.asarray(oracle))[bright]
        assert difference.size > 300 and difference.max() < 1.6

    @pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
    def test_gray_profile_is_applied_and_never_attached_to_rgb(self, tmp_path, dtype):
        levels = np.iinfo(dtype).max
        gray = np.linspace(0, levels, 240).astype(dtype).reshape(12, 20)
        Image.fromarray(gray).save(tmp_path / 'a.tif', icc_profile=icc_gray(1.0))
        photo = read_photo(tmp_path / 'a.tif')
        linear = gray / levels
        expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * levels
        assert photo.pixels.ndim == 2 and np.abs(photo.pixels - expected).max() <= 0.51
        assert color_profile.color_space(photo.icc_profile) == 'RGB'
        write_photo(photo, tmp_path / 'b.png')
        assert Image.open(tmp_path / 'b.png').mode == 'RGB' or dtype == np.uint16

    def test_gray_pixels_with_a_profile_for_rgb(self, tmp_path):
        Image.fromarray(SMOOTH[..., 0]).save(tmp_path / 'a.png', icc_profile=icc_rgb(gamma=1.0))
        Image.fromarray(np.repeat(SMOOTH[..., :1], 3, axis=2)).save(tmp_path / 'b.png', icc_profile=icc_rgb(gamma=1.0))
        difference = read_photo(tmp_path / 'a.png').pixels - read_photo(tmp_path / 'b.png').pixels[..., 0].astype(int)
        assert np.abs(difference).max() <= 1

    @pytest.mark.parametrize('pixels', [RGB, RGB16, RGB[..., 0]], ids=['rgb', 'rgb16', 'gray'])
    @pytest.mark.parametrize('profile', [b'no profile at all', icc_gray(2.2)[:150]], ids=['garbage', 'truncated'])
    def test_broken_profile_is_ignored_with_a_warning(self, tmp_path, pixels, profile, caplog):
        if pixels.dtype == np.uint16:
            write_photo(Photo(pixels, icc_profile=profile), tmp_path / 'a.png')
        else:
            Image.fromarray(pixels).save(tmp_path / 'a.png', icc_profile=profile)
        photo = read_photo(tmp_path / 'a.png')
        np.testing.assert_array_equal(photo.pixels, pixels)
        assert photo.icc_profile is None and 'taken as sRGB' in caplog.text

    def test_profile_for_another_kind_of_pixels_is_ignored_with_a_warning(self, tmp_path, caplog):
        Image.fromarray(SMOOTH).convert('CMYK').save(tmp_path / 'a.jpg', quality=100, icc_profile=icc_rgb(1.0))
        assert np.abs(read_photo(tmp_path / 'a.jpg').pixels.astype(int) - SMOOTH).max() <= 6
        assert 'is for RGB, the image is CMYK' in caplog.text

    def test_16_bits_with_a_table_profile_fall_to_8_bits_and_say_so(self, tmp_path, caplog):
        profile = icc_rgb(1.8).replace(b'rXYZ', b'xxxx')  # no matrix; littleCMS refuses it as well
        write_photo(Photo(RGB16, icc_profile=profile), tmp_path / 'a.png')
        with pytest.MonkeyPatch.context() as patch:  # no such profile can be made here: let the 8-bit way accept it
            patch.setattr(color_profile, 'is_srgb', lambda profile: False)
            patch.setattr(color_profile, 'image_to_srgb', lambda image, profile: image)
            photo = read_photo(tmp_path / 'a.png')
        assert photo.bit_depth == 8 and 'read at 8 bits' in caplog.text
        np.testing.assert_array_equal(photo.pixels, RGB16 >> 8)

    @pytest.mark.parametrize('kind', range(5))
    def test_parametric_curves(self, kind):
        a, b, c, d = 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045
        values = ([2.2], [2.2, a, b], [2.2, a, b, 0.01], [2.4, a, b, c, d], [2.4, a, b, c, d, 0.02, 0.03])[kind]
        data = (
            b'para\0\0\0\0'
            + struct.pack('>HH', kind, 0)
            + struct.pack(f'>{len(values)}i', *(round(value * 65536) for value in values))
        )
        x = np.linspace(0, 1, 101)
        g = values[0]
        expected = [  # ICC.1:2022, table 68
            x**g,
            np.maximum(a * x + b, 0) ** g,
            np.maximum(a * x + b, 0) ** g + 0.01,
            np.where(x >= d, (a * x + b) ** g, c * x),
            np.where(x >= d, (a * x + b) ** g + 0.02, c * x + 0.03),
        ][kind]
        np.testing.assert_allclose(color_profile._tone_curve({'gTRC': data}, 'gTRC', x), expected, atol=1e-4)

    def test_output_is_the_same_bytes_each_time(self):
        first = color_profile.srgb_profile()
        color_profile.srgb_profile.cache_clear()
        assert color_profile.srgb_profile() == first
