"""`dualattn study`: what the page tells, what answers come to, and the sheets."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from colorization.commands import study
from colorization.evaluation.study import read_preferences


@pytest.fixture
def methods(tmp_path, make_photos, monkeypatch):
    """Three methods with four pictures each, told apart by one colour."""
    monkeypatch.chdir(tmp_path)
    for index, name in enumerate(('ours', 'theirs', 'third')):
        make_photos(tmp_path / name, 4)
        for path in (tmp_path / name).iterdir():
            rgb = np.array(Image.open(path))
            rgb[0, 0] = [index, 0, 0]
            Image.fromarray(rgb).save(path)
    return tmp_path


def page_of(folder):
    text = (folder / 'study' / 'page' / 'index.html').read_text()
    return text, json.loads(re.search(r'const study = (\{.*\});', text)[1])


def test_the_page_tells_nothing_and_the_key_all(methods):
    assert study.main(['ours', 'theirs', 'third', '-o', 'study', '--count', '3', '--title', 'A < B?']) == 0
    text, content = page_of(methods)
    assert 'A &lt; B?' in text and 'http' not in text.replace('http-equiv', '')
    assert not any(name in text for name in ('ours', 'theirs', 'third'))
    key = json.loads((methods / 'study' / 'key.json').read_text())
    assert len(content['trials']) == 3 and all(len(trial) == 3 for trial in content['trials'])
    for trial in content['trials']:
        assert sorted(key['key'][name] for name in trial) == ['ours', 'theirs', 'third']
        shades = [np.array(Image.open(methods / 'study' / 'page' / name))[0, 0, 0] for name in trial]
        assert [('ours', 'theirs', 'third')[shade] for shade in shades] == [key['key'][name] for name in trial]
    positions = [[key['key'][name] for name in trial].index('ours') for trial in content['trials']]
    assert len(set(positions)) > 1 or len(content['trials']) < 3  # names that mean nothing order nothing


def test_pairs(methods):
    assert study.main(['ours', 'theirs', 'third', '-o', 'study', '--pairs']) == 0
    _, content = page_of(methods)
    assert len(content['trials']) == 4 * 3 and all(len(trial) == 2 for trial in content['trials'])


def answer(folder, name, choose, **changes):
    key = json.loads((folder / 'study' / 'key.json').read_text())
    answers = {
        str(i): next(option for option in trial if key['key'][option] == choose(i))
        for i, trial in enumerate(key['trials'])
    }
    content = dict(kind='dualattn.study.answers', study=key['study'], participant=name, answers=answers) | changes
    path = folder / f'{name}_{len(list(folder.glob("*.json")))}.json'
    path.write_text(json.dumps(content))
    return path


def test_preferences_are_shares_of_what_was_shown(methods, capsys):
    assert study.main(['ours', 'theirs', 'third', '-o', 'study']) == 0
    files = [
        answer(methods, 'anna', lambda i: 'ours'),
        answer(methods, 'ben', lambda i: 'ours' if i < 3 else 'theirs'),
    ]
    preferences, left_out = read_preferences(methods / 'study' / 'key.json', files)
    assert preferences == {'ours': [100, 75], 'theirs': [0, 25], 'third': [0, 0]} and not left_out
    assert study.main(['--key', 'study/key.json', *map(str, files), '-o', 'plot.png']) == 0
    assert Image.open(methods / 'plot.png').size[0] > 300
    assert re.search(r'ours +87\.5 %', capsys.readouterr().out)


def test_answers_that_cannot_be_used_are_named(methods, capsys):
    assert study.main(['ours', 'theirs', 'third', '-o', 'study']) == 0
    good = answer(methods, 'anna', lambda i: 'ours')
    bad = [
        answer(methods, 'anna', lambda i: 'theirs'),
        answer(methods, 'carl', lambda i: 'ours', study='other'),
        answer(methods, 'dora', lambda i: 'ours', answers={'0': 'nothing.png'}),
        answer(methods, 'emil', lambda i: 'ours', answers={'99': 'x'}),
        answer(methods, 'eva', lambda i: 'ours', answers={'²': 'x'}),
        answer(methods, 'erna', lambda i: 'ours', answers={'9' * 5000: 'x'}),
        answer(methods, 'fred', lambda i: 'ours', answers=[]),
        answer(methods, 'gerd', lambda i: 'ours', kind='other'),
    ]
    for name, text in (('broken', '{'), ('deep', '[' * 100_000)):
        bad.append(methods / f'{name}.json')
        bad[-1].write_text(text)
    assert study.main(['--key', 'study/key.json', *map(str, [good, *bad]), '-o', 'plot.png']) == 1
    told = capsys.readouterr().err
    assert len(told.splitlines()) == len(bad)
    for reason in ('answered already', 'another study', "no picture 'nothing.png'", 'question 99', 'no answers'):
        assert reason in told
    assert study.main(['--key', 'study/key.json', *map(str, bad[1:]), '-o', 'other.png']) == 2
    (methods / 'key.json').write_text('{"kind": "dualattn.study", "methods": ["ours"]}')
    assert study.main(['--key', 'key.json', str(good), '-o', 'other.png']) == 2
    assert 'is no whole key: it has no study and no trials' in capsys.readouterr().err
    assert not (methods / 'other.png').exists()


def test_sheets_have_a_column_for_each_folder(methods):
    assert study.main(['ours', 'theirs', 'third', '--sheet', '--names', '01', '03', '--tile', '64', '-o', 'a.png']) == 0
    two = Image.open(methods / 'a.png')
    assert study.main(['ours', 'theirs', '--sheet', '--count', '4', '--tile', '64', '-o', 'b.png']) == 0
    four = Image.open(methods / 'b.png')
    assert two.width > four.width and two.height < four.height


def test_pictures_that_are_not_in_every_folder(methods, capsys):
    (methods / 'third' / '00.png').unlink()
    Image.new('RGB', (5, 5)).save(methods / 'theirs' / '01.png')
    (methods / 'theirs' / '02.png').write_bytes(b'broken')
    assert study.main(['ours', 'theirs', 'third', '-o', 'study']) == 1
    told = capsys.readouterr().err
    assert '00.png: not in every folder' in told and '01.png: of different sizes' in told and '02.png' in told
    assert len(page_of(methods)[1]['trials']) == 1


@pytest.mark.parametrize(
    'options, message',
    [
        (['ours', '-o', 'study'], 'at least two folders'),
        (['ours', './ours', '-o', 'study'], 'different names'),
        (['ours', 'theirs', '-o', 'third'], 'third exists'),
        (['ours', 'theirs', '-o', 'study', '--count', '0'], 'at least one picture'),
        (['ours', 'theirs', '--sheet', '--names', 'nobody', '-o', 'a.png'], "no picture 'nobody'"),
        (['--key', 'none.json', 'ours', '-o', 'a.png'], 'none.json'),
    ],
)
def test_what_makes_no_study(methods, capsys, options, message):
    assert study.main(options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'options',
    [
        ['a', 'b', '--sheet', '-o', 'a.jpg'],
        ['a', 'b', '--names', 'x', '-o', 's'],
        ['a', '--key', 'k', '--sheet', '-o', 'a.png'],
    ],
)
def test_wrong_arguments(options):
    with pytest.raises(SystemExit) as error:
        study.main(options)
    assert error.value.code == 2
