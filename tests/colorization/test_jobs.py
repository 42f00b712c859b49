"""One photograph from end to end, and the picture of before and after; names are tested through the tool."""

import numpy as np
import pytest
from PIL import Image

from colorization.images import JPEG_SIDE, Photo, read_photo
from colorization.jobs import Job, join_pair


def paint(photo):
    return Photo(photo.rgb // 2)


def test_pair_is_before_and_after():
    pair = join_pair(Photo(np.full((4, 6), 200, np.uint8)), Photo(np.full((4, 6, 3), 100, np.uint8)))
    assert pair.pixels.shape == (4, 12, 3)
    assert (pair.pixels[:, :6] == 200).all() and (pair.pixels[:, 6:] == 100).all()


@pytest.mark.parametrize(('shape', 'expected'), [((2, 65_535), (1, JPEG_SIDE)), ((65_535, 2), (JPEG_SIDE, 3))])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_pair_that_no_jpeg_holds_is_made_smaller(tmp_path, shape, expected, dtype):
    photo = Photo(np.full(shape, 100, dtype))
    assert join_pair(photo, photo).pixels.shape == (*expected, 3)


def test_wide_photograph_succeeds_with_its_pair(tmp_path):
    Image.fromarray(np.full((2, 33_000), 100, np.uint8)).save(tmp_path / 'a.png')
    job = Job(tmp_path / 'a.png', tmp_path / 'b.png', tmp_path / 'b_compare.jpg')
    assert not job.is_done
    job.run(paint)
    assert job.is_done and read_photo(job.target).pixels.shape == (2, 33_000, 3)
    assert read_photo(job.pair).pixels.shape == (1, JPEG_SIDE, 3)


def test_photograph_is_kept_where_its_pair_cannot_be_written(tmp_path):
    Image.fromarray(np.full((4, 6), 100, np.uint8)).save(tmp_path / 'a.png')
    (tmp_path / 'b_compare.jpg').write_text('mine')
    with pytest.raises(FileExistsError, match='b_compare'):
        Job(tmp_path / 'a.png', tmp_path / 'b.png', tmp_path / 'b_compare.jpg').run(paint)
    assert (tmp_path / 'b_compare.jpg').read_text() == 'mine' and (read_photo(tmp_path / 'b.png').pixels == 50).all()
