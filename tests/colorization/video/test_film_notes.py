"""What the user knows of single shots, from the notes to the colours of the film, with the packaged network."""

import json
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from colorization.commands.video import main

av = pytest.importorskip('av')

HEIGHT, WIDTH, FRAMES = 96, 128, 5  # of each of the two shots
RATE = 10


@pytest.fixture(autouse=True)
def small_field(monkeypatch):
    """Spread colours on a quarter of the pixels, in a quarter of the time; what is tested does not hang on it."""
    monkeypatch.setattr('colorization.propagation.FIELD_SIZE', 128)


@pytest.fixture(scope='module')
def shots():
    """Two shots in colour (frames, H, W, 3): a camera that moves over the astronaut, and over the cup of coffee."""
    data = pytest.importorskip('skimage.data')
    found = []
    for photo, scale in ((data.astronaut(), 3), (data.coffee(), 3)):
        small = np.asarray(Image.fromarray(photo).resize((photo.shape[1] // scale, photo.shape[0] // scale)))
        found.append(np.stack([small[10 : 10 + HEIGHT, at : at + WIDTH] for at in range(10, 10 + 2 * FRAMES, 2)]))
    return found


@pytest.fixture
def film(shots, tmp_path):
    path = tmp_path / 'f.mkv'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('ffv1', rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = WIDTH, HEIGHT, 'gray', Fraction(1, RATE)
        for number, frame in enumerate(np.concatenate(shots)):
            gray = av.VideoFrame.from_ndarray(np.asarray(Image.fromarray(frame).convert('L')), 'gray')
            gray.pts, gray.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(gray))
        container.mux(stream.encode())
    return path


def read_colors(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format='rgb24').astype(int) for frame in container.decode(video=0)])


def test_hints_and_a_reference_each_color_their_shot(film, shots, planes_of, tmp_path, capsys):
    plain, noted = tmp_path / 'plain.mkv', tmp_path / 'noted.mkv'
    assert main([str(film), str(plain), '--lossless']) == 0
    stills = tmp_path / 'stills'
    assert main([str(film), '--stills', str(stills)]) == 0
    assert len(list(stills.iterdir())) == 2
    # the jacket is green, which nobody would have guessed, in the middle frame of the first shot
    suit = [[0.3 * WIDTH, 0.7 * HEIGHT], [0.5 * WIDTH, 0.7 * HEIGHT], [0.5 * WIDTH, HEIGHT], [0.3 * WIDTH, HEIGHT]]
    hints = dict(size=[WIDTH, HEIGHT], hints=[dict(region=suit, color=[-45, 35])])
    (tmp_path / 'h.json').write_text(json.dumps(hints))
    Image.fromarray(shots[1][0]).save(tmp_path / 'coffee.png')
    notes = dict(shots=[dict(at='0:00:00.2', hints='h.json'), dict(at=0.7, like='coffee.png')])
    (tmp_path / 'notes.json').write_text(json.dumps(notes))
    assert main([str(film), str(noted), '--lossless', '--notes', str(tmp_path / 'notes.json')]) == 0
    for ours, source in zip(planes_of(noted), planes_of(film), strict=True):
        np.testing.assert_array_equal(ours[0], source[0])
    before, after = read_colors(plain), read_colors(noted)
    rows, columns = slice(round(0.8 * HEIGHT), round(0.95 * HEIGHT)), slice(round(0.35 * WIDTH), round(0.45 * WIDTH))
    greenness = [
        (2 * each[..., 1] - each[..., 0] - each[..., 2])[:FRAMES, rows, columns].mean((1, 2))
        for each in (before, after)
    ]
    assert (
        greenness[1] - greenness[0] > 15
    ).all()  # in all frames of the shot, not in the one that has the hints alone
    errors = [np.abs(each[FRAMES:] - shots[1]).mean((1, 2, 3)) for each in (before, after)]
    assert (errors[1] < 0.7 * errors[0]).all()
    assert capsys.readouterr().err == ''
