"""The script for machines with a GPU, with stand-ins for all that it calls."""

import importlib
import os
import re
import shlex
import subprocess

import pytest

from dualattn.commands.benchmark import make_parser


@pytest.fixture
def check_gpu(tmp_path, repo_root):
    """Function that runs the script; the stand-in for Python fails when its arguments hold `broken`."""
    for name, lines in (
        ('python', 'case "$*" in *"$BROKEN"*) echo "no luck"; exit 3;; esac'),
        ('compute-sanitizer', 'while [ "$1" != "$PYTHON" ]; do shift; done; exec "$@"'),
        ('nvidia-smi', 'echo one GPU'),
    ):
        path = tmp_path / 'bin' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\n{lines}\n')
        path.chmod(0o755)

    def run(*arguments, broken='nothing'):
        variables = {
            **os.environ,
            'PATH': f'{tmp_path / "bin"}:{os.environ["PATH"]}',
            'BROKEN': broken,
            'PYTHON': str(tmp_path / 'bin' / 'python'),
        }
        done = subprocess.run(
            ['bash', 'tools/check_gpu.sh', tmp_path / 'out', *arguments],
            cwd=repo_root,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        lines = (tmp_path / 'out' / 'summary.txt').read_text().splitlines()
        return done, {line[:28].rstrip(): line[28:].split()[0] for line in lines}

    return run


def test_every_step_runs_and_is_logged(check_gpu, tmp_path):
    done, steps = check_gpu()
    assert done.returncode == 0, done.stdout
    assert set(steps.values()) == {'ok'}
    assert {
        'build',
        'gpu',
        'report',
        'tests on the GPU',
        'memcheck',
        'racecheck',
        'synccheck',
        'operators, bf16',
    } <= set(steps)
    log = (tmp_path / 'out' / 'log.txt').read_text()
    assert 'one GPU' in log
    assert 'DUALATTN_BUILD=cuda' in log
    assert '--peers compiled flex natten flash-window --device cuda' in log
    assert f'--root {tmp_path / "out"}' in log


def test_peers_that_are_not_installed_are_named(check_gpu, tmp_path):
    check_gpu('ops', broken='import natten')
    assert 'peer natten                  not installed' in (tmp_path / 'out' / 'summary.txt').read_text()
    assert '--peers compiled flex flash-window --device cuda' in (tmp_path / 'out' / 'log.txt').read_text()


def test_measurements_are_arguments_of_the_suites(check_gpu, tmp_path):
    """The stand-in for Python knows no suite; their parsers do."""
    done, steps = check_gpu('ops', 'models', 'colorize', 'bev', 'detectors', 'train')
    assert set(steps.values()) == {'ok'}
    assert {'MPT, frames per second', 'detectors', 'training, NCCL', 'training, fp16 AMP'} <= set(steps)
    suites = dict(
        operators='dualattn.benchmarks.operators',
        backbones='dualattn.benchmarks.backbones',
        memory='dualattn.benchmarks.memory',
        colorizers='colorization.benchmarks.colorizers',
        bev='transfer.benchmarks.bev',
        detectors='transfer.benchmarks.detectors',
    )
    lines = re.findall(r'-m dualattn.commands.benchmark (\S+) (.*)', (tmp_path / 'out' / 'log.txt').read_text())
    assert {name for name, _ in lines} == set(suites)
    for name, arguments in lines:
        parser = make_parser(name, '', '')
        importlib.import_module(suites[name]).add_arguments(parser)
        assert parser.parse_args(shlex.split(arguments)).device == 'cuda'


def test_a_failed_step_is_reported_and_does_not_stop_the_others(check_gpu):
    done, steps = check_gpu(broken='-m pytest')
    assert done.returncode == 1
    assert {name for name, status in steps.items() if status == 'FAILED'} == {
        'tests on the GPU',
        'tests of the operators',
        'memcheck',
        'racecheck',
        'synccheck',
    }
    assert steps['operators, fp32'] == 'ok'
    assert 'no luck' in done.stdout


def test_steps_can_be_chosen(check_gpu):
    assert set(check_gpu('build', 'sanitizer')[1]) == {'build', 'memcheck', 'racecheck', 'synccheck'}
