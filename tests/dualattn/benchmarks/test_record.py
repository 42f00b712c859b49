"""Records: their format, what replaces what, and what a machine under load says."""

import json

import fastjsonschema
import pytest

from dualattn.benchmarks import machine
from dualattn.benchmarks.machine import OtherLoad
from dualattn.benchmarks.record import Row, Run, find_records, read_record, slug
from dualattn.benchmarks.timing import summarize_seconds, time_interleaved


@pytest.fixture(scope='module')
def validate(repo_root):
    """The schema as a function that raises."""
    schema = repo_root / 'dualattn' / 'benchmarks' / 'record.schema.json'
    return fastjsonschema.compile(json.loads(schema.read_text(encoding='utf-8')))


def test_records_of_the_repository(repo_root, validate):
    for path in find_records(repo_root):
        validate(json.loads(path.read_text(encoding='utf-8')))
        record = read_record(path)
        assert record.path(repo_root) == path


def test_written_and_read_again(tmp_path, validate, make_run, make_record):
    run = make_run({((('stage', 1),), 'ours'): 0.5, ((('stage', 1),), 'other'): 1.5}, dict(peak_bytes=7), batch=8)
    run.rows.append(Row({}, 'without time', None, dict(gmacs=1.5)))
    record = make_record('operators', [run])
    path = record.write(tmp_path)
    assert path.relative_to(tmp_path).as_posix() == (
        'benchmarks/results/0.1.0/operators--a-processor-2-cores--cpu.json'
    )
    validate(json.loads(path.read_text(encoding='utf-8')))
    assert read_record(path) == record
    assert find_records(tmp_path) == [path]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        (lambda content: content.update(format=2), 'format'),
        (lambda content: content.update(note='by hand'), 'note'),
        (lambda content: content['runs'][0].pop('load'), 'load'),
        (lambda content: content['runs'][0]['settings'].pop('threads'), 'threads'),
        (lambda content: content['runs'][0]['settings'].update(peer='/home/somebody/DDColor'), 'settings'),
        (lambda content: content['runs'][0]['rows'][0]['timing'].update(median=0), 'timing'),
        (lambda content: content['runs'][0]['rows'][0]['timing'].update(quartiles=[1]), 'timing'),
        (lambda content: content['runs'][0]['rows'][0]['timing'].update(clock='sun'), 'timing'),
        (lambda content: content['runs'][0]['rows'][0]['figures'].update(gain='much'), 'figures'),
        (lambda content: content['runs'][0].update(started='yesterday'), 'started'),
        (lambda content: content['runs'].clear(), 'runs'),
    ],
)
def test_schema_refuses(tmp_path, validate, make_run, make_record, change, name):
    path = make_record('operators', [make_run({((), 'ours'): 0.5})]).write(tmp_path)
    content = json.loads(path.read_text(encoding='utf-8'))
    validate(content)
    change(content)
    with pytest.raises(fastjsonschema.JsonSchemaException, match=name):
        validate(content)


@pytest.mark.parametrize(
    'text', ['{', '[]', '{"format": 1}', '{"format": 3, "runs": []}', '{"format": 1, "runs": [{}]}']
)
def test_a_file_that_is_no_record_is_named(tmp_path, text):
    path = tmp_path / 'broken.json'
    path.write_text(text)
    with pytest.raises(ValueError, match='broken.json: is no record'):
        read_record(path)


def test_runs_replace_those_of_equal_settings(make_run, make_record):
    old, other = make_run({((), 'a'): 1.0}, batch=1), make_run({((), 'a'): 1.0}, batch=2)
    record = make_record('s', [old, other])
    new = make_run({((), 'a'): 3.0}, batch=1)
    record.add(new)
    assert record.runs == [other, new]
    broken = make_run({}, batch=1)
    broken.complete = False
    record.add(broken)
    assert record.runs == [other, new, broken]  # an interruption costs no earlier result
    further = make_run({((), 'a'): 4.0}, batch=1)
    further.complete = False
    record.add(further)
    assert record.runs == [other, new, further]
    record.add(old)
    assert record.runs == [other, old]


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('Intel(R) Xeon(R) Processor, 2 cores', 'intel-xeon-processor-2-cores'),
        ('AMD EPYC 9B45 128-Core', 'amd-epyc-9b45-128-core'),
        ('NVIDIA H100 80GB HBM3', 'nvidia-h100-80gb-hbm3'),
        ('../..', 'unknown'),
    ],
)
def test_slug(name, expected):
    assert slug(name) == expected


# --- load


def test_what_others_compute_is_told_from_what_this_process_does(tmp_path, monkeypatch):
    """Of two seconds, all cores were busy for three and this process for one: the others took one core."""
    stat, now, own = tmp_path / 'stat', [10.0], [5.0]
    monkeypatch.setattr(machine.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(machine.os, 'times', lambda: (own[0], 0.0, 0.0, 0.0, 0.0))
    ticks = machine.os.sysconf('SC_CLK_TCK')
    stat.write_text(f'cpu 0 0 0 {90 * ticks} 0 0 0 0 0 0\n')
    load = OtherLoad(stat)
    now[0], own[0] = 12.0, 6.0
    stat.write_text(f'cpu {2 * ticks} 0 0 {91 * ticks} 0 0 0 {ticks} 0 0\n')
    assert load.cores() == 1.0
    assert OtherLoad(tmp_path / 'absent').cores() is None


@pytest.mark.parametrize(('others', 'quiet'), [(0.0, True), (0.1, True), (0.11, False), (None, False)])
def test_only_a_machine_known_to_rest_is_quiet(others, quiet):
    run = Run({}, '', '', dict(average=0.0, others=None))
    run.note_load(others)
    assert run.quiet is quiet
    assert run.load['others'] == others


# --- timing


def test_median_and_quartiles():
    timing = summarize_seconds([5.0, 1.0, 3.0, 2.0, 4.0], 'wall')
    assert (timing.median, timing.quartiles, timing.rounds, timing.clock) == (3.0, (2.0, 4.0), 5, 'wall')
    assert summarize_seconds([0.0], 'process').median > 0


def test_sides_run_in_turn():
    order = []
    sides = {'a': lambda: order.append('a'), 'b': lambda: order.append('b')}
    timings = time_interleaved(sides, rounds=3, warm_up=1)
    assert order == ['a', 'b'] * 4
    assert {name: timing.rounds for name, timing in timings.items()} == {'a': 3, 'b': 3}


def test_sides_of_a_record(make_run):
    run = make_run({((('stage', 1),), 'ours'): 1.0, ((('stage', 1),), 'other'): 2.0, ((('stage', 2),), 'ours'): 3.0})
    sides = run.sides()
    assert [sorted(each) for each in sides.values()] == [['other', 'ours'], ['ours']]
