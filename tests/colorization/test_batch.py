"""One photograph from file to file; names are tested through the command."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from colorization.batch import Outcome, Settings, run_job, run_jobs
from colorization.jobs import Job, plan_jobs
from colorization.manifest import Manifest
from dualattn.io.photos import Photo, read_photo, write_photo
from dualattn.io.photos.photo import to_8_bit
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
    outcome = run_job(Job(tmp_path / 'a.png', tmp_path / 'b.png', {'compare': tmp_path / 'b_compare.jpg'}), paint)
    assert outcome.state == 'failed' and 'b_compare' in outcome.reason
    assert (tmp_path / 'b_compare.jpg').read_text() == 'mine' and (read_photo(tmp_path / 'b.png').pixels == 50).all()


@pytest.fixture
def jobs(tmp_path):
    """Six photographs, the third of which is none."""
    found = []
    for index in range(6):
        source = tmp_path / f'{index}.png'
        Image.fromarray(np.full((4, 6), 100 + index, np.uint8)).save(source)
        found.append(Job(source, tmp_path / 'out' / f'{index}.png'))
    found[2].source.write_text('none')
    (tmp_path / 'out').mkdir()
    return found


@pytest.mark.parametrize('count', [0, 2])
def test_outcomes_come_in_order_whatever_a_photograph_raises(jobs, count):
    def paint_most(photo):
        if photo.pixels[0, 0] == 104:
            raise AssertionError('none of the errors that are expected')
        return paint(photo)

    jobs[5].source.unlink()
    outcomes = list(run_jobs(jobs, paint_most, Settings(jobs=count)))
    assert [outcome.job for outcome in outcomes] == jobs
    assert [outcome.state for outcome in outcomes] == ['done', 'done', 'failed', 'done', 'failed', 'failed']
    for index, reason in ((2, 'not an image'), (4, 'AssertionError'), (5, 'no such file')):
        assert reason in outcomes[index].reason and str(jobs[index].source) in outcomes[index].reason
    assert [(read_photo(jobs[index].target).pixels == (100 + index) // 2).all() for index in (0, 1, 3)] == [True] * 3


def test_a_decoder_that_dies_or_hangs_costs_one_photograph(jobs, monkeypatch):
    """Forked here, so that the processes have the faults that are put in."""
    import multiprocessing
    import os
    import signal
    import time

    from dualattn.io.photos import workers

    def read(path, **options):
        if path.name == '1.png':
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name == '3.png':
            time.sleep(60)
        return read_photo(path, **options)

    context = multiprocessing.get_context('fork')
    monkeypatch.setattr(workers, 'read_photo', read)
    monkeypatch.setattr(multiprocessing, 'get_all_start_methods', lambda: ['fork'])
    monkeypatch.setattr(multiprocessing, 'get_context', lambda method: context)
    with workers.ReadingPool(2, seconds=2) as pool:
        readings = list(pool.read((job.source, {}) for job in jobs))
    assert [reading.photo is not None for reading in readings] == [True, False, False, False, True, True]
    assert 'SIGKILL' in readings[1].reason and 'within 2 seconds' in readings[3].reason


def test_what_another_run_makes_in_the_meantime_is_left_alone(jobs):
    def paint_late(photo):
        jobs[0].target.write_text('of the other run')
        return paint(photo)

    assert run_job(jobs[0], paint_late).state == 'there'
    assert jobs[0].target.read_text() == 'of the other run'


def test_full_disk(jobs, monkeypatch):
    monkeypatch.setattr(
        Image.Image, 'save', lambda *args, **options: (_ for _ in ()).throw(OSError(28, 'No space left'))
    )
    outcomes = list(run_jobs(jobs[:2], paint, Settings()))
    assert [outcome.state for outcome in outcomes] == ['failed', 'failed']
    assert all('No space left' in outcome.reason for outcome in outcomes)
    assert list(jobs[0].target.parent.iterdir()) == []


def test_times_layer_and_provenance(tmp_path):
    import os

    import tifffile

    pixels = np.full((8, 10), 120, np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.tif')
    os.utime(tmp_path / 'a.tif', (1e9, 1e9))
    job = Job(tmp_path / 'a.tif', tmp_path / 'b.tif', {'layer': tmp_path / 'b_layer.tif'})

    def color(photo):
        assert photo.bit_depth == 16  # what the layer is made of
        return Photo(np.stack([photo.pixels, photo.pixels // 2, photo.pixels // 3], axis=-1))

    settings = Settings(keep_times=True, says_so=True, weights='0123', tiff_compression='lzw', quality=80)
    assert run_job(job, color, settings).state == 'done'
    assert os.stat(job.target).st_mtime == os.stat(job.beside['layer']).st_mtime == 1e9
    photo = read_photo(job.target)
    np.testing.assert_array_equal(photo.pixels[0, 0], [120, 60, 40])
    assert b'compositeWithTrainedAlgorithmicMedia' in photo.xmp and b'0123' in photo.xmp and b'dualattn' in photo.xmp
    with tifffile.TiffFile(job.beside['layer']) as file:
        page = file.pages[0]
        lab = page.asarray()
        assert page.photometric == 8 and page.bitspersample == 16
    light, a, b = lab[0, 0, 0] / 655.35, *(lab[0, 0, 1:].view(np.int16) / 256)
    assert light == pytest.approx(50, abs=0.01)
    from skimage.color import rgb2lab

    expected = rgb2lab(np.array([[[120, 60, 40]]]) / 255, illuminant='D50')[0, 0]
    assert (a, b) == pytest.approx(expected[1:], abs=8) and a > 15 and b > 15  # another adaptation to D50


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('is_gray', [False, True])
def test_layer_that_is_laid_on_top_as_it_is(tmp_path, bits, is_gray):
    rng = np.random.default_rng(0)
    scan = rng.integers(0, 1 << bits, (20, 30) if is_gray else (20, 30, 3)).astype(f'uint{bits}')
    scan[0] = 0
    write_photo(Photo(scan), tmp_path / 'a.png')
    result = rng.integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    result[:, 0] = Photo(scan).rgb[:, 0].astype(np.uint16) * (257 if bits == 8 else 1)  # here there is no colour
    job = Job(tmp_path / 'a.png', tmp_path / 'b.tif', {'layer': tmp_path / 'b_layer.tif'})
    assert run_job(job, lambda photo: Photo(result), Settings(layer_as='rgba')).state == 'done'
    layer = read_photo(job.beside['layer'])
    assert layer.bit_depth == 16 and (layer.alpha[:, 0] == 0).all()
    opacity = layer.alpha[..., None] / 65535
    laid = opacity * layer.pixels + (1 - opacity) * Photo(scan).rgb.astype(float) * (257 if bits == 8 else 1)
    assert np.abs(laid - result).max() < 2
    np.testing.assert_array_equal(read_photo(job.target).pixels, to_8_bit(result) if bits == 8 else result)


class FakeNetwork:
    """Colorizes at most so many photographs at a time, and says how many came together."""

    def __init__(self, most, error=None):
        self.most, self.sizes = most, []
        self.error = error or torch.OutOfMemoryError('CUDA out of memory')

    def __call__(self, image):
        photos = image if isinstance(image, list) else [image]
        self.sizes.append(len(photos))
        if len(photos) > self.most:
            raise self.error
        painted = [paint(photo) for photo in photos]
        return painted if isinstance(image, list) else painted[0]


@pytest.mark.parametrize('count', [0, 2])
@pytest.mark.parametrize('error', [torch.OutOfMemoryError('CUDA out of memory'), MemoryError()])
def test_batches_are_halved_when_memory_runs_out(jobs, count, error, caplog):
    network = FakeNetwork(2, error)
    outcomes = list(run_jobs(jobs, network, Settings(jobs=count, batch=5)))
    assert [outcome.job for outcome in outcomes] == jobs
    assert [outcome.state for outcome in outcomes] == ['done', 'done', 'failed', 'done', 'done', 'done']
    assert network.sizes == [5, 2, 2, 1] and 'does not suffice for 5' in caplog.text
    for index in (0, 1, 3, 4, 5):
        assert (read_photo(jobs[index].target).pixels == (100 + index) // 2).all()


def test_one_photograph_that_needs_more_than_there_is_fails_alone(jobs):
    outcomes = list(run_jobs(jobs[:2] + jobs[3:], FakeNetwork(0), Settings(batch=4)))
    assert [outcome.state for outcome in outcomes] == ['failed'] * 5
    assert all('out of memory' in outcome.reason for outcome in outcomes)


def test_one_photograph_that_the_network_fails_at_costs_the_others_of_its_batch_nothing(jobs):
    def paint_most(image):
        photos = image if isinstance(image, list) else [image]
        if any(photo.pixels[0, 0] == 103 for photo in photos):
            raise FloatingPointError('infinite colours')
        return [paint(photo) for photo in photos] if isinstance(image, list) else paint(image)

    outcomes = list(run_jobs(jobs, paint_most, Settings(batch=16)))
    assert [outcome.state for outcome in outcomes] == ['done', 'done', 'failed', 'failed', 'done', 'done']


@pytest.mark.parametrize('count', [0, 2])
def test_what_another_run_finishes_first_shifts_no_photograph_to_another_name(jobs, count):
    """It was read ahead already; the next one must not get its pixels."""

    def paint_slowly(photo):
        value = int(photo.pixels[0, 0])
        if value == 100:  # meanwhile the other run makes two others
            for index in (1, 3):
                Image.fromarray(np.full((4, 6), 7, np.uint8)).save(jobs[index].target)
        return paint(photo)

    outcomes = list(run_jobs(jobs, paint_slowly, Settings(jobs=count)))
    assert [outcome.state for outcome in outcomes] == ['done', 'there', 'failed', 'there', 'done', 'done']
    for index in (0, 4, 5):
        assert (read_photo(jobs[index].target).pixels == (100 + index) // 2).all()


@pytest.mark.parametrize('count', [0, 2])
def test_what_another_run_is_at_work_on_is_left_to_it_until_it_dies(jobs, count):
    import subprocess
    import sys

    code = 'import sys, pathlib\nfrom colorization.claims import Claims\nclaims = Claims()\n'
    code += 'assert all(claims.take(pathlib.Path(name)) for name in sys.argv[1:])\nprint(flush=True)\ninput()'
    names = [str(jobs[index].target) for index in (0, 4)]
    with subprocess.Popen([sys.executable, '-c', code, *names], stdin=-1, stdout=-1) as other:
        other.stdout.readline()
        outcomes = list(run_jobs(jobs, paint, Settings(jobs=count)))
        other.kill()
    assert [outcome.state for outcome in outcomes] == ['there', 'done', 'failed', 'done', 'there', 'done']
    assert 'another run is at work on it' in outcomes[0].messages[0]
    outcomes = list(run_jobs(jobs, paint, Settings(jobs=count)))  # its claims have died with it
    assert [outcome.state for outcome in outcomes] == ['done', 'there', 'failed', 'there', 'done', 'there']
    assert sorted(path.name for path in jobs[0].target.parent.iterdir()) == [
        f'{index}.png' for index in (0, 1, 3, 4, 5)
    ]


def test_time_of_a_photograph_that_vanishes_meanwhile_is_missed_and_no_more(jobs):
    def paint_and_lose(photo):
        jobs[0].source.unlink()
        return paint(photo)

    outcome = run_job(jobs[0], paint_and_lose, Settings(keep_times=True))
    assert outcome.state == 'done' and 'time of now' in outcome.messages[0] and jobs[0].target.exists()


@pytest.mark.parametrize(('if_color', 'expected'), [('skip', 'in colour'), ('copy', 'copied'), ('redo', 'done')])
def test_colour_photographs_among_the_others(tmp_path, if_color, expected):
    rng = np.random.default_rng(0)
    colors = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((90, 70), Image.Resampling.BICUBIC)
    colors.save(tmp_path / 'a.png')
    gray = np.asarray(colors.convert('L'))[..., None] / 255
    sepia = np.rint(255 * gray ** [0.8, 1.1, 1.6]).astype(np.uint8)
    Image.fromarray(sepia).save(tmp_path / 'b.png')
    settings = Settings(if_color=if_color)
    outcome = run_job(Job(tmp_path / 'a.png', tmp_path / 'out.png'), paint, settings)
    assert outcome.state == expected
    if expected == 'copied':
        assert (tmp_path / 'out.png').read_bytes() == (tmp_path / 'a.png').read_bytes()
        assert run_job(Job(tmp_path / 'a.png', tmp_path / 'out.png'), paint, settings).state == 'there'
    assert run_job(Job(tmp_path / 'b.png', tmp_path / 'sepia.png'), paint, settings).state == 'done'
    named = run_job(Job(tmp_path / 'a.png', tmp_path / 'named.png', is_named=True), paint, settings)
    assert named.state == 'done' and (if_color == 'redo') == (named.messages == [])


def test_manifest_is_trusted(jobs, tmp_path):
    path = tmp_path / 'done.jsonl'
    manifest = Manifest(path, 'weights')
    for outcome in run_jobs(jobs[:4], paint, Settings()):
        manifest.add(outcome)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line['state'] for line in lines] == ['done', 'done', 'failed', 'done']
    assert lines[0]['sha256'] == {str(jobs[0].target): hashlib.sha256(jobs[0].target.read_bytes()).hexdigest()}
    jobs[0].target.unlink()  # moved away, say
    Image.fromarray(np.zeros((4, 7), np.uint8)).save(jobs[1].source)  # another photograph now
    with open(path, 'a') as file:
        file.write('{"input": "cut')
    again = Manifest(path, 'weights')
    assert [again.has_done(job) for job in jobs] == [True, False, False, True, False, False]
    again.add(next(run_jobs(jobs[4:5], paint, Settings())))
    assert Manifest(path, 'weights').has_done(jobs[4])
    assert not Manifest(path, 'other weights').has_done(jobs[0])
    path.write_text('no record\n' + path.read_text())
    with pytest.raises(ValueError, match='line 1 is no record'):
        Manifest(path, 'weights')


def test_manifest_is_trusted_for_what_is_asked_for_now(jobs, tmp_path):
    path = tmp_path / 'done.jsonl'
    manifest = Manifest(path, 'weights')
    job, copied, left = jobs[0], replace(jobs[1], copy=tmp_path / 'copied.png'), jobs[3]
    shutil.copyfile(copied.source, copied.copy)
    for each, state in ((job, 'done'), (copied, 'copied'), (left, 'in colour')):
        job.target.parent.mkdir(exist_ok=True)
        job.target.write_bytes(b'in colour')
        manifest.add(Outcome(each, state))
    again = Manifest(path, 'weights')
    assert json.loads(path.read_text().splitlines()[1])['outputs'] == [str(copied.copy)]
    assert again.has_done(job) and again.has_done(job, 'redo')
    assert not again.has_done(replace(job, target=tmp_path / 'elsewhere.png'))
    assert not again.has_done(replace(job, beside={'compare': tmp_path / 'compare.jpg'}))
    assert [again.has_done(copied, if_color) for if_color in ('skip', 'copy', 'redo')] == [False, True, False]
    assert [again.has_done(left, if_color) for if_color in ('skip', 'copy', 'redo')] == [True, False, False]
    assert not again.has_done(replace(left, is_named=True))


def test_a_copy_replaces_no_other_photograph(tmp_path):
    rng = np.random.default_rng(0)
    colors = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((90, 70), Image.Resampling.BICUBIC)
    for name in ('new/a.jpg', 'old/a_color.jpg', 'old/b.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        colors.rotate(len(name)).save(tmp_path / name)
    inputs, out = [str(tmp_path / 'new'), str(tmp_path / 'old' / 'a_color.jpg')], tmp_path / 'old'
    options = dict(suffix='_color', file_format='png', overwrite=True)
    assert len(plan_jobs(inputs, out, **options).jobs) == 2
    with pytest.raises(ValueError, match='a_color.jpg is an input'):
        plan_jobs(inputs, out, **options, copies=True)
    # and none that another one becomes
    (tmp_path / 'new' / 'a_compare.jpg').write_bytes((tmp_path / 'new' / 'a.jpg').read_bytes())
    jobs = plan_jobs(inputs[:1], tmp_path / 'out', file_format='png', beside=['compare'], copies=True).jobs
    names = [path.name for job in jobs for path in (*job.outputs, job.copied_to)]
    assert len(set(names)) == len(names) == 6
    # beside themselves they are there already
    before = (out / 'b.jpg').read_bytes()
    (job,) = plan_jobs([str(out / '?.jpg')], out, file_format='png', copies=True).jobs
    assert job.copied_to == job.source
    assert run_job(job, paint, Settings(if_color='copy', overwrite=True)).state == 'in colour'
    assert (out / 'b.jpg').read_bytes() == before and not (out / 'b.png').exists()


def test_a_line_of_the_manifest_that_does_not_fit_is_no_record(jobs, tmp_path):
    resource = pytest.importorskip('resource', reason='Windows limits no files')
    path = tmp_path / 'done.jsonl'
    manifest = Manifest(path, 'weights')
    manifest.add(Outcome(jobs[0], 'in colour'))
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
    try:
        with pytest.raises(OSError, match='No space left'):
            manifest.add(Outcome(jobs[1], 'in colour'))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == size + 100
    manifest.add(Outcome(jobs[3], 'in colour'))
    again = Manifest(path, 'weights')
    assert [again.has_done(job) for job in jobs] == [True, False, False, True, False, False]
