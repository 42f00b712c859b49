"""`dualattn benchmark`: records that are kept, also of a suite that does not end, and the page that is made of them."""

import json
import types

import pytest

from dualattn.benchmarks import page
from dualattn.benchmarks.record import Row, Timing, find_records, read_record
from dualattn.benchmarks.suite import Goal, Table
from dualattn.commands import benchmark


@pytest.fixture
def suite():
    """A suite of three rows; `ends_with` is raised after the second."""

    def measure(args):
        for index in range(3):
            if index == 2 and suite.ends_with:
                raise suite.ends_with
            yield Row(dict(index=index), 'ours', Timing(1.0, (0.9, 1.1), 3, 'process'), dict(answer=42))

    suite = types.SimpleNamespace(
        ends_with=None,
        add_arguments=lambda parser: parser.add_argument('--batch', type=int, default=8),
        measure=measure,
        tabulate=lambda run: Table(['rows'], [[str(len(run.rows))]]),
        judge=lambda run: [Goal('the answer', 40, 42)],
    )
    return suite


@pytest.fixture
def run(suite, tmp_path, monkeypatch):
    """Function that runs the suite with a busy or a resting machine; returns the code and the record."""

    def run(*arguments, others=0.0):
        monkeypatch.setattr('dualattn.benchmarks.machine.OtherLoad.cores', lambda self: others)
        parser = benchmark.make_parser('fake', 'A fake', 'It measures nothing.')
        suite.add_arguments(parser)
        code = benchmark.run_suite('fake', suite, parser.parse_args(['--root', str(tmp_path), *arguments]))
        records = find_records(tmp_path)
        return code, read_record(records[0]) if records else None

    return run


def test_a_run_is_recorded_with_its_settings(run, tmp_path, repo_root, capsys):
    import fastjsonschema

    code, record = run()
    assert code == 0
    (kept,) = record.runs
    assert kept.complete and kept.quiet and len(kept.rows) == 3
    assert kept.settings['batch'] == 8 and kept.settings['threads'] == 1
    assert set(kept.settings) == {'batch', 'threads', 'torch'}
    schema = json.loads((repo_root / 'dualattn/benchmarks/record.schema.json').read_text(encoding='utf-8'))
    fastjsonschema.validate(schema, json.loads(find_records(tmp_path)[0].read_text(encoding='utf-8')))
    out = capsys.readouterr().out
    assert '| 3 |' in out and 'the answer: 42.00, aimed at 40' in out


@pytest.mark.parametrize(('error', 'code'), [(KeyboardInterrupt(), 130), (RuntimeError('out of memory'), 1)])
def test_a_suite_that_does_not_end_keeps_what_it_has(run, suite, error, code, capsys):
    suite.ends_with = error
    ended, record = run()
    assert ended == code
    (kept,) = record.runs
    assert len(kept.rows) == 2 and not kept.complete
    assert 'the answer' not in capsys.readouterr().out
    suite.ends_with = None
    _, record = run()
    assert [each.complete for each in record.runs] == [True]
    suite.ends_with = error
    _, record = run()
    assert [each.complete for each in record.runs] == [True, False]


def test_nothing_started_leaves_no_record(run, suite):
    def measure(args):
        raise ValueError('an unknown peer')
        yield

    suite.measure = measure
    assert run() == (2, None)
    assert run('--threads', '0') == (2, None)


def test_a_busy_machine_is_recorded_and_not_judged(run, capsys):
    _, record = run(others=0.7)
    assert record.runs[0].quiet is False
    assert record.runs[0].load['others'] == 0.7
    assert 'others took 0.7 cores' in capsys.readouterr().out


def test_without_a_record(run, tmp_path, capsys):
    assert run('--no-record') == (0, None)
    assert '| 3 |' in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_paths_lose_their_folders(tmp_path):
    import argparse

    settings = benchmark.describe_settings(
        argparse.Namespace(root=tmp_path, no_record=False, peers=[tmp_path / 'DDColor'])
    )
    assert settings['peers'] == ['DDColor']
    assert str(tmp_path) not in json.dumps(settings)


def test_unknown_suite_is_refused_with_the_nearest(declared, capsys):
    assert benchmark.main(['backbone']) == 2
    assert 'did you mean backbones?' in capsys.readouterr().err


def test_help_lists_the_suites(declared, capsys):
    assert benchmark.main(['--help']) == 0
    out = capsys.readouterr().out
    assert all(f'  {name} ' in out for name in declared)


# --- the page


def write_scaling(make_record, make_run, root, quiet=True, complete=True, version='0.1.0', seconds=4.4):
    cases = [(('size', size), ('batch', 1)) for size in (224, 448)]
    run = make_run({(cases[0], 'm'): 1.0, (cases[1], 'm'): seconds}, dict(gmacs=5.0), model='m')
    run.quiet, run.complete = quiet, complete
    run.load['others'] = 0.0 if quiet else 1.3
    return make_record('scaling', [run], version).write(root)


def test_page_shows_figures_goals_and_losses(declared, make_record, make_run, tmp_path):
    write_scaling(make_record, make_run, tmp_path)
    text = page.make_page(tmp_path)
    assert '## The cost of the backbone against the size of the image\n' in text
    assert '### The cost of the backbone against the size of the image: A Processor, 2 cores' in text
    assert '| 448 | 1 | 5.00 | 4.400 | 0.25 x | 1.10 x |' in text
    assert '<= 1.25 | 1.10 | met |' in text
    assert '`dualattn benchmark scaling --threads 1 --device cpu --model m`; 0.1.0, torch 2.11.0, 2026-11-30' in text
    write_scaling(make_record, make_run, tmp_path, seconds=8.0)
    assert '<= 1.25 | 2.00 | missed |' in page.make_page(tmp_path)
    assert '`dualattn benchmark operators`' in text  # among those that were not measured


@pytest.mark.parametrize(
    ('state', 'note'),
    [(dict(quiet=False), '**on a busy machine**: others took 1.3'), (dict(complete=False), '**interr')],
)
def test_page_judges_no_run_that_was_disturbed(declared, make_record, make_run, tmp_path, state, note):
    write_scaling(make_record, make_run, tmp_path, **state)
    text = page.make_page(tmp_path)
    assert note in text
    assert 'met' not in text.split('| seconds per pixel |')[-1].replace('measured', '').split('## Not')[0]


def test_page_judges_what_is_not_about_time_on_a_busy_machine(declared, make_record, make_run, tmp_path, monkeypatch):
    goals = [Goal('how many', 1, 2, timed=False), Goal('how fast', 1, 2)]
    monkeypatch.setattr('dualattn.benchmarks.scaling.judge', lambda run: goals)
    write_scaling(make_record, make_run, tmp_path, quiet=False)
    text = page.make_page(tmp_path)
    assert '| how many: >= 1 | 2.00 | met |' in text and 'how fast' not in text


def test_page_takes_the_newest_version(declared, make_record, make_run, tmp_path):
    write_scaling(make_record, make_run, tmp_path, version='0.10.0', seconds=5.0)
    write_scaling(make_record, make_run, tmp_path, version='0.9.0', seconds=7.0)
    text = page.make_page(tmp_path)
    assert '5.000' in text and '7.000' not in text


def test_page_is_written_and_checked(declared, make_record, make_run, tmp_path, capsys):
    (tmp_path / 'docs').mkdir()
    write_scaling(make_record, make_run, tmp_path)
    arguments = ['page', '--root', str(tmp_path)]
    assert benchmark.main([*arguments, '--check']) == 1
    assert 'out of date' in capsys.readouterr().err
    assert benchmark.main(arguments) == 0
    assert benchmark.main([*arguments, '--check']) == 0
    write_scaling(make_record, make_run, tmp_path, seconds=9.0)
    assert benchmark.main([*arguments, '--check']) == 1


def test_a_broken_record_is_named(declared, tmp_path, capsys):
    path = tmp_path / 'benchmarks' / 'results' / '0.1.0' / 'scaling--a--cpu.json'
    path.parent.mkdir(parents=True)
    path.write_text('{')
    assert benchmark.main(['page', '--root', str(tmp_path)]) == 2
    assert 'scaling--a--cpu.json: is no record' in capsys.readouterr().err


def test_page_of_the_repository_is_made_from_its_records(declared, repo_root):
    assert benchmark.main(['page', '--root', str(repo_root), '--check']) == 0
