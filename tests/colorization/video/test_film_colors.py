"""What carrying colours along the flow is for: films that do not flicker, with the colours that were predicted."""

import copy
import json
import weakref

import cv2
import numpy as np
import pytest

pytest.importorskip('av')

from colorization.benchmarks.video import BT709, CARRIED, KINDS, SINGLE, Clip, judge, make_clip, measure_warp_error
from colorization.hints import Hint, HintError, Hints
from colorization.pipeline import Colorizer
from colorization.video.coloring import KEY_INTERVAL, Guide, ShotColorizer
from colorization.video.formats import FilmError, Format
from colorization.video.guides import parse_time, read_notes
from colorization.video.reading import LumaFrame
from dualattn.benchmarks.record import Row, Run

SHAPE = Format(96, 72, 'yuv420p', 'yuv420p', 8, True, False, BT709, '420', 2, 1, 1, 1)


@pytest.fixture(scope='module')
def photos():
    data = pytest.importorskip('skimage.data')
    return [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]


@pytest.fixture
def flickering(fake_network):
    return Colorizer(fake_network(flicker=6.0), size=64)


def color(colorizer, lumas, steady=True, guide=None):
    painter = ShotColorizer(SHAPE, steady=steady)
    frames = [LumaFrame(luma, number, 1) for number, luma in enumerate(lumas)]
    found = list(painter.color(frames, guide or Guide(colorizer), 0, len(frames)))
    assert [frame.pts for frame, _ in found] == list(range(len(frames)))
    size = SHAPE.width, SHAPE.height
    return [cv2.resize(ab.numpy().transpose(1, 2, 0), size) for _, ab in found], painter


def test_colors_of_a_still_do_not_flicker(photos, flickering):
    luma = cv2.resize(photos[0][..., 1], (96, 72), interpolation=cv2.INTER_AREA)
    single, _ = color(flickering, [luma] * 26, steady=False)
    carried, painter = color(flickering, [luma] * 26)
    change = [np.abs(np.diff(frames, axis=0)).mean() for frames in (single, carried)]
    assert change[0] > 10 and change[1] < 1
    assert painter.predictions == 3  # the first frame, and one for each twelve
    assert np.abs(np.mean(carried, axis=0) - np.mean(single, axis=0)).mean() < 3


def test_colors_follow_what_moves(photos, fake_network):
    """A network that colours the picture's left half red, whatever is there: carried colours stay with the things."""
    colorizer = Colorizer(fake_network(), size=64)
    wide = cv2.resize(photos[0][..., 1], (160, 72), interpolation=cv2.INTER_AREA)
    lumas = [np.ascontiguousarray(wide[:, 2 * number : 2 * number + 96]) for number in range(8)]
    carried, _ = color(colorizer, lumas)
    single, _ = color(colorizer, lumas, steady=False)
    moved = [np.abs(frames[7][:, :80] - frames[0][:, 14:94]).mean() for frames in (carried, single)]
    assert moved[0] < 0.5 * moved[1]


def test_what_comes_into_view_is_predicted(fake_network):
    """Each frame another noise: nothing can be carried, so that the colours are those of single frames."""
    colorizer = Colorizer(fake_network(), size=64)
    random = np.random.default_rng(0)
    lumas = [random.integers(0, 256, (72, 96)).astype(np.uint8) for _ in range(4)]
    carried, painter = color(colorizer, lumas)
    single, _ = color(colorizer, lumas, steady=False)
    assert painter.predictions >= 4
    assert np.abs(np.array(carried) - single).mean() < 4


def test_one_frame(fake_network):
    carried, painter = color(Colorizer(fake_network(), size=64), [np.full((72, 96), 90, np.uint8)])
    assert len(carried) == 1 and painter.predictions == 1


class HeldFrame(LumaFrame):
    """A frame that a set can hold."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def test_memory_does_not_grow_with_the_shot(fake_network):
    """Of a long shot no more frames are held than lie between two key frames."""
    held, most = weakref.WeakSet(), []

    def make_frames():
        for number in range(4 * KEY_INTERVAL):
            frame = HeldFrame(np.full((72, 96), 60 + number, np.uint8), number, 1)
            held.add(frame)
            yield frame

    painter = ShotColorizer(SHAPE)
    for _ in painter.color(make_frames(), Guide(Colorizer(fake_network(), size=64)), 0, 999):
        most.append(len(held))
    assert len(most) == 4 * KEY_INTERVAL and KEY_INTERVAL <= max(most) <= KEY_INTERVAL + 2


def test_the_network_sees_rotated_films_upright(fake_network):
    colorizer = Colorizer(fake_network(), size=64)
    luma = cv2.resize(np.arange(256, dtype=np.uint8).reshape(16, 16), (96, 72))
    shape = copy.copy(SHAPE)
    upright = Format(72, 96, *list(shape.__dict__.values())[2:])
    for turns in range(4):
        turned = np.ascontiguousarray(np.rot90(luma, -turns))
        own = shape if turns % 2 == 0 else upright
        (_, ab), *_ = ShotColorizer(own, turns).color([LumaFrame(turned, 0, 1)], Guide(colorizer), 0, 1)
        back = np.rot90(ab.numpy(), turns, (1, 2))
        first = back if turns == 0 else first  # noqa: F821  # of the first round
        assert np.abs(back - first).mean() < 0.5


def test_hints_color_their_frame_and_are_carried(photos, fake_network):
    colorizer = Colorizer(fake_network(), size=64)
    luma = cv2.resize(photos[1][..., 1], (96, 72), interpolation=cv2.INTER_AREA)
    hints = Hints((96, 72), [Hint.region([(20, 20), (60, 20), (60, 60), (20, 60)], [60.0, -50.0])])
    frames, _ = color(colorizer, [luma] * 6, guide=Guide(colorizer, 3, hints))
    plain, _ = color(colorizer, [luma] * 6)
    inside = np.s_[30:50, 30:50]
    assert np.abs(frames[3][inside] - [60, -50]).mean() < 6
    assert np.abs(frames[5][inside] - [60, -50]).mean() < 8  # after it
    towards = [np.abs(frame[inside] - [60, -50]).mean() for frame in frames]
    assert towards[2] < towards[0]  # on the way to it
    assert np.abs(frames[0] - plain[0]).max() < 1e-3


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[]', 'expected {"shots"'),
        ('{"shots": [{"at": 1}]}', 'entry 1: expected "at" and either'),
        ('{"shots": [{"at": "x", "like": "a.jpg"}]}', 'entry 1: .*is no time'),
        ('{"shots": [{"at": -1, "hints": "a.json"}]}', 'is no time'),
        ('{"shots": [{"at": 1' + '0' * 400 + ', "hints": "a.json"}]}', 'is no time'),
        ('{', 'no JSON'),
    ],
)
def test_notes_that_are_none(text, message, tmp_path):
    (tmp_path / 'n.json').write_text(text)
    with pytest.raises(FilmError, match=message):
        read_notes(tmp_path / 'n.json')


def test_times():
    assert [float(parse_time(value)) for value in (2, 0.5, '1:02.5', '1:00:01', '7')] == [2, 0.5, 62.5, 3601, 7]


def test_notes_for_a_film(make_film, colorize_film, planes_of, tmp_path):
    source = make_film('f.mkv', '-c:v', 'ffv1', '-pix_fmt', 'yuv420p', frames=6)
    hints = dict(size=[48, 32], hints=[dict(region=[[0, 0], [48, 0], [48, 32], [0, 32]], color=[50, -40])])
    (tmp_path / 'h.json').write_text(json.dumps(hints))
    (tmp_path / 'n.json').write_text(json.dumps(dict(shots=[dict(at=0.09, hints='h.json')])))
    notes = read_notes(tmp_path / 'n.json')
    with pytest.raises(ValueError, match='no maps'):  # the stand-in is no network that could follow a reference
        colorize_film(source, tmp_path / 'out.mkv', notes=notes)
    (tmp_path / 'h.json').write_text(json.dumps(dict(hints, size=[48, 48])))
    (tmp_path / 'n.json').write_text(json.dumps(dict(shots=[dict(at=99, hints='h.json')])))
    with pytest.raises((FilmError, HintError), match='no frame|another shape'):
        colorize_film(source, tmp_path / 'out.mkv', notes=read_notes(tmp_path / 'n.json'))


# ------------------------------------------------------------------------------------------------ the benchmark


@pytest.mark.parametrize('kind', KINDS)
def test_true_motion_of_clips_is_true(kind, photos):
    """Luma carried along the true flow is the luma that is there."""
    clip = make_clip(kind, photos, frames=10, side=96, seed=3)
    assert clip.frames.shape == (10, 96, 128, 3) and clip.flow.shape == (9, 96, 128, 2)
    from colorization.video.flow import warp

    for number in range(9):
        known = clip.is_known[number]
        assert known.mean() > 0.7 or (kind == 'cuts' and number == 7 and not known.any())
        if known.any():
            carried = warp(clip.frames[number], clip.flow[number]).astype(int)
            assert np.abs(carried - clip.frames[number + 1])[known].mean() < 10
            still = np.abs(clip.frames[number].astype(int) - clip.frames[number + 1])[known].mean()
            assert np.abs(carried - clip.frames[number + 1])[known].mean() < still


def test_warp_error_counts_colors_that_change():
    frames = np.full((3, 8, 8, 3), 100, np.uint8)
    clip = Clip(frames, np.zeros((2, 8, 8, 2), np.float32), np.ones((2, 8, 8), bool))
    assert measure_warp_error(frames, clip) == 0
    frames[1, ..., 0] = 160
    assert measure_warp_error(frames, clip) > 10


def test_goals_compare_with_frame_by_frame():
    figures = dict(warp_error=2.0, cdc_ab=0.1, psnr_db=24.0, cf=20.0, predictions_per_frame=1.0, frames_per_second=3.0)
    run = Run({}, '', '', {}, rows=[
        Row(dict(kind='pan', clip=0), SINGLE, figures=figures),
        Row(dict(kind='pan', clip=0), CARRIED, figures=dict(figures, warp_error=0.8, psnr_db=23.9, cf=18.0)),
    ])  # fmt: skip
    assert [goal.is_met for goal in judge(run)] == [True, False, False]
