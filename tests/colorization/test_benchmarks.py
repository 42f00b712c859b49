"""The suites of colorization, each run once on next to nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from colorization.benchmarks import (
    colorizers,
    engines,
    folder,
    halved,
    hints,
    loaders,
    previews,
    references,
    skin,
    subjects,
    upsampling,
)
from dualattn.benchmarks.record import Row, Run, Timing
from dualattn.commands.benchmark import make_parser


def measure(suite, *arguments):
    parser = make_parser('suite', '', '')
    suite.add_arguments(parser)
    args = parser.parse_args(arguments)
    rows = list(suite.measure(args))
    run = Run(dict(vars(args), torch=''), '', '', dict(average=0.0, others=0.0), quiet=True, complete=True, rows=rows)
    assert len(suite.tabulate(run).rows) > 0
    return run


def test_folder():
    run = measure(folder, '--photographs', '3', '--side', '48', '--rounds', '1')
    assert [row.side for row in run.rows] == ['one run, watched', 'files to files', 'network alone']
    watched = run.rows[0].figures
    assert 0 < watched['share_of_colorizer'] <= 1 and watched['tenth_bytes'] > 2**26 and watched['end_bytes'] > 2**26
    assert len(folder.judge(run)) == 3


def test_loaders():
    run = measure(loaders, '--photographs', '4', '--side', '64', '--crop', '32', '--workers', '0', '--rounds', '1')
    assert [row.side for row in run.rows] == ['0 workers', 'in memory, 0 workers']


def test_colorizers():
    arguments = ['--networks', 'packaged', '--sizes', '64x48', '--rounds', '1', '--threads', '1']
    run = measure(colorizers, *arguments)
    assert [(row.case['photo'], row.side) for row in run.rows] == [('64x48', 'packaged'), ('64x48', 'packaged, bf16')]
    assert all(row.timing.clock == 'process' for row in run.rows)
    assert colorizers.judge(run) == []


def test_twelve_megapixels_are_judged_on_two_threads():
    run = Run(dict(threads=2), '', '', {}, rows=[])
    timing = Timing(1.1, (1.0, 1.2), 3, 'wall')
    run.rows = [Row(dict(photo='4000x3000'), 'packaged', timing, dict(resident_peak_bytes=8e8))]
    assert [goal.is_met for goal in colorizers.judge(run)] == [True, False]


@pytest.mark.parametrize(
    ('device', 'seconds', 'met'), [('cuda', 0.02, [True]), ('cuda:0', 0.03, [False]), ('cpu', 0.02, [])]
)
def test_frames_a_second_are_judged_on_a_gpu(device, seconds, met):
    run = Run(dict(threads=1, device=device), '', '', {}, rows=[])
    run.rows = [
        Row(dict(photo=photo), side, Timing(seconds, (seconds, seconds), 3, 'gpu'))
        for photo, side in (('256x256', 'mpt_base'), ('512x512', 'mpt_base'), ('256x256', 'packaged'))
    ]
    assert [goal.is_met for goal in colorizers.judge(run)] == met


def test_upsampling(tmp_path, make_photos):
    run = measure(upsampling, '--folder', str(make_photos(tmp_path / 'photos', 2, size=(64, 64))), '--factors', '4')
    ours, nearest = run.rows
    assert ours.figures['psnr_db'] > nearest.figures['psnr_db']
    assert ours.figures['photographs'] == 2


def test_hints(tmp_path, make_photos):
    photos = str(make_photos(tmp_path / 'photos', 1, size=(64, 64)))
    run = measure(hints, '--folder', photos, '--every', '1', '--counts', '3')
    assert [row.side for row in run.rows] == ['automatic', *hints.REACHES.values(), 'Levin']
    assert hints.judge(run) == []  # three hints are not of the protocol


def test_previews():
    run = measure(previews, '--sizes', '64x48', '--rounds', '1')
    assert [row.side for row in run.rows] == [previews.DRAFT, previews.HINT]
    assert previews.judge(run) == []
    run.rows[1].case['photo'] = '4000x3000'
    assert len(previews.judge(run)) == 1


def test_halved(tmp_path, make_photos):
    pytest.importorskip('onnxruntime')
    photos = str(make_photos(tmp_path / 'photos', 1, size=(64, 48)))
    run = measure(halved, '--folder', photos, '--every', '1')
    whole, half = (row.figures for row in run.rows)
    assert whole['largest_levels'] <= 1 and half['megabytes'] < 0.6 * whole['megabytes']
    assert whole['mean_levels'] < half['mean_levels'] < 0.5
    half.update(ciede2000=0.05)
    assert [goal.is_met for goal in halved.judge(run)] == [True, True]
    half.update(megabytes=16.0, ciede2000=0.2)
    assert [goal.is_met for goal in halved.judge(run)] == [False, False]


def test_references(tmp_path, make_photos, monkeypatch):
    monkeypatch.setattr('colorization.propagation.FIELD_SIZE', 64)
    photos = str(make_photos(tmp_path / 'photos', 2, size=(64, 64)))
    run = measure(references, '--folder', photos, '--every', '1')
    assert [row.figures['photographs'] for row in run.rows] == [2, 2, 2]
    assert len(references.judge(run)) == 2
    with pytest.raises(ValueError, match='two photographs'):
        measure(references, '--folder', photos, '--every', '2')


@pytest.mark.parametrize('engine', ['torch', 'torch, bf16', 'torch, fast_matmul'])
def test_an_engine_answers_as_the_network_does(engine, monkeypatch):
    make_network = engines.make_network

    def make_mean_network(name):
        # the packaged temperature and gain enlarge what the engine's arithmetic does to the scores
        network, batch = make_network(name)
        network.to_ab.temperature = network.to_ab.gain = 1.0
        return network, batch

    monkeypatch.setattr(engines, 'make_network', make_mean_network)
    network, batch = engines.make_network('packaged colorizer')
    seconds, answer = engines.run_engine(engine, 'packaged colorizer', Path('unused'), threads=1, rounds=2)
    assert len(seconds) == 2
    expected = network(batch).detach().numpy()
    np.testing.assert_allclose(answer, expected, atol=2 if engine.endswith('bf16') else 1e-3)


def test_subjects(tmp_path, make_photos):
    make_photos(tmp_path / 'photos' / 'sky', 2, size=(64, 64))
    make_photos(tmp_path / 'photos' / 'skin', 1, size=(64, 48))
    run = measure(subjects, '--folder', str(tmp_path / 'photos'))
    assert {row.case['subject']: row.figures['photographs'] for row in run.rows} == {'all': 3, 'sky': 2, 'skin': 1}
    for row in run.rows:
        assert row.figures['gain_db_low'] <= row.figures['gain_db'] <= row.figures['gain_db_high']
    assert subjects.tabulate(run).rows[0][0] == 'all'
    with pytest.raises(ValueError, match='no image'):
        (tmp_path / 'empty').mkdir()
        measure(subjects, '--folder', str(tmp_path / 'empty'))


@pytest.mark.parametrize(
    ('lab', 'name'),
    [
        ((75, 12, 15), 'very light'),  # 59 degrees
        ((68, 12, 18), 'light'),
        ((62, 12, 18), 'intermediate'),
        ((55, 12, 18), 'tan'),
        ((48, 12, 18), 'brown'),
        ((30, 12, 18), 'dark'),
        ((60, 5, -3), 'very light'),
        ((40, 5, -3), 'dark'),
    ],
)
def test_classes_of_skin(lab, name):
    assert skin.classify_skin(np.array(lab, dtype=np.float32)) == name


def test_skin_is_read_from_the_middle_in_scikit_images_lab():
    rgb = np.zeros((80, 60, 3), np.uint8)
    rgb[25:55, 15:45] = (200, 150, 120)
    np.testing.assert_allclose(skin.find_skin(rgb), rgb2lab(rgb[40, 30][None, None] / 255)[0, 0], atol=0.02)


def test_skin(tmp_path):
    for name, color in dict(fair=(215, 170, 140), dark=(90, 60, 45)).items():
        pixels = np.full((48, 48, 3), color, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{name}.png')
    run = measure(skin, '--folders', str(tmp_path))
    assert [line[0] for line in skin.tabulate(run).rows] == ['light', 'dark']
    for row in run.rows:  # one portrait each, so that the interval is the value
        assert row.figures['error_low'] == pytest.approx(row.figures['error'])
        assert row.figures['error'] >= abs(row.figures['chroma']) - 1e-4
