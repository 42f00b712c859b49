"""A disk that takes a part of what is written: a limit on the size of files acts as one that is full."""

import contextlib

import numpy as np
import pytest

from dualattn.io.photos import Photo, read_photo, write_photo
from dualattn.io.photos.layer import write_layer

resource = pytest.importorskip('resource', reason='Windows limits no files')


@contextlib.contextmanager
def disk_of(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize('share', [0.2, 0.9])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ('suffix', 'compression'), [('jpg', 'none'), ('png', 'none'), ('webp', 'none'), ('tif', 'none'), ('tif', 'lzw')]
)
def test_nothing_is_half_written(tmp_path, suffix, compression, dtype, share):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (200, 300, 3), dtype=dtype)
    photo, path, options = Photo(pixels), tmp_path / f'a.{suffix}', dict(tiff_compression=compression)
    write_photo(photo, path, **options)
    size = path.stat().st_size
    for old in (True, False):
        before = path.read_bytes() if old else None
        if not old:
            path.unlink()
        with disk_of(round(share * size)), pytest.raises(OSError):
            write_photo(photo, path, overwrite=True, **options)
        assert [each.name for each in tmp_path.iterdir()] == [path.name] * old
        assert not old or path.read_bytes() == before
    write_photo(photo, path, **options)
    assert read_photo(path).pixels.shape == pixels.shape


def test_no_half_a_layer(tmp_path):
    photo = Photo(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    with disk_of(50_000), pytest.raises(OSError):
        write_layer(photo, tmp_path / 'a.tif')
    assert not list(tmp_path.iterdir())
