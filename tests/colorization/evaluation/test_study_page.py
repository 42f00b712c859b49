"""The page of `dualattn study` in headless Chromium, opened as the file that a participant was sent."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from colorization.commands import study

sync_api = pytest.importorskip('playwright.sync_api')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='no Chromium: apt-get install chromium'),
]


@pytest.fixture(scope='module')
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def key(tmp_path, monkeypatch):
    """A study of three methods and four pictures; the key of what each picture is."""
    monkeypatch.chdir(tmp_path)
    for shade, name in enumerate(('ours', 'theirs', 'third')):
        (tmp_path / name).mkdir()
        for index in range(4):
            pixels = np.full((24, 32, 3), 60 * shade + index, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f'{index}.png')
    assert study.main(['ours', 'theirs', 'third', '-o', 'study']) == 0
    return json.loads((tmp_path / 'study' / 'key.json').read_text())['key']


@pytest.fixture
def open_page(browser, tmp_path, key):
    """Function that opens the page as a new participant; everything that it asks for beside its files is refused."""
    contexts, problems = [], []

    def open_page():
        context = browser.new_context(accept_downloads=True)
        contexts.append(context)
        context.route(
            '**/*', lambda route: route.continue_() if route.request.url.startswith('file:') else problems.append(route)
        )
        page = context.new_page()
        page.on('pageerror', lambda error: problems.append(str(error)))
        page.goto((tmp_path / 'study' / 'page' / 'index.html').as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


def choose(page, key, method):
    """Click the picture of a method; returns the places at which the methods stood."""
    page.wait_for_function('[...document.images].length && [...document.images].every(image => image.naturalWidth)')
    names = [image.get_attribute('src') for image in page.query_selector_all('#pictures img')]
    page.click(f'#pictures img[src="{next(name for name in names if key[name] == method)}"]')
    return tuple(key[name] for name in names)


def save(page, path):
    with page.expect_download() as download:
        page.click('#save')
    download.value.save_as(path)


def test_participants_click_through_and_the_box_plot_knows(open_page, key, tmp_path, capsys):
    orders = set()
    for participant, favourites in enumerate((['ours'] * 4, ['ours', 'theirs', 'theirs', 'third'])):
        page = open_page()
        assert page.is_hidden('#save') and page.inner_text('#progress') == '0 of 4'
        for favourite in favourites:
            orders.add(choose(page, key, favourite))
        assert 'Thank you' in page.inner_text('#progress') and not page.query_selector_all('#pictures img')
        save(page, tmp_path / f'answers_{participant}.json')
    assert len(orders) > 1  # eight draws of six orders
    answers = [str(tmp_path / f'answers_{participant}.json') for participant in range(2)]
    capsys.readouterr()
    assert study.main(['--key', 'study/key.json', *answers, '-o', 'preferences.png']) == 0
    told = capsys.readouterr().out
    for name, mean in (('ours', '62.5'), ('theirs', '25.0'), ('third', '12.5')):
        assert f'{name:24}  {mean} %  (2 participants)' in told
    assert Image.open('preferences.png').size[0] > 300


def expect_progress(page, text):
    sync_api.expect(page.locator('#progress')).to_have_text(text)


def test_an_unfinished_study_goes_on_and_a_double_click_is_one_answer(open_page, key, tmp_path):
    page = open_page()
    choose(page, key, 'theirs')
    expect_progress(page, '1 of 4')
    page.reload()
    expect_progress(page, '1 of 4')
    page.dblclick('#pictures button >> nth=0')
    expect_progress(page, '2 of 4')
    for done in ('3 of 4', 'Thank you. Save your answers and send the file.'):
        page.focus('#pictures button >> nth=1')
        page.keyboard.press('Enter')
        expect_progress(page, done)
    save(page, tmp_path / 'answers.json')
    answers = json.loads((tmp_path / 'answers.json').read_text())['answers']
    assert len(answers) == 4 and 'theirs' in {key[name] for name in answers.values()}


@pytest.mark.parametrize(
    'lose', ['localStorage.clear()', 'history.replaceState(null, "")', 'localStorage.setItem(place, "{broken")']
)
def test_one_lost_copy_of_the_answers_loses_none(lose, browser, key, tmp_path):
    context = browser.new_context()
    # from a server, since a busy Chromium loses what file: pages store, which is what the second copy is for
    context.route(
        'http://study.test/**',
        lambda route: route.fulfill(path=tmp_path / 'study' / 'page' / route.request.url.rpartition('/')[2]),
    )
    page = context.new_page()
    page.goto('http://study.test/index.html')
    choose(page, key, 'theirs')
    expect_progress(page, '1 of 4')
    participant = page.evaluate('state.participant')
    page.evaluate(lose)
    page.reload()
    expect_progress(page, '1 of 4')
    assert page.evaluate('state.participant') == participant
    context.close()
