"""One photograph from file to file; names are tested through the command."""

import numpy as np
import pytest
from PIL import Image

from colorization.batch import run_job
from colorization.jobs import Job
from dualattn.io.photos import Photo, read_photo
from dualattn.io.photos.writing import JPEG_SIDE


def paint(photo):
    return Photo(photo.rgb // 2)


def test_wide_photograph_succeeds_with_its_pair(tmp_path):
    Image.fromarray(np.full((2, 33_000), 100, np.uint8)).save(tmp_path / 'a.png')
    job = Job(tmp_path / 'a.png', tmp_path / 'b.png', {'compare': tmp_path / 'b_compare.jpg'})
    assert not job.is_done
    run_job(job, paint)
    assert job.is_done and read_photo(job.target).pixels.shape == (2, 33_000, 3)
    assert read_photo(job.beside['compare']).pixels.shape == (1, JPEG_SIDE, 3)


def test_photograph_is_kept_where_its_pair_cannot_be_written(tmp_path):
    Image.fromarray(np.full((4, 6), 100, np.uint8)).save(tmp_path / 'a.png')
    (tmp_path / 'b_compare.jpg').write_text('mine')
    with pytest.raises(FileExistsError, match='b_compare'):
        run_job(Job(tmp_path / 'a.png', tmp_path / 'b.png', {'compare': tmp_path / 'b_compare.jpg'}), paint)
    assert (tmp_path / 'b_compare.jpg').read_text() == 'mine' and (read_photo(tmp_path / 'b.png').pixels == 50).all()
