"""The page of `dualattn export page` in headless Chromium: its picture, its errors, and that it talks to nobody."""

import functools
import http.server
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from colorization import Colorizer
from colorization.browser import write_page
from colorization.samples import packaged_gray_photos
from dualattn.commands import export

pytest.importorskip('onnxruntime')
pytest.importorskip('onnx')
sync_api = pytest.importorskip('playwright.sync_api')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
WAIT = 300_000  # milliseconds, for machines that do much else
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='no Chromium: apt-get install chromium'),
    pytest.mark.skipif(shutil.which('npm') is None, reason='no npm, which gets the runtime: apt-get install npm'),
]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, '.mjs': 'text/javascript'}

    def log_message(self, *args):
        pass


@pytest.fixture(scope='module')
def address(tmp_path_factory):
    """The page, made by the command and served from loopback."""
    folder = tmp_path_factory.mktemp('page')
    try:
        write_page(folder)
    except RuntimeError as error:  # a machine without a registry
        pytest.skip(str(error))
    assert export.main(['page', 'packaged', '-o', str(folder)]) == 0
    files = [folder / 'model' / name for name in ('colors.onnx', 'join.onnx')]
    assert sum(file.stat().st_size for file in files) <= 15e6
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()
    server.server_close()


@pytest.fixture(scope='module')
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """The opened page; `page.requests` lists (method, address) of all that it asked for, outsiders are cut off."""
    context = browser.new_context(accept_downloads=True)
    requests, problems = [], []

    def route(route):
        requests.append((route.request.method, route.request.url))
        route.continue_() if route.request.url.startswith((address, 'blob:', 'data:')) else route.abort()

    context.route('**/*', route)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.on('pageerror', lambda error: problems.append(str(error)))
    page.on('console', lambda message: problems.append(message.text) if message.type == 'error' else None)
    page.requests, page.problems = requests, problems
    page.goto(address)
    yield page
    context.close()


def save_upright(page, path):
    with page.expect_download() as download:
        page.click('#save')
    download.value.save_as(path)
    return np.asarray(Image.open(path).convert('RGB'))


def test_photograph_is_colorized_here_alone(page, address, tmp_path):
    photo = Image.open(packaged_gray_photos()['coins']).convert('L').resize((320, 250))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    photo.save(tmp_path / 'scan.png', exif=exif)
    page.set_input_files('#file', tmp_path / 'scan.png')
    sync_api.expect(page.locator('#status')).to_contain_text('Done: 250 x 320', timeout=WAIT)
    loaded = len(page.requests)
    assert f'{address}model/colors.onnx' in {url for _, url in page.requests}  # so that the worker's are counted too
    ours = save_upright(page, tmp_path / 'out.png')

    upright = np.asarray(photo.transpose(Image.Transpose.ROTATE_270).convert('RGB'))
    expected = Colorizer.from_pretrained()(upright)
    difference = np.abs(ours.astype(int) - expected)
    assert ours.shape == (320, 250, 3) and np.ptp(expected.astype(int), axis=2).max() > 10
    assert difference.max() <= 3 and difference.mean() < 0.05  # half precision, in single precision of wasm

    # a second photograph needs nothing of the server, and nothing went anywhere but here, or upwards
    page.context.set_offline(True)
    photo.rotate(180).save(tmp_path / 'other.png')
    page.set_input_files('#file', tmp_path / 'other.png')
    sync_api.expect(page.locator('#status')).to_contain_text('Done: 320 x 250', timeout=WAIT)
    page.locator('#slider').fill('20')
    assert '20%' in page.locator('#before').evaluate('each => each.style.clipPath')
    assert [url for _, url in page.requests[loaded:] if not url.startswith('blob:')] == []
    assert {method for method, _ in page.requests} == {'GET'}
    assert [url for _, url in page.requests if not url.startswith((address, 'blob:', 'data:'))] == []
    assert page.problems == []


def test_broken_file_is_told_and_the_next_one_works(page, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'\xff\xd8\xff no photograph')
    page.set_input_files('#file', tmp_path / 'broken.jpg')
    sync_api.expect(page.locator('#status')).to_have_text(
        'broken.jpg: is no photograph that this browser reads.', timeout=WAIT
    )
    assert not page.locator('#result').is_visible()
    Image.new('L', (40, 30), 120).save(tmp_path / 'gray.png')
    page.set_input_files('#file', tmp_path / 'gray.png')
    sync_api.expect(page.locator('#status')).to_contain_text('Done: 40 x 30', timeout=WAIT)


def test_other_places_are_out_of_reach(page):
    """The page itself forbids it, wherever it is hosted."""
    answer = page.evaluate("fetch('http://127.0.0.2:9/').then(() => 'reached', error => error.message)")
    assert answer != 'reached'
    assert any('Content Security Policy' in problem for problem in page.problems)
    assert not any('127.0.0.2' in url for _, url in page.requests)
