"""The page in Debian's Chromium, driven by Playwright, against a server in this process."""

import http.client
import io
import json
import os
import shutil
import socket
import struct
import threading
import time
import urllib.request
import uuid
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from colorization.checkpoints import save_network
from colorization.commands.colorize import main as colorize
from colorization.desk import Desk, Limits
from colorization.models import MPT
from colorization.pipeline import Colorizer

pytestmark = pytest.mark.slow
WAIT = 300_000  # milliseconds; on a busy machine; nothing below waits for longer than it has to
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
LIMITS = Limits(megapixels=1, megabytes=2, files=50, queue=2, seconds=300)


@pytest.fixture(scope='module')
def network():
    """An MPT with a palette, small and random, whose colours differ from place to place."""
    torch.manual_seed(0)
    network = MPT(
        encoder='dualattn_mpt',
        encoder_kwargs=dict(depths=(1, 1, 1, 1), embed_dims=(24, 24, 48, 48), stem_dim=8, window_size=4),
        decoder_dims=(16, 16, 16),
        num_queries=6,
        depth=1,
        num_heads=2,
        head='palette',
    )
    colors = [[40.0, 30.0], [-30.0, 30.0], [5.0, -40.0], [10.0, 40.0], [0.0, 0.0], [-5.0, 8.0]]
    network.to_ab.set_palette(colors, [0.2, 0.2, 0.2, 0.2, 0.1, 0.1])
    return network


@pytest.fixture(scope='module')
def desk(tmp_path_factory, network):
    folder = tmp_path_factory.mktemp('served')
    weights = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    save_network(network, weights)
    from colorization.provenance import hash_weights

    desk = Desk({'tiny': Colorizer(network, size=64)}, folder, LIMITS, {'tiny': hash_weights(weights)})
    desk.weights = weights
    return desk


@pytest.fixture(scope='module')
def address(desk):
    """Host and port of the page."""
    pytest.importorskip('gradio', reason="the page needs gradio: pip install 'dualattn[web]'")
    uvicorn = pytest.importorskip('uvicorn', reason="the page needs uvicorn: pip install 'dualattn[web]'")
    from colorization.web import make_app

    kept = {name: os.environ.get(name) for name in ('GRADIO_TEMP_DIR', 'GRADIO_ANALYTICS_ENABLED')}
    os.environ |= dict(GRADIO_TEMP_DIR=str(desk.folder), GRADIO_ANALYTICS_ENABLED='False')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    config = uvicorn.Config(make_app(desk), '127.0.0.1', port, log_level='error', timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield '127.0.0.1', port
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive(), 'the server hangs'
    for name, value in kept.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope='module')
def chromium():
    api = pytest.importorskip(
        'playwright.sync_api', reason='driving a browser needs Playwright: pip install playwright'
    )
    if CHROMIUM is None:
        pytest.skip('no chromium on this machine: apt-get install chromium')
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu'], timeout=WAIT
        )
        yield browser
        browser.close()


class Visitor:
    """A page that is open; keeps what it asked other hosts for, and what it wanted to say in dialogs."""

    def __init__(self, chromium, address):
        self.origin = f'http://{address[0]}:{address[1]}'
        self.context = chromium.new_context(viewport=dict(width=1280, height=900), accept_downloads=True)
        self.context.set_default_timeout(WAIT)
        self.asked, self.outside, self.dialogs = 0, [], []
        self.context.route('**/*', self._let_through)
        self.page = self.context.new_page()
        self.page.on('dialog', self._note_dialog)
        self.headers = self.page.goto(self.origin, wait_until='domcontentloaded').headers
        self.page.wait_for_selector('#upload input[type=file]', state='attached')

    def _let_through(self, route):
        self.asked += 1
        if route.request.url.startswith((self.origin, 'blob:', 'data:')):
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()

    def _note_dialog(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def source(self):
        """The address of the picture that is shown; None without one."""
        picture = self.page.locator('#result img')
        return picture.get_attribute('src') if picture.count() else None

    def drop(self, *files):
        """Drop files, name and bytes each, and wait until the first is shown."""
        before = self.source()
        payload = [dict(name=name, mimeType='image/png', buffer=content) for name, content in files]
        self.page.set_input_files('#upload input[type=file]', payload)
        self.wait_for_another(before)

    def wait_for_another(self, before):
        """Wait until the picture is another one, and loaded; return it as (h, w, 3)."""
        self.page.wait_for_function(
            """before => { const p = document.querySelector('#result img');
                           return p && p.getAttribute('src') !== before && p.complete && p.naturalWidth > 0 }""",
            arg=before,
        )
        return self.picture()

    def picture(self):
        return read_picture(self.source())

    def click_picture(self, x, y):
        """Click at a share x, y of the picture, and return what it then is."""
        before = self.source()
        picture = self.page.locator('#result img')
        box, (width, height) = picture.bounding_box(), picture.evaluate('p => [p.naturalWidth, p.naturalHeight]')
        scale = min(1, box['width'] / width, box['height'] / height)  # it is made smaller to fit, and never larger
        left, top = (box['width'] - width * scale) / 2, (box['height'] - height * scale) / 2
        picture.click(position=dict(x=left + x * width * scale, y=top + y * height * scale))
        return self.wait_for_another(before)

    def show(self, tab):
        self.page.get_by_role('tab', name=tab).click()

    def press(self, button):
        self.page.click(f'#{button}')

    def download(self, make='make'):
        """Let a file be made, and return its name and bytes."""
        self.press(make)
        self.page.wait_for_function("() => { const b = document.querySelector('#download'); return b && !b.disabled }")
        with self.page.expect_download() as expected:
            self.press('download')
        return expected.value.suggested_filename, expected.value.path().read_bytes()

    def close(self):
        self.context.close()


@pytest.fixture(scope='module')
def visitor(chromium, address):
    visitor = Visitor(chromium, address)
    yield visitor
    visitor.close()


def read_picture(url):
    """Return what lies there as (h, w, 3) int, by a connection of its own."""
    with urllib.request.urlopen(url, timeout=WAIT / 1000) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())).convert('RGB')).astype(int)


def png(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG', **options)
    return buffer.getvalue()


def halves(height=96, width=160):
    """Two objects: a dark one of fine stripes at the left, a bright smooth one at the right."""
    rows, columns = np.mgrid[:height, :width]
    return np.where(columns < width // 2, 70 + 20 * (rows // 2 % 2), 190 + rows // 8).astype(np.uint8)


def until(is_so, seconds=WAIT / 1000):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.1)


def files_below(folder):
    return [path for path in folder.rglob('*') if path.is_file()]


@pytest.mark.parametrize('depth', [8, 16])
def test_upload_slider_and_download_equal_the_command(visitor, desk, tmp_path, depth):
    gray = halves()
    content = png(gray if depth == 8 else gray.astype(np.uint16) * 257 + 100)
    visitor.show('Click to give hints')
    visitor.drop(('grandma.png', content))
    visitor.show('Before and after')
    pictures = visitor.page.locator('#slider img')
    visitor.page.wait_for_function(
        "() => { const p = [...document.querySelectorAll('#slider img')];"
        ' return p.length >= 2 && p.every(i => i.complete && i.naturalWidth == 160) }'
    )
    before, after = (read_picture(pictures.nth(i).get_attribute('src')) for i in (0, 1))
    assert np.abs(before[..., 0] - gray).mean() < 3
    assert np.ptp(after, axis=2).mean() > 3
    visitor.show('Click to give hints')
    name, made = visitor.download()
    assert name == 'grandma_color.png'
    (tmp_path / 'grandma.png').write_bytes(content)
    weights = ['--weights', str(desk.weights), '--size', '64']
    assert colorize([str(tmp_path / 'grandma.png'), '-o', str(tmp_path / 'out.png'), *weights]) == 0
    assert made == (tmp_path / 'out.png').read_bytes()


def test_the_page_asks_no_other_host(visitor):
    assert visitor.asked > 20
    assert visitor.outside == []
    assert "default-src 'self'" in visitor.headers['content-security-policy']


def test_a_hint_changes_its_region_alone_and_goes_again(visitor):
    visitor.drop(('two.png', png(halves())))
    automatic = visitor.picture()
    hinted = visitor.click_picture(0.25, 0.5)
    change = np.abs(hinted - automatic).sum(axis=2)
    assert change[44:52, 30:50].mean() > 20
    assert change[:, 92:].mean() < 3
    offers = visitor.page.locator('#offers button')
    offers.first.wait_for()  # the weights have a palette
    assert offers.count() >= 2
    before = visitor.source()
    color = offers.last.get_attribute('title')
    offers.last.click()
    assert np.abs(visitor.wait_for_another(before) - hinted)[44:52, 30:50].mean() > 3
    assert offers.last.evaluate('b => getComputedStyle(b).backgroundColor') == (
        f'rgb({int(color[1:3], 16)}, {int(color[3:5], 16)}, {int(color[5:], 16)})'
    )
    before = visitor.source()
    visitor.press('clear')
    np.testing.assert_array_equal(visitor.wait_for_another(before), automatic)
    offers.first.wait_for(state='detached')


def test_many_come_as_a_zip(visitor):
    visitor.drop(('a.png', png(halves())), ('b.png', png(halves()[:, ::-1])))
    name, made = visitor.download('make-zip')
    assert name == 'colorized.zip'
    with zipfile.ZipFile(io.BytesIO(made)) as file:
        assert sorted(file.namelist()) == ['a_color.png', 'b_color.png']
        assert file.testzip() is None


def test_a_full_queue_says_so(visitor, desk, monkeypatch):
    visitor.drop(('one.png', png(halves())))
    go_on, running, save = threading.Event(), threading.Event(), desk.save

    def wait(*args):
        running.set()
        assert go_on.wait(WAIT / 1000)
        return save(*args)

    monkeypatch.setattr(desk, 'save', wait)
    try:
        visitor.press('make')
        assert running.wait(WAIT / 1000)
        for button in ('clear', 'undo', 'make-zip'):  # two wait, the third is one too many
            visitor.press(button)
            visitor.page.wait_for_timeout(500)
        visitor.page.get_by_text('Queue is full').first.wait_for()
    finally:
        go_on.set()
    monkeypatch.undo()
    visitor.page.wait_for_timeout(500)
    visitor.drop(('two.png', png(halves())))


def png_bomb(side):
    """A PNG of side x side pixels in a few bytes."""

    def chunk(kind, payload):
        return struct.pack('>I', len(payload)) + kind + payload + struct.pack('>I', zlib.crc32(kind + payload))

    header = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    data = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0' * 9)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + data


def hostile_files():
    """Files that a browser can send: 60 that are no photographs, by name."""
    whole, rng = png(halves()), np.random.default_rng(0)
    yield from ((f'bomb_{n}.png', png_bomb(20_000 + 4000 * n)) for n in range(10))
    yield from ((f'cut_{n}.png', whole[: len(whole) * n // 12]) for n in range(10))
    yield from ((f'noise_{n}.jpg', b'\xff\xd8\xff\xe0' + rng.bytes(300)) for n in range(10))
    yield from ((f'<img src=x onerror=alert({n})>.svg', b'<svg onload="alert(1)"/>') for n in range(10))
    yield from ((f'page_{n}.html', b'<script>alert(1)</script>') for n in range(5))
    yield from ((f'..%2f..%2fetc%2fpasswd{n}', b'root:x:0:0') for n in range(5))
    yield from ((f'$(touch hacked);{n}.png', b'PK\x03\x04') for n in range(5))
    yield from ((f'"><script>alert({n})<!--.tif', b'II*\0' + bytes(20)) for n in range(5))


def part(name, content):
    head = (
        f'--cut\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
    )
    return head.encode() + content + b'\r\n'


def send(address, method, path, body=None, content_type=None):
    """Return the status of the answer."""
    connection = http.client.HTTPConnection(*address, timeout=WAIT / 1000)
    connection.request(method, path, body, {'Content-Type': content_type} if content_type else {})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def make_event(path):
    """An upload's event, forged: it names a file that was never uploaded."""
    file = dict(path=path, meta={'_type': 'gradio.FileData'})
    event = dict(data=[None, [file], 'tiny', 1, 1, 'adaptive'], fn_index=0, session_hash=uuid.uuid4().hex)
    return json.dumps(event)


def test_a_hundred_hostile_uploads_leave_the_page_working_and_nothing_on_disk(chromium, address, desk, tmp_path):
    at_first = set(files_below(desk.folder))
    guest = Visitor(chromium, address)
    sent = list(hostile_files())
    toasts = guest.page.locator('.toast-body')
    for half in (sent[:30], sent[30:]):
        payload = [dict(name=name, mimeType='image/png', buffer=content) for name, content in half]
        guest.page.set_input_files('#upload input[type=file]', payload)
        toasts.first.wait_for()
        while toasts.count():
            guest.page.locator('.toast-close').first.click()
            guest.page.wait_for_timeout(300)
        guest.page.locator('#upload .file-preview').wait_for(state='detached')  # the box is empty for the next ones
    upload, kind, number = '/gradio_api/upload', 'multipart/form-data; boundary=cut', len(sent)
    target = tmp_path / 'evil.png'
    for name in (
        f'../../../..{target}',
        str(target),
        '..\\..\\evil.png',
        '.',
        '..',
        '',
        '%00',
        'a' * 5000,
        'nul\x01',
        '~',
    ):
        send(address, 'POST', upload, part(name, b'<script>') + b'--cut--\r\n', kind)
        number += 1
    for body, form in ((b'', kind), (b'no', kind), (b'no', 'image/png'), (part('a.png', b''), 'multipart/form-data')):
        assert send(address, 'POST', upload, body, form) in (200, 400, 422)  # nothing in it, or not to be read
        number += 1
    assert send(address, 'POST', upload, part('large.png', bytes(2_100_000)) + b'--cut--\r\n', kind) == 413
    for n in range(20):  # connections that break off in the middle of a file
        with socket.create_connection(address) as connection:
            head = f'POST {upload} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 999999\r\n\r\n'
            connection.sendall(head.encode() + part(f'{n}.png', bytes(1000 * n))[:-2])
        number += 1
    for path in ('/etc/passwd', '../../etc/passwd', str(desk.weights), 'http://127.0.0.1:1/x', '/dev/zero'):
        send(address, 'POST', '/gradio_api/queue/join', make_event(path), 'application/json')
        number += 1
    assert number + 1 == 100
    for path in ('/etc/passwd', '../../etc/passwd', str(desk.weights)):
        assert send(address, 'GET', f'/gradio_api/file={path}') in (403, 404)
    assert not target.exists() and desk.weights.is_file()
    # photographs themselves, with scripts in their names and in what is written inside
    texts = PngInfo()
    for key in ('Title', 'Comment', 'XML:com.adobe.xmp'):
        texts.add_text(key, '"><script>alert(1)</script><img src=x onerror=alert(2)>')
    guest.drop(
        ('<img src=x onerror=alert(3)>.png', png(halves(), pnginfo=texts)),
        ('"><svg onload=alert(4)>.png', png(halves()[:, ::-1], pnginfo=texts)),
    )
    assert np.ptp(guest.picture(), axis=2).mean() > 3
    before = guest.source()
    guest.page.locator('#chooser input').click()  # where the names are shown
    guest.page.get_by_role('option').nth(1).click()
    guest.wait_for_another(before)
    assert guest.dialogs == [] and guest.outside == []
    guest.close()
    desk.limits.__dict__['unclaimed'] = 0  # whole files that no page came for are cleared away after a while
    time.sleep(0.05)

    def is_clean():
        desk.tend()
        return set(files_below(desk.folder)) <= at_first

    until(is_clean)
