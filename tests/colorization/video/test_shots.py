"""Where films are cut, on films made from photographs."""

import cv2
import numpy as np
import pytest

pytest.importorskip('av')

from colorization.video.formats import Format
from colorization.video.reading import LumaFrame
from colorization.video.shots import find_pieces

SHAPE = Format(96, 64, 'gray', 'gray', 8, True, False, (0.299, 0.587, 0.114), '420', 2, 2, 2, 2)


@pytest.fixture(scope='module')
def pictures():
    """Real photographs that scikit-image ships, gray."""
    data = pytest.importorskip('skimage.data')
    return [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (data.astronaut(), data.chelsea(), data.coffee())]


def show(picture, left=0.2, top=0.2, side=0.5):
    """A part of a picture, 96 x 64 pixels."""
    height, width = picture.shape
    part = picture[int(top * height) : int((top + side) * height), int(left * width) : int((left + side) * width)]
    return cv2.resize(part, (96, 64), interpolation=cv2.INTER_AREA)


def cut(lumas, longest=1000):
    frames = [LumaFrame(luma, 10 * number, 10) for number, luma in enumerate(lumas)]
    return list(find_pieces(frames, SHAPE, longest))


def pan(picture, count=6, step=0.02, start=0.1):
    return [show(picture, left=start + step * number) for number in range(count)]


def test_cuts_between_photographs_are_found(pictures):
    pieces = cut([frame for picture in pictures for frame in pan(picture)])
    assert [(piece.shot, piece.first, piece.count, piece.pts) for piece in pieces] == [
        (0, 0, 6, 0),
        (1, 6, 6, 60),
        (2, 12, 6, 120),
    ]
    assert not any(piece.goes_on for piece in pieces)


@pytest.mark.parametrize(
    'change',
    [
        lambda picture, n: show(picture, left=0.05 + 0.05 * n),  # a fast pan
        lambda picture, n: show(picture, side=0.3 + 0.05 * n),  # zoom
        lambda picture, n: np.clip(show(picture) * (0.3 + 0.2 * n), 0, 255).astype(np.uint8),  # fade in
        lambda picture, n: (show(picture) // 2 + 127 * (n == 3)).astype(np.uint8),  # flash
        lambda picture, n: np.clip(show(picture) + np.random.default_rng(n).normal(0, 15, (64, 96)), 0, 255).astype(
            np.uint8
        ),  # grain
    ],
)
def test_what_moves_or_changes_its_light_is_one_shot(pictures, change):
    for picture in pictures:
        assert len(cut([change(picture, n) for n in range(6)])) == 1


def test_black_with_noise_is_one_shot():
    generator = np.random.default_rng(0)
    assert len(cut([generator.integers(0, 4, (64, 96)).astype(np.uint8) for _ in range(6)])) == 1


def test_long_shots_are_done_in_pieces(pictures):
    pieces = cut(pan(pictures[0], 7, 0.01) + pan(pictures[1], 3), longest=3)
    assert [(piece.shot, piece.first, piece.count, piece.goes_on) for piece in pieces] == [
        (0, 0, 3, True),
        (0, 3, 3, True),
        (0, 6, 1, False),
        (1, 7, 3, False),
    ]


def test_no_frames_no_pieces():
    assert cut([]) == []
