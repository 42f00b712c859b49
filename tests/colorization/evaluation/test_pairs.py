"""Which prediction belongs to which photograph."""

from pathlib import Path, PurePath

import pytest

from colorization.evaluation.pairs import PairingError, pair_folders
from colorization.evaluation.protocols import PROTOCOLS, Protocol

FOLDER = PROTOCOLS['folder']


def fill(folder, names):
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    return folder


@pytest.fixture
def pair(tmp_path):
    """Function that makes two folders of empty files and pairs them."""

    def make(predictions, photographs, protocol=FOLDER, by='path'):
        return pair_folders(
            fill(tmp_path / 'pred', predictions), fill(tmp_path / 'truth', photographs), protocol, by=by
        )

    return make


def test_suffixes_do_not_matter(pair):
    found = pair(['a.png', 'sub/b.PNG'], ['a.jpg', 'sub/b.JPEG', 'sub/c.JPEG'])
    assert found.pairs == [(PurePath('a.jpg'), PurePath('a.png')), (PurePath('sub/b.JPEG'), PurePath('sub/b.PNG'))]
    assert found.missing == [PurePath('sub/c.JPEG')] and not found.extra and not found.misnamed


def test_names_with_dots_are_whole(pair):
    found = pair(['a.b.png', 'a.c.png'], ['a.b.jpg', 'a.c.jpg'])
    assert len(found.pairs) == 2


def test_names_alone_on_request(pair):
    assert len(pair(['a.png', 'b.png'], ['n1/a.jpg', 'n2/b.jpg'], by='name').pairs) == 2


def test_what_is_almost_right_is_named_and_not_paired(pair):
    found = pair(
        ['same.png', 'UPPER.png', 'moved.png', 'tagged_colorized.png', 'x_fake_B.png', 'stranger.png'],
        ['same.jpg', 'upper.jpg', 'sub/moved.jpg', 'tagged.jpg', 'x.jpg', 'lost.jpg'],
    )
    assert [str(truth) for truth, _ in found.pairs] == ['same.jpg']
    assert {(str(a), str(b)) for a, b in found.misnamed} == {
        ('UPPER.png', 'upper.jpg'),
        ('moved.png', 'sub/moved.jpg'),
        ('tagged_colorized.png', 'tagged.jpg'),
        ('x_fake_B.png', 'x.jpg'),
    }
    assert [str(path) for path in found.missing] == ['lost.jpg']
    assert [str(path) for path in found.extra] == ['stranger.png']


def test_two_that_might_be_meant_are_not_guessed_between(pair):
    found = pair(['same.png', 'a_colorized.png', 'a_out.png'], ['same.jpg', 'a.jpg'])
    assert not found.misnamed and len(found.extra) == 2 and len(found.missing) == 1


def test_folders_without_a_common_name(pair):
    with pytest.raises(PairingError, match=r'p\.png for one.*q\.jpg for one.*share no name'):
        pair(['p.png'], ['q.jpg'])


@pytest.mark.parametrize('names', [['a_colorized.png', 'b_colorized.png'], ['A.PNG', 'B.PNG'], ['a_out.jpg', 'B.jpg']])
def test_folders_that_almost_share_their_names(pair, names):
    with pytest.raises(PairingError, match='2 of them differ by case, folder or an addition .*: give the predictions'):
        pair(names, ['a.jpg', 'b.jpg'])


def test_the_advice_fits(pair):
    with pytest.raises(PairingError, match='use --match name'):
        pair(['a.png'], ['n1/a.jpg'])


def test_two_pictures_of_one_name(pair):
    with pytest.raises(PairingError, match=r'a\.bmp and a\.png would both be'):
        pair(['a.png', 'a.bmp'], ['a.jpg'])
    with pytest.raises(PairingError, match='use --match path'):
        pair(['b.png'], ['n1/b.jpg', 'n2/b.jpg'], by='name')


@pytest.mark.parametrize('role', ['pred', 'truth'])
def test_empty_and_absent_folders(tmp_path, role):
    folders = {name: fill(tmp_path / name, ['a.png']) for name in ('pred', 'truth')}
    folders[role] = tmp_path / 'none'
    with pytest.raises(PairingError, match='no folder of'):
        pair_folders(folders['pred'], folders['truth'], FOLDER)
    folders[role].mkdir()
    with pytest.raises(PairingError, match='no picture of'):
        pair_folders(folders['pred'], folders['truth'], FOLDER)


def test_only_the_protocols_photographs_count(pair):
    first_two = Protocol('test', 'the first two by name', count=2, sort_by='name', limit=2)
    found = pair(['z/1.png', 'a/2.png', 'b/3.png'], ['z/1.jpg', 'a/2.jpg', 'b/3.jpg'], protocol=first_two)
    assert [str(truth) for truth, _ in found.pairs] == ['z/1.jpg', 'a/2.jpg']
    assert [str(path) for path in found.extra] == ['b/3.png']
