"""The suites of colorization, each run once on next to nothing."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from colorization.benchmarks import colorizers, engines, folder, loaders, upsampling
from dualattn.benchmarks.record import Run
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
    assert [row.side for row in run.rows] == ['files to files', 'network alone']
    assert len(folder.judge(run)) == 1


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
    timing = argparse.Namespace(median=1.1)
    run.rows = [
        argparse.Namespace(
            case=dict(photo='4000x3000'), side='packaged', timing=timing, figures=dict(resident_peak_bytes=8e8)
        )
    ]
    assert [goal.is_met for goal in colorizers.judge(run)] == [True, False]


def test_upsampling(tmp_path, make_photos):
    run = measure(upsampling, '--folder', str(make_photos(tmp_path / 'photos', 2, size=(64, 64))), '--factors', '4')
    ours, nearest = run.rows
    assert ours.figures['psnr_db'] > nearest.figures['psnr_db']
    assert ours.figures['photographs'] == 2


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
