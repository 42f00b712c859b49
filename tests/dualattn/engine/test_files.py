"""Files that appear whole or not at all."""

import pytest

from dualattn.engine import write_aside


def test_the_file_appears_at_the_end(tmp_path):
    with write_aside(tmp_path / 'a.json') as aside:
        assert aside.suffix == '.json'
        aside.write_text('new')
        assert not (tmp_path / 'a.json').exists()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [('a.json', 'new')]


def test_an_error_leaves_what_was_there(tmp_path):
    (tmp_path / 'a.json').write_text('old')
    with pytest.raises(RuntimeError, match='full'), write_aside(tmp_path / 'a.json') as aside:
        aside.write_text('half')
        raise RuntimeError('full')
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [('a.json', 'old')]
