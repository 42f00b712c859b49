"""Colour profiles: what embedded ICC data do to the pixels that are read."""

import io
import struct

import numpy as np
import pytest
import tifffile
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


def icc_table(space, channels):
    """A profile made of a table: inks or light on a grid of 2, mixed to Lab, as those of printers and scanners are."""
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * channels, indexing='ij'), axis=-1).reshape(-1, channels)
    light = 1 - 0.93 * corners if space == 'CMYK' else 0.02 + 0.98 * corners
    light = light[:, :3] * light[:, 3:] if space == 'CMYK' else np.repeat(light, 3, axis=1) if channels == 1 else light
    lab = np.stack(
        [100 * light.mean(axis=1), 60 * (light[:, 0] - light[:, 1]), 40 * (light[:, 1] - light[:, 2])], axis=1
    )
    table = np.rint((lab * [652.8, 256, 256] + [0, 32768, 32768]).clip(0, 65535)).astype('>u2').tobytes()
    curve = np.array([0, 65535], '>u2').tobytes()
    matrix = struct.pack('>9i', *(65536 * (index % 4 == 0) for index in range(9)))
    body = b'mft2\0\0\0\0' + bytes([channels, 3, 2, 0]) + matrix + struct.pack('>HH', 2, 2)
    body += curve * channels + table + curve * 3
    body += bytes(-len(body) % 4)
    white = b'XYZ \0\0\0\0' + struct.pack('>iii', 63190, 65536, 54061)
    header = bytearray(128)
    header[8:12], header[12:16], header[16:20], header[20:24] = b'\2\x40\0\0', b'prtr', space.ljust(4).encode(), b'Lab '
    header[36:40] = b'acsp'
    header[68:80] = struct.pack('>iii', 63190, 65536, 54061)
    data = bytes(header) + struct.pack('>I', 2) + b'A2B0' + struct.pack('>II', 156, len(body))
    data += b'wtpt' + struct.pack('>II', 156 + len(body), 20) + body + white
    return struct.pack('>I', len(data)) + data[4:]


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
        assert photo.pixels.ndim == 2 and np.abs(photo.pixels - expected).max() <= (0.75 if levels == 255 else 1.5)
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

    @pytest.mark.parametrize('space', ['RGB', 'CMYK', 'GRAY'])
    @pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
    def test_profiles_made_of_tables_are_applied_as_littlecms_does(self, tmp_path, space, dtype):
        channels = {'RGB': 3, 'CMYK': 4, 'GRAY': 1}[space]
        profile = icc_table(space, channels)
        levels = np.iinfo(dtype).max
        pixels = (RNG.random((12, 20, channels)) * 255).round().astype(np.uint8)
        stored = (pixels.astype(np.uint32) * (levels // 255)).astype(dtype)
        tifffile.imwrite(
            tmp_path / 'a.tif',
            stored[..., 0] if channels == 1 else stored,
            photometric={'RGB': 'rgb', 'CMYK': 'separated', 'GRAY': 'minisblack'}[space],
            iccprofile=profile,
            metadata=None,
        )
        photo = read_photo(tmp_path / 'a.tif')
        mode = 'L' if channels == 1 else space
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode=mode)
        oracle = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile('sRGB'),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode='RGB',
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | (ImageCms.Flags.NOOPTIMIZE if levels > 255 else 0),
        )
        assert photo.bit_depth == 8 * stored.itemsize and color_profile.is_srgb(photo.icc_profile)
        assert np.abs(photo.rgb / (levels // 255) - np.asarray(oracle)).max() <= 2

    def test_gray_profile_whose_connection_space_is_lab(self, tmp_path):
        """Gray as CIE L*: by the definition of L*, not by a second program."""
        gray = np.arange(240, dtype=np.uint8).reshape(12, 20)
        profile = bytearray(icc_gray(1.0))
        profile[20:24] = b'Lab '
        profile[8:12] = b'\2\x40\0\0'
        Image.fromarray(gray).save(tmp_path / 'a.tif', icc_profile=bytes(profile))
        lightness = gray / 2.55
        light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
        expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
        found = read_photo(tmp_path / 'a.tif').pixels
        assert np.abs(found - expected).max() <= 0.75
        assert [int(found[gray == level][0]) for level in (64, 128, 192)] == [60, 119, 185]

    def test_curves_of_prints_that_run_neither_from_0_nor_to_1(self, tmp_path):
        curve = np.linspace(0.03, 0.82, 64) ** 1.9
        profile = icc_gray(1.0)
        body = struct.pack('>I', len(curve)) + np.rint(curve * 65535).astype('>u2').tobytes()
        profile = bytearray(profile[:-36] + b'curv\0\0\0\0' + body + profile[-20:])
        struct.pack_into('>II', profile, 136, 156, 8 + len(body))
        struct.pack_into('>I', profile, 148, 156 + 8 + len(body))
        profile[12:16] = b'prtr'
        struct.pack_into('>I', profile, 0, len(profile))
        gray = np.arange(240, dtype=np.uint8).reshape(12, 20)
        Image.fromarray(gray).save(tmp_path / 'a.tif', icc_profile=bytes(profile))
        oracle = ImageCms.profileToProfile(
            Image.fromarray(gray),
            ImageCms.ImageCmsProfile(io.BytesIO(bytes(profile))),
            ImageCms.createProfile('sRGB'),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode='RGB',
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        difference = read_photo(tmp_path / 'a.tif').pixels.astype(int) - np.asarray(oracle)[..., 1]
        assert np.abs(difference).max() <= 1

    def test_the_quick_way_is_taken_only_where_it_keeps_the_tones(self, tmp_path):
        ramp = np.repeat(np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32, 1), 3, axis=2)
        linear = ramp / 65535
        curve = color_profile.matrix_profile(gamma=None)  # sRGB's curve as a table, which the quick way gets wrong
        for profile, expected in (
            (curve, ramp),
            (icc_rgb(1.0), np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 65535),
        ):
            assert np.abs(color_profile.convert(ramp, 'RGB', profile) - expected).max() <= 24

    def test_output_is_the_same_bytes_each_time(self):
        first = color_profile.srgb_profile()
        color_profile.srgb_profile.cache_clear()
        assert color_profile.srgb_profile() == first
