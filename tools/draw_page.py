"""Take the pictures of docs/serve.md: the page of `dualattn serve`, with a hint and before and after, in Chromium.

The astronaut of scikit-image is NASA's and in the public domain. Needs chromium, and Playwright to drive it.
"""

import io
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

from colorization.samples import packaged_color_photos
from dualattn.io.files import write_whole

FOLDER = Path(__file__).resolve().parents[1] / 'docs' / 'images'
PLACE = 0.40, 0.60  # of the click, across and down: the suit
WAIT = 300_000  # milliseconds, on a busy machine


def serve(folder: Path):
    """Serve the page on a free port; returns its address and the server."""
    os.environ |= dict(GRADIO_TEMP_DIR=str(folder), GRADIO_ANALYTICS_ENABLED='False')  # read when it is imported
    import uvicorn

    from colorization.desk import Desk
    from colorization.pipeline import Colorizer
    from colorization.web import make_app

    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    app = make_app(Desk({'packaged': Colorizer.from_pretrained()}, folder))
    server = uvicorn.Server(uvicorn.Config(app, '127.0.0.1', port, log_level='error', timeout_graceful_shutdown=1))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.1)
    return f'http://127.0.0.1:{port}', server


def take_pictures(page) -> None:
    """Upload a photograph, give a hint, and keep what the page looks like."""
    photo = Image.open(packaged_color_photos()['astronaut']).convert('L')
    content = io.BytesIO()
    photo.save(content, 'PNG')
    page.wait_for_selector('#upload input[type=file]', state='attached')
    file = dict(name='astronaut.png', mimeType='image/png', buffer=content.getvalue())
    page.set_input_files('#upload input[type=file]', [file])
    first = wait_for_picture(page, None)
    shown = page.locator('#result img')
    box = shown.bounding_box()
    side = min(box['width'], box['height'], photo.width)  # the photograph is square, and never shown larger than it is
    left, top = (box['width'] - side) / 2, (box['height'] - side) / 2
    shown.click(position=dict(x=left + PLACE[0] * side, y=top + PLACE[1] * side))
    wait_for_picture(page, first)
    page.locator('#offers button').first.wait_for()
    keep(page, 'page_hints.jpg')
    page.get_by_role('tab', name='Before and after').click()
    page.wait_for_function(
        "() => { const p = [...document.querySelectorAll('#slider img')];"
        ' return p.length >= 2 && p.every(i => i.complete && i.naturalWidth) }'
    )
    keep(page, 'page_before_after.jpg')


def wait_for_picture(page, before: str | None) -> str:
    """Wait until another picture is shown, whole; returns its address."""
    page.wait_for_function(
        """before => { const p = document.querySelector('#result img');
                       return p && p.getAttribute('src') !== before && p.complete && p.naturalWidth > 0 }""",
        arg=before,
    )
    return page.locator('#result img').get_attribute('src')


def keep(page, name: str) -> None:
    """Write what the page looks like."""
    page.wait_for_timeout(2000)  # what moves into its place
    path = FOLDER / name
    with write_whole(path, overwrite=True) as aside:
        aside.write_bytes(page.screenshot(type='jpeg', quality=82))
    print(f'{name}: {path.stat().st_size // 1000} kB')


def main() -> int:
    """Serve, look, write."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which('chromium') or shutil.which('chromium-browser')
    if chromium is None:
        print('no chromium on this machine: apt-get install chromium', file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, sync_playwright() as playwright:
        address, server = serve(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium, args=['--no-sandbox'], timeout=WAIT)
        page = browser.new_page(viewport=dict(width=1200, height=820))
        page.set_default_timeout(WAIT)
        page.goto(address, wait_until='domcontentloaded')
        take_pictures(page)
        browser.close()
        server.should_exit = True
    return 0


if __name__ == '__main__':
    sys.exit(main())
