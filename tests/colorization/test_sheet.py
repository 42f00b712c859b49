"""Sheets and pairs, without mmengine."""

import numpy as np
import pytest
from PIL import Image

from colorization.sheet import SURE, UNSURE, draw_doubt, draw_sheet, join_pair
from dualattn.io.photos import Photo
from dualattn.io.photos.writing import JPEG_SIDE


def test_draw_sheet_places_every_picture():
    colours = [['red', 'lime', 'blue'], ['white', 'black', 'yellow']]
    rows = [[Image.new('RGB', (20, 10), colour) for colour in row] for row in colours]
    sheet = draw_sheet(rows, ('gray', 'prediction', 'truth'), ('first', 'sécond'), tile=64)
    assert sheet.mode == 'RGB' and sheet.width == 4 + 3 * 68
    pixels = np.asarray(sheet)
    for row in colours:
        columns = []
        for colour in row:
            rgb = Image.new('RGB', (1, 1), colour).getpixel((0, 0))
            ys, xs = np.nonzero((pixels == rgb).all(axis=-1))
            assert len(xs) >= 64 * 32
            columns.append(np.median(xs))
        if 'white' not in row:
            assert columns == sorted(columns)


def test_draw_sheet_takes_gray_and_transparent_pictures_of_all_proportions():
    rows = [[Image.new('L', (300, 2)), Image.new('RGBA', (1, 50))], [Image.new('P', (5, 5)), Image.new('1', (9, 400))]]
    assert draw_sheet(rows, ('a', 'b'), ('1', '2'), tile=40).height > 80


@pytest.mark.parametrize(
    'rows, captions', [([], []), ([[1, 2, 3]], ['a']), ([[1, 2]], []), ([[1, 2], [1]], ['a', 'b'])]
)
def test_draw_sheet_refuses_what_does_not_go_together(rows, captions):
    rows = [[Image.new('RGB', (4, 4)) for _ in row] for row in rows]
    with pytest.raises(ValueError, match='rows of 2 images'):
        draw_sheet(rows, ('a', 'b'), captions)


def test_pair_is_before_and_after():
    pair = join_pair(Photo(np.full((4, 6), 200, np.uint8)), Photo(np.full((4, 6, 3), 100, np.uint8)))
    assert pair.pixels.shape == (4, 12, 3)
    assert (pair.pixels[:, :6] == 200).all() and (pair.pixels[:, 6:] == 100).all()


@pytest.mark.parametrize(('shape', 'expected'), [((2, 65_535), (1, JPEG_SIDE)), ((65_535, 2), (JPEG_SIDE, 3))])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_pair_that_no_jpeg_holds_is_made_smaller(tmp_path, shape, expected, dtype):
    photo = Photo(np.full(shape, 100, dtype))
    assert join_pair(photo, photo).pixels.shape == (*expected, 3)


def test_doubt_leaves_what_is_sure_gray_and_glows_elsewhere():
    photo = Photo(np.full((8, 12), 100, np.uint8))
    doubt = np.zeros((8, 12), np.float32)
    doubt[:, 4:8] = (SURE + UNSURE) / 2
    doubt[:, 8:] = 1
    drawn = draw_doubt(photo, doubt).pixels.astype(int)
    assert (drawn[:, :4] == 100).all()
    spread = np.ptp(drawn, axis=2)
    assert spread[0, 5] > 30 and spread[0, 9] > 60
    assert drawn[0, 9, 0] > 240  # the bright end of the scale
