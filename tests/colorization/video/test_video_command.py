"""`dualattn video` as it is typed."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('av')

from colorization.commands import video
from colorization.commands.video import main

X264 = ('-c:v', 'libx264', '-preset', 'veryfast', '-pix_fmt', 'yuv420p')


@pytest.fixture(autouse=True)
def stand_in(monkeypatch, colorizer):
    """The packaged network is left out."""
    monkeypatch.setattr(video, 'load_colorizer', lambda args: colorizer)


def test_film_and_what_it_says(make_film, show, tmp_path, capsys):
    source, out = make_film('f.mp4', *X264, '-c:a', 'aac', audio=1), tmp_path / 'out.mkv'
    assert main([str(source), str(out), '--lossless']) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert show(out).lumas == show(source).lumas
    assert main([str(source), str(out), '--lossless']) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert main([str(source), str(out), '--lossless', '--overwrite', '--frame-by-frame']) == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['IN', 'out.avi'], 'expected a name that ends in'),
        (['IN', 'out.mp4', '--lossless'], 'Matroska'),
        (['none.mp4', 'out.mp4'], 'no such file'),
        (['IN', 'nowhere/out.mp4'], 'no such folder'),
        (['IN', 'out.mp4', '--notes', 'none.json'], 'none.json'),
    ],
)
def test_nothing_is_started(arguments, message, make_film, tmp_path, capsys, monkeypatch):
    source = make_film('f.mp4', *X264, frames=2)
    monkeypatch.chdir(tmp_path)
    assert main([str(source) if word == 'IN' else word for word in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith('video: ') and message in said and said.count('\n') == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ['f.mp4']


@pytest.mark.parametrize('arguments', [['IN'], ['IN', 'OUT', '--stills', 'x'], ['IN', 'OUT', '--crf', '60']])
def test_arguments_that_cannot_be(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_damage_on_the_way_is_told(make_film, tmp_path, capsys):
    source = make_film('f.mp4', *X264, '-movflags', 'faststart', frames=30)
    whole = source.read_bytes()
    kept, middle = len(whole) * 2 // 3, len(whole) // 2
    for broken, code in ((whole[:kept], 2), (whole[:middle] + bytes(kept - middle) + whole[kept:], 1)):
        source.write_bytes(broken)  # cut off, which is found before anything is written, and damaged
        assert main([str(source), str(tmp_path / 'out.mp4'), '--overwrite']) == code
        assert '--allow-truncated' in capsys.readouterr().err
        assert not (tmp_path / 'out.mp4').exists()
        assert main([str(source), str(tmp_path / 'out.mp4'), '--allow-truncated']) == 0
        (tmp_path / 'out.mp4').unlink()


def test_stopped_film_goes_on(make_film, colorizer, tmp_path, capsys, monkeypatch):
    source, out = make_film('f.mp4', *X264), tmp_path / 'out.mp4'
    predict = colorizer.predict_ab

    def stop(l):
        raise KeyboardInterrupt

    monkeypatch.setattr(colorizer, 'predict_ab', stop)
    assert main([str(source), str(out)]) == 130
    assert 'to go on' in capsys.readouterr().err
    assert not out.exists() and (tmp_path / 'out.mp4.parts' / 'plan.json').exists()
    monkeypatch.setattr(colorizer, 'predict_ab', predict)
    assert main([str(source), str(out)]) == 0
    assert not (tmp_path / 'out.mp4.parts').exists()


def test_stills(make_film, tmp_path, capsys):
    """The middle frame of the one shot, upright, in the numbers of the full range."""
    source = make_film('f.mkv', '-c:v', 'ffv1', '-pix_fmt', 'gray', frames=5)
    assert main([str(source), '--stills', str(tmp_path / 'stills')]) == 0
    (still,) = (tmp_path / 'stills').iterdir()
    assert still.name == 'shot0000_0-00-00.080.png' and still.name in capsys.readouterr().out
    import av

    with av.open(str(source)) as container:
        wanted = list(container.decode(video=0))[2].to_ndarray()
    assert np.array_equal(np.asarray(Image.open(still)), wanted)
