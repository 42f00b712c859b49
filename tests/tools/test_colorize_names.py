"""What `dualattn colorize` calls its outputs, and which names it refuses; nothing is colorized here."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorization.batch import Settings, run_jobs
from colorization.commands.colorize import choose_output, main, parse_args, plan


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / 'Oma.bmp')
    return tmp_path / 'Oma.bmp'


def name_target(*arguments):
    args = parse_args([str(argument) for argument in arguments])
    args.out = args.out or choose_output(args.inputs, args.format, args.suffix)
    (job,) = plan(args).jobs
    return job.target.name


def test_suffix_and_format_count_where_no_output_is_named(photo, tmp_path):
    assert name_target(photo) == 'Oma_color.png'
    assert name_target(photo, '--suffix', '_farbig') == 'Oma_farbig.png'
    assert name_target(photo, '--suffix', '_farbig', '--format', 'tif') == 'Oma_farbig.tif'
    jpeg = photo.rename(tmp_path / 'Opa.JPEG')
    assert name_target(jpeg) == 'Opa_color.JPEG'


@pytest.mark.parametrize('options', [('--format', 'jpg'), ('--suffix', '_color'), ('--suffix', 'x', '--format', 'png')])
def test_a_named_output_is_not_called_otherwise_in_silence(photo, tmp_path, options, capsys):
    assert main([str(photo), '-o', str(tmp_path / 'out.png'), *options]) == 2
    assert 'leave out --format and --suffix' in capsys.readouterr().err


def test_a_named_output_that_agrees_is_taken(photo, tmp_path):
    assert name_target(photo, '-o', tmp_path / 'out.jpeg', '--format', 'jpg') == 'out.jpeg'
    assert name_target(photo, '-o', tmp_path / 'a_color.png', '--suffix', '_color') == 'a_color.png'


@pytest.mark.parametrize(
    'option',
    [
        ('--compare',),
        ('--variants', '3'),
        ('--doubt',),
        ('--layer',),
        ('--pages', 'all'),
        ('--shard', '1/2'),
        ('--suffix', 'x'),
    ],
    ids=lambda option: option[0],
)
@pytest.mark.parametrize('ends', [('-', '-o', '-'), ('-',), ('photo.tif', '-o', '-')], ids=' '.join)
def test_a_pipe_holds_one_picture(option, ends, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_args([*ends, *option])
    assert ended.value.code == 2 and f'{option[0]} has no place in a pipe' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [('a.png', 'b.png', '-o', '-'), ('--list', 'x', '-o', '-'), ('-', 'b.png')])
def test_a_pipe_holds_one_photograph(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_args(arguments)
    assert ended.value.code == 2 and 'one photograph goes through a pipe' in capsys.readouterr().err


def test_what_is_made_beside_a_photograph_from_a_pipe_has_a_name():
    assert parse_args(['-', '-o', 'out.png', '--compare']).compare


def test_of_a_list_what_is_not_there_stops_nothing(photo, tmp_path, monkeypatch, capsys):
    names = tmp_path / 'names.txt'
    names.write_bytes(b'Oma.bmp\r\nmissing/Opa.tif\n\n')
    monkeypatch.chdir(tmp_path)
    args = parse_args(['--list', 'names.txt', '-o', 'out'])
    jobs = plan(args).jobs
    assert [job.target for job in jobs] == [Path('out/Oma.png'), Path('out/missing/Opa.tif')]
    states = {outcome.job.source.name: outcome for outcome in run_jobs(jobs[1:], None, Settings())}
    assert states['Opa.tif'].state == 'failed' and 'no such file' in states['Opa.tif'].reason
    names.write_text('Opa.bmp\n')
    assert main(['--list', 'names.txt', '-o', 'out']) == 2
    assert 'none of the 1 photographs of the list is there' in capsys.readouterr().err
