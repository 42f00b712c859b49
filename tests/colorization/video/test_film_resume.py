"""A film that is stopped goes on by pieces, and ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip('av')

from colorization.hints import Hints
from colorization.video.guides import ShotNote
from colorization.video.job import FilmJob
from colorization.video.reading import open_film
from colorization.video.writing import Codec
from dualattn.io.photos import Photo

FFV1 = ('-c:v', 'ffv1', '-pix_fmt', 'yuv420p')


class StopError(Exception):
    pass


def make_job(source, out, colorizer, lossless=True, **options):
    codec = Codec(lossless)
    return FilmJob(open_film(source, codec.needs_even_sizes), out, colorizer, codec, **options)


@pytest.mark.parametrize('lossless', [True, False])
def test_interrupted_equals_undisturbed(lossless, make_film, colorizer, planes_of, show, tmp_path):
    source = make_film('f.mkv', *FFV1, frames=20)
    suffix = '.mkv' if lossless else '.mp4'
    whole = tmp_path / f'whole{suffix}'
    make_job(source, whole, colorizer, lossless, longest=6).run(lambda *progress: None)
    out = tmp_path / f'out{suffix}'
    job = make_job(source, out, colorizer, lossless, longest=6)

    def stop(name, total, done):
        if name == 'frames' and done == 15:
            raise StopError

    with pytest.raises(StopError):
        job.run(stop)
    assert not out.exists()
    kept = sorted(path.name for path in job.folder.iterdir())
    assert kept == ['000000.nut', '000001.nut', 'plan.json']
    before = {path.name: path.stat().st_mtime_ns for path in job.folder.glob('*.nut')}
    seen = []

    def watch(*progress):
        seen.append((*progress, {path.name: path.stat().st_mtime_ns for path in job.folder.glob('0*.nut')}))

    make_job(source, out, colorizer, lossless, longest=6).run(watch)
    assert not any(name == 'shots' for name, *_ in seen)  # the cuts are known
    assert all(item[-1][name] == before[name] for item in seen for name in before)
    assert not job.folder.exists()
    for one, other in zip(planes_of(whole), planes_of(out), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert show(out).times == show(whole).times


def test_other_settings_begin_anew(make_film, colorizer, tmp_path):
    source, out = make_film('f.mkv', *FFV1, frames=12), tmp_path / 'out.mkv'

    def stop(name, total, done):
        if name == 'frames' and done == 9:
            raise StopError

    with pytest.raises(StopError):
        make_job(source, out, colorizer, longest=4, settings=dict(chroma=1.0)).run(stop)
    job = make_job(source, out, colorizer, longest=4, settings=dict(chroma=0.5))
    job.run(lambda *progress: None)
    assert any('other settings' in message for message in job.messages)


@pytest.mark.parametrize('kind', ['painted', 'like'])
def test_other_notes_are_other_settings(kind, make_film, colorizer, tmp_path):
    """Also where two large paintings, or two photographs, differ in one place alone."""
    source, plans = make_film('f.mkv', *FFV1, frames=6), []
    for value in (10, 10, 20):
        if kind == 'painted':
            painted = np.full((2000, 4), 0.5)
            painted[1000, 2] = value
            note = ShotNote(Fraction(0), hints=Hints((48, 32), painted=painted))
        else:
            pixels = np.full((64, 64, 3), 100, np.uint8)
            pixels[40, 40] = 200, value, 0
            note = ShotNote(Fraction(0), like=Photo(pixels))
        job = make_job(source, tmp_path / 'out.mkv', colorizer, notes=[note])
        with pytest.raises(ValueError):  # the stand-in is no network that could follow a reference
            job.run(lambda *progress: None)
        plans.append((job.folder / 'plan.json').read_text())
    assert plans[0] == plans[1] != plans[2]


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[3])
from conftest import FakeNetwork
from colorization.pipeline import Colorizer
from colorization.video.job import FilmJob
from colorization.video.reading import open_film
from colorization.video.writing import Codec

def wait(name, total, done):
    if name == 'frames' and done == 9:
        print('now', flush=True)
        time.sleep(60)

from pathlib import Path
FilmJob(open_film(sys.argv[1]), Path(sys.argv[2]), Colorizer(FakeNetwork(), size=64), Codec(True), longest=4).run(wait)
"""


def test_killed_leaves_no_broken_file(make_film, colorizer, show, tmp_path):
    source, out = make_film('f.mkv', *FFV1, frames=12), tmp_path / 'out.mkv'
    process = subprocess.Popen(
        [sys.executable, '-c', SCRIPT, source, out, os.path.dirname(__file__)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == 'now\n'
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert not out.exists()
    make_job(source, out, colorizer, longest=4).run(lambda *progress: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['f.mkv', 'out.mkv']
    assert show(out).lumas == show(source).lumas
