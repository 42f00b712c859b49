"""The declared suites: each has what a suite needs, and says of figures what they are."""

import argparse
import importlib

import pytest

from dualattn.benchmarks import backbones, operators, scaling, startup
from dualattn.benchmarks.record import Row, Run, Timing
from dualattn.benchmarks.suite import Goal, Table, find_suites, summarize
from dualattn.commands.parser import CommandParser


def test_every_suite_is_whole(declared):
    suites = find_suites()
    assert set(suites) == set(declared) >= {'operators', 'backbones', 'scaling', 'bev', 'colorizers', 'engines'}
    for name, entry in suites.items():
        module = importlib.import_module(entry.module)
        title, description = summarize(entry.module)
        assert title and description, name
        parser = CommandParser('benchmark')
        module.add_arguments(parser)
        # no positional arguments: the page spells the settings of a run as options
        assert all(action.option_strings for action in parser._actions), name
        assert callable(module.measure) and callable(module.tabulate) and callable(module.judge)


def test_unknown_peer_is_refused_by_name():
    args = argparse.Namespace(model='dualattn_tiny', peers=['davit_tinny'])
    with pytest.raises(ValueError, match="no model 'davit_tinny'; did you mean davit_tiny"):
        next(backbones.measure(args))


def test_unknown_engine_config_and_network_are_refused_by_name(tmp_path):
    from colorization.benchmarks import colorizers, engines

    with pytest.raises(ValueError, match="no engine 'openvinoo'; did you mean openvino"):
        next(engines.measure(argparse.Namespace(engines=['openvinoo'])))
    with pytest.raises(ValueError, match="no config 'mpt_bse'.*did you mean mpt_base"):
        colorizers.find_config('mpt_bse')
    with pytest.raises(ValueError, match='is no checkout of DDColor'):
        colorizers.import_released(tmp_path)
    with pytest.raises(ValueError, match="expected WIDTHxHEIGHT such as 512x512, got '512'"):
        next(colorizers.measure(argparse.Namespace(sizes=['512'])))


def test_table_is_markdown():
    assert Table(['a', 'b'], [['1', '2']]).to_markdown() == '| a | b |\n| --- | --- |\n| 1 | 2 |\n'


@pytest.mark.parametrize(
    ('value', 'at_most', 'met'), [(1.4, False, True), (1.39, False, False), (1.4, True, True), (1.41, True, False)]
)
def test_goal(value, at_most, met):
    assert Goal('x', 1.4, value, at_most).is_met is met


def test_each_model_counts_in_its_best_setting(make_run):
    def case(model):
        return (('model', model),)

    seconds = {
        (case('dualattn_tiny'), 'dualattn_tiny, NCHW'): 2.0,
        (case('dualattn_tiny'), 'dualattn_tiny, NHWC'): 1.0,
        (case('davit_tiny'), 'davit_tiny, NCHW, fast_matmul'): 1.5,
        (case('davit_tiny'), 'davit_tiny, NHWC'): 1.9,
    }
    settings = dict(model='dualattn_tiny', batch=8, what='forward', dtype='fp32', shape=[224, 224])
    run = make_run(seconds, **settings)
    table = backbones.tabulate(run)
    assert [row[:3] for row in table.rows] == [
        ['`dualattn_tiny`', 'NHWC', '8.0'],
        ['`davit_tiny`', 'NCHW, fast_matmul', '5.3'],
    ]
    (goal,) = backbones.judge(run)
    assert (goal.value, goal.target, goal.is_met) == (1.5, 1.4, True)
    run.settings['threads'] = 2
    assert backbones.judge(run) == []


def test_operators_are_judged_by_their_worst_stage(make_run):
    seconds = {}
    for stage, ratio in enumerate([2.5, 2.4, 2.2, 2.6], 1):
        case = (('operator', 'sda'), ('what', 'forward'), ('stage', stage))
        seconds |= {(case, 'ours'): 1.0, (case, 'reference'): 9.0, (case, 'sdpa'): ratio}
    run = make_run(seconds, dict(peak_bytes=2**20), dtype='fp32', batch=8, instruction_set=None)
    (goal,) = operators.judge(run)
    assert (goal.value, goal.is_met) == (2.2, False)
    assert [row[5] for row in operators.tabulate(run).rows] == ['2.50', '2.40', '2.20', '2.60']
    run.settings['batch'] = 1
    assert operators.judge(run) == []


def test_scaling_is_by_pixel_of_all_images(make_run):
    def case(size, batch):
        return (('size', size), ('batch', batch)), 'm'

    run = make_run({case(224, 1): 1.0, case(448, 1): 4.4, case(224, 2): 2.2}, dict(gmacs=5.0), model='m')
    assert [row[4:] for row in scaling.tabulate(run).rows] == [
        ['1.00 x', '1.00 x'],
        ['0.25 x', '1.10 x'],
        ['0.50 x', '1.10 x'],
    ]
    assert scaling.judge(run)[0].is_met
    slow = make_run({case(224, 1): 1.0, case(448, 1): 4.4, case(224, 2): 2.6}, dict(gmacs=5.0), model='m')
    assert not scaling.judge(slow)[0].is_met


def test_scaling_is_measured():
    parser = argparse.ArgumentParser()
    scaling.add_arguments(parser)
    args = parser.parse_args(['--sizes', '32', '64', '--batches', '2', '--rounds', '1'])
    rows = list(scaling.measure(args))
    assert [(row.case['size'], row.case['batch']) for row in rows] == [(32, 1), (64, 1), (32, 2)]
    assert rows[1].figures['gmacs'] > 3 * rows[0].figures['gmacs']
    assert rows[2].figures['gmacs'] == pytest.approx(2 * rows[0].figures['gmacs'])


def test_start_up_judges_help_refusals_and_the_demo():
    def timing(seconds, clock='children'):
        return Timing(seconds, (seconds, seconds), 3, clock)

    rows = [
        Row({}, 'import torch', timing(3.0, 'wall')),
        Row({}, 'dualattn --help', timing(0.1)),
        Row({}, 'dualattn train --help', timing(0.6)),
        Row({}, 'dualattn colorize --help', timing(0.2)),
        Row({}, 'dualattn train without its data', timing(1.0, 'wall'), dict(lines=2)),
        Row({}, 'dualattn demo', figures=dict(lines=60)),
    ]
    run = Run({}, '', '', {}, rows=rows)
    assert [(goal.text, goal.value, goal.is_met, goal.timed) for goal in startup.judge(run)] == [
        ('seconds of dualattn train --help, the slowest of 3', 0.6, False, True),
        ('seconds of dualattn train without its data', 1.0, True, True),
        ('lines of dualattn train without its data', 2, False, False),
        ('lines of dualattn demo', 60, True, False),
    ]
    assert [row[1:] for row in startup.tabulate(run).rows][3:] == [
        ['0.20', '0.20 to 0.20', 'CPU', ''],
        ['1.00', '1.00 to 1.00', 'wall', '2'],
        ['', '', '', '60'],
    ]


def test_start_up_measures_what_other_processes_compute(monkeypatch):
    """Of what starts in a moment; a process that does not refuse what it should is no figure."""
    monkeypatch.setattr(startup, 'PROCESSES', dict(python=['-c', '']))
    monkeypatch.setattr(startup, 'REFUSALS', {'train without a config': ['train', 'absent.py']})
    monkeypatch.setattr(startup, 'find_verbs', lambda: ['weights'])
    monkeypatch.setattr(startup, '_make_photo', lambda path: False)
    rows = {row.side: row for row in startup.measure(argparse.Namespace(rounds=1, demo=False))}
    assert list(rows) == ['python', 'dualattn --help', 'dualattn weights --help', 'train without a config']
    assert rows['dualattn --help'].time.clock == 'children' and rows['python'].time.clock == 'wall'
    assert rows['train without a config'].figures == dict(lines=1)
    monkeypatch.setattr(startup, 'REFUSALS', dict(help=['train', '--help']))
    with pytest.raises(RuntimeError, match='ended with 0, expected 2'):
        list(startup.measure(argparse.Namespace(rounds=1, demo=False)))


@pytest.mark.parametrize('what', ['forward', 'train'])
def test_backbones_are_measured(what):
    """The smallest models of their kind, one round."""
    parser = CommandParser('benchmark')
    backbones.add_arguments(parser)
    arguments = ['--model', 'test_resnet', '--peers', 'test_efficientnet', '--batch', '1', '--rounds', '1']
    rows = list(backbones.measure(parser.parse_args([*arguments, '--what', what])))
    assert {row.case['model'] for row in rows} == {'test_resnet', 'test_efficientnet'}
    assert all(row.timing.rounds == 1 for row in rows)
    assert sum('peak_bytes' in row.figures for row in rows) == 2
