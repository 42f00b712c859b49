"""The page's work without a browser: uploads, limits, hints, results, and that nothing stays."""

import io
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from colorization.commands.colorize import main as colorize
from colorization.commands.serve import name_weights
from colorization.desk import Desk, Limits, PageError, draw_hints
from colorization.models import build_network
from colorization.pipeline import Colorizer
from dualattn.io.photos import read_photo

SETTINGS = ('tiny', 1.0, 1.0)


@pytest.fixture
def desk(tmp_path, tiny_mpt):
    folder = tmp_path / 'served'
    folder.mkdir()
    return Desk(
        {'tiny': Colorizer(build_network(tiny_mpt), size=64)}, folder, Limits(megapixels=1, files=12, seconds=60)
    )


@pytest.fixture
def drop(tmp_path):
    """Function that puts bytes where gradio puts an upload, and returns the path."""

    def put(name, content):
        folder = tmp_path / 'gradio'
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        return str(folder / name)

    return put


def png(height=60, width=90, value=None):
    pixels = np.linspace(20, 230, height * width).reshape(height, width).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels if value is None else np.full_like(pixels, value)).save(buffer, 'PNG')
    return buffer.getvalue()


def png_bomb(side=40_000):
    """A PNG of 1.6 gigapixels in a few bytes."""

    def chunk(kind, payload):
        return struct.pack('>I', len(payload)) + kind + payload + struct.pack('>I', zlib.crc32(kind + payload))

    header = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0' * 9)) + chunk(b'IEND', b'')
    )


def files_below(folder):
    return [path for path in folder.rglob('*') if path.is_file()]


def test_a_download_has_the_bytes_of_the_command(desk, drop, tmp_path):
    from colorization.checkpoints import save_network
    from colorization.provenance import hash_weights

    save_network(desk.colorizers['tiny'].network, tmp_path / 'tiny.safetensors')
    desk.hashes['tiny'] = hash_weights(tmp_path / 'tiny.safetensors')
    session = desk.open()
    assert desk.upload(session, [drop('photo.png', png())]) == []
    desk.work_on(session, 0, *SETTINGS)
    target = desk.save(session, 'as the original', *SETTINGS, 'object')
    assert target.name == 'photo_color.png'
    (tmp_path / 'photo.png').write_bytes(png())
    weights = ['--weights', str(tmp_path / 'tiny.safetensors'), '--size', '64']
    assert colorize([str(tmp_path / 'photo.png'), '-o', str(tmp_path / 'out.png'), *weights]) == 0
    assert target.read_bytes() == (tmp_path / 'out.png').read_bytes()


def test_hints_come_and_go(desk, drop):
    session = desk.open()
    desk.upload(session, [drop('photo.png', png())])
    automatic = desk.work_on(session, 0, *SETTINGS).preview()
    desk.add_hint(session, 0.2, 0.5, '#c02020')
    hinted = desk.work_on(session, 0, *SETTINGS).preview()
    assert (hinted != automatic).any()
    desk.add_hint(session, 0.2, 0.5, '#2020c0')  # another colour at the same place replaces the first
    assert len(session.hints[0].hints) == 1
    assert (draw_hints(hinted.copy(), session.hints[0]) != hinted).any()
    desk.drop_hint(session)
    np.testing.assert_array_equal(desk.work_on(session, 0, *SETTINGS).preview(), automatic)
    with pytest.raises(PageError, match='#rrggbb'):
        desk.add_hint(session, 0.2, 0.5, '<script>')


def test_many_photographs_come_as_a_zip_with_names_of_their_own(desk, drop):
    session = desk.open()
    desk.upload(session, [drop('a.png', png()), drop('a.jpg.png', png(value=90)), drop('b.png', png(value=120))])
    desk.work_on(session, 1, *SETTINGS)
    desk.add_hint(session, 0.5, 0.5, '#c02020')
    archive, problems = desk.save_all(session, 'png', *SETTINGS, 'object')
    assert problems == []
    with zipfile.ZipFile(archive) as file:
        assert sorted(file.namelist()) == ['a.jpg_color.png', 'a_color.png', 'b_color.png']
        hinted = np.asarray(Image.open(file.open('a.jpg_color.png'))).astype(int)
    assert np.ptp(hinted, axis=2).max() > 40  # each with its own hints
    assert session.number == 1


def test_limits_are_told(desk, drop):
    session = desk.open()
    with pytest.raises(PageError, match='13 photographs are more than the limit of 12'):
        desk.upload(session, [drop(f'{i}.png', png()) for i in range(13)])
    with pytest.raises(PageError, match=r'1600000000 pixels|40000'):
        desk.upload(session, [drop('bomb.png', png_bomb())])
    small = Desk(desk.colorizers, desk.folder, Limits(megabytes=1e-4))
    with pytest.raises(PageError, match='MB'):
        small.upload(small.open(), [drop('large.png', png())])
    with pytest.raises(PageError, match='no such weights'):
        desk.upload(session, [drop('a.png', png())]) or desk.work_on(session, 0, '../weights', 1.0, 1.0)


def hostile_uploads():
    """A hundred files that no photograph should be, by name."""
    whole = png()
    yield from ((f'cut_{n}.png', whole[: len(whole) * n // 40]) for n in range(30))
    rng = np.random.default_rng(0)
    for n in range(30):  # a header and noise
        yield f'noise_{n}.jpg', b'\xff\xd8\xff\xe0' + rng.bytes(200 + 50 * n)
    yield from ((f'bomb_{n}.png', png_bomb(20_000 + 1000 * n)) for n in range(10))
    yield from ((f'<script>alert({n})<_script>.svg', b'<svg onload="alert(1)"/>') for n in range(10))
    yield from ((f'..%2f..%2fetc%2fpasswd{n}', b'root:x:0:0') for n in range(5))
    yield from ((f'page_{n}.html', b'<script>fetch("//example.org")</script>') for n in range(5))
    yield from ((f'archive_{n}.zip', b'PK\x03\x04' + bytes(n)) for n in range(5))
    yield from ((f'$(touch hacked) ; {n}.png', b'') for n in range(5))


def test_hostile_uploads_leave_nothing_and_the_page_working(desk, drop, tmp_path):
    uploads = list(hostile_uploads())
    assert len(uploads) == 100
    session = desk.open()
    for name, content in uploads:
        with pytest.raises(PageError) as caught:
            desk.upload(session, [drop(name, content)])
        assert str(tmp_path) not in str(caught.value) and '<script' not in str(caught.value)
    assert files_below(tmp_path) == []
    assert desk.upload(session, [drop('good.png', png())]) == []
    desk.work_on(session, 0, *SETTINGS)
    assert read_photo(desk.save(session, 'jpg', *SETTINGS, 'object')).pixels.shape == (60, 90, 3)


def test_bad_files_beside_good_ones_are_named(desk, drop):
    session = desk.open()
    problems = desk.upload(session, [drop('bad.png', b'no'), drop('good.png', png())])
    assert len(problems) == 1 and problems[0].startswith('bad.png: ')
    assert session.names == ['good.png']


def test_nothing_is_kept(desk, drop):
    session = desk.open()
    desk.upload(session, [drop('photo.png', png())])
    desk.work_on(session, 0, *SETTINGS)
    desk.save(session, 'png', *SETTINGS, 'object')
    assert len(files_below(desk.folder)) == 2
    desk.close(session)
    assert files_below(desk.folder) == [] and list(desk.folder.iterdir()) == []


def test_what_broken_uploads_leave_is_cleared_away(desk):
    session = desk.open()
    with desk.take_upload():  # another one is under way
        (desk.folder / 'tmpabc').write_bytes(b'half a photograph')
        desk.sweep()
        assert (desk.folder / 'tmpabc').exists()
    assert [entry.name for entry in desk.folder.iterdir()] == [session.folder.name]
    whole = desk.folder / 'hash' / 'photo.png'  # gradio has received it, and the page is about to come for it
    whole.parent.mkdir()
    whole.write_bytes(b'')
    desk.sweep()
    assert whole.exists()
    os.utime(whole.parent, (0, 0))
    desk.sweep()
    assert not whole.parent.exists()


def test_weights_of_one_name_are_all_served():
    assert name_weights(['a/mine.pth', 'b/weights.safetensors', 'c/weights.safetensors', 'd/packaged.pth']) == {
        'mine': 'a/mine.pth',
        'b/weights.safetensors': 'b/weights.safetensors',
        'c/weights.safetensors': 'c/weights.safetensors',
        'd/packaged.pth': 'd/packaged.pth',
    }


def test_the_longest_unused_session_makes_room(desk, drop):
    first = desk.open()
    desk.upload(first, [drop('photo.png', png())])
    for _ in range(desk.limits.sessions):
        desk.open()
    assert files_below(desk.folder) == []
    with pytest.raises(PageError, match='upload a photograph first'):
        desk.work_on(first, 0, *SETTINGS)
