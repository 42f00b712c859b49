"""Which photographs folders, names and patterns mean."""

import pytest

from dualattn.io.photos import IMAGE_SUFFIXES, list_images


@pytest.fixture
def folder(tmp_path):
    for name in (
        'b.JPG',
        'a b.png',
        'ü[1].tif',
        'notes.txt',
        '.hidden.png',
        '._a.jpg',
        'sub/c.webp',
        '.cache/d.png',
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_folder(folder):
    assert list_images([folder]) == [folder / 'a b.png', folder / 'b.JPG', folder / 'ü[1].tif']
    assert list_images([folder], recursive=True) == sorted([*list_images([folder]), folder / 'sub' / 'c.webp'])


def test_named_files_and_duplicates(folder):
    named = [folder / 'notes.txt', folder / 'ü[1].tif']
    assert list_images([*named, str(folder / 'notes.txt')]) == named


def test_patterns(folder):
    assert list_images([f'{folder}/*.png']) == [folder / 'a b.png']
    assert list_images([f'{folder}/**/*.web?']) == [folder / 'sub' / 'c.webp']


def test_relative_paths_stay_relative(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert [str(path) for path in list_images(['sub', 'b.*'])] == ['sub/c.webp', 'b.JPG']


@pytest.mark.parametrize(
    ('name', 'wanted'),
    [('none.png', 'a file or a folder'), ('*.bmp', 'match this pattern'), ('empty', 'not in its subfolders')],
)
def test_nothing_found_names_what_was_looked_for(folder, name, wanted):
    (folder / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match=wanted) as caught:
        list_images([folder, folder / name])
    assert str(folder / name) in str(caught.value) and '.avif' in str(caught.value)


def test_all_suffixes_are_lower_case():
    assert all(suffix == suffix.lower() and suffix.startswith('.') for suffix in IMAGE_SUFFIXES)
