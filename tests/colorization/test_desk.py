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
from colorization.commands.serve import name_weights, parse_args
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


def test_what_nobody_came_for_is_cleared_away(desk):
    session = desk.open()
    kept = desk.files.store('photo.png', io.BytesIO(b'an event may still come for it'))
    unclaimed = desk.files.store('photo.png', io.BytesIO(b'nobody came'))
    late = desk.folder / 'session-closed' / 'preview.jpg'  # written by an event whose visitor has left meanwhile
    late.parent.mkdir()
    late.write_bytes(b'')
    os.utime(unclaimed.parent, (0, 0))
    desk.tend()
    assert {entry.name for entry in desk.folder.iterdir()} == {session.folder.name, kept.parent.name}
    session.used -= desk.limits.idle + 1
    desk.tend()
    assert not session.folder.exists() and desk._sessions == {}


def test_uploads_of_one_content_and_name_have_paths_of_their_own(desk):
    paths = [desk.files.store('photo.png', io.BytesIO(png())) for _ in range(2)]
    assert paths[0] != paths[1]
    sessions = [desk.open(), desk.open()]
    for session, path in zip(sessions, paths, strict=True):
        assert desk.files.is_upload(str(path))
        assert desk.upload(session, [str(path), str(path)]) == []
        assert not desk.files.is_upload(str(path)) and not path.parent.exists()
        assert session.names == ['photo.png']


def test_a_refused_upload_leaves_what_was_there(desk, drop):
    session = desk.open()
    desk.upload(session, [drop('photo.png', png())])
    desk.work_on(session, 0, *SETTINGS)
    desk.add_hint(session, 0.5, 0.5, '#b03030')
    with pytest.raises(PageError, match='bad.png'):
        desk.upload(session, [drop('bad.png', b'no photograph')])
    assert len(desk.work_on(session, 0, *SETTINGS).hints.hints) == 1


@pytest.mark.parametrize(
    ('given', 'kept'),
    [
        ('grandma.png', 'grandma.png'),
        ('my photo (1).png', 'my_photo_1_.png'),
        ('фото.png', 'фото.png'),
        ('e\N{COMBINING ACUTE ACCENT}te\N{COMBINING ACUTE ACCENT}.png', 'été.png'),
        ('写真' * 100 + '.png', '写真' * 26 + '.png'),
        ('C:\\Users\\me\\x.png', 'x.png'),
        ('../../etc/passwd', 'passwd'),
        ('<script>.png', '_script_.png'),
        ('\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe', '_gnp.exe'),
        ('', 'photograph'),
        ('..', 'photograph'),
        (None, 'photograph'),
    ],
)
def test_names_of_uploads(given, kept, desk):
    path = desk.files.store(given, io.BytesIO())
    assert (path.name, path.parent.parent) == (kept, desk.folder)


def test_only_what_sessions_made_is_shown(desk, drop, tmp_path):
    session = desk.open()
    desk.upload(session, [drop('photo.png', png())])
    desk.work_on(session, 0, *SETTINGS)
    made = [*desk.draw(session), desk.save(session, 'as the original', *SETTINGS, 'object')]
    archive, _ = desk.save_all(session, 'png', *SETTINGS, 'object')
    for path in (*made[:3], archive):
        assert desk.files.find_result(str(path)) == path.resolve()
    waiting = desk.files.store('x_color.png', io.BytesIO(b'<script>'))
    (session.folder / 'inside').mkdir()
    (tmp_path / 'x_color.png').write_bytes(b'')
    (session.folder / 'y_color.png').symlink_to(tmp_path / 'x_color.png')
    for path in (
        session.paths[0],
        waiting,
        session.folder,
        session.folder / 'inside',
        session.folder / 'y_color.png',
        tmp_path / 'x_color.png',
        '/dev/zero',
        'x\0_color.png',
        'a' * 5000,
        '',
    ):
        assert desk.files.find_result(str(path)) is None
    for path in (*made, archive, '/dev/zero', None, 5, [], ['x']):
        assert not desk.files.is_upload(path if path is None or isinstance(path, int | list) else str(path))


def test_a_full_server_takes_nothing_more(desk, drop):
    session = desk.open()
    desk.upload(session, [drop('photo.png', png())])
    desk.limits.__dict__['gigabytes'] = 0.005
    with desk.files.take_upload() as incoming:
        incoming.add(1_000_000)
        with desk.files.take_upload() as another, pytest.raises(PageError, match='no room'):
            another.add(2_000_000)
    with desk.files.take_upload() as incoming:
        incoming.add(1_500_000)  # what was counted has gone
        with pytest.raises(PageError, match='12 files'):
            incoming.add(2_000_000_000)
    assert desk.files.measure_room() == 5e6 - 2**20  # one file, which counts as a megabyte
    desk.limits.__dict__['gigabytes'] = 0.001
    with pytest.raises(PageError, match='no room'):
        desk.save(session, 'png', *SETTINGS, 'object')
    with pytest.raises(PageError, match='no room'):
        desk.save_all(session, 'png', *SETTINGS, 'object')
    assert len(files_below(desk.folder)) == 1


@pytest.mark.parametrize(
    'settings',
    [
        ('other', 1.0, 1.0),
        ([], 1.0, 1.0),
        (None, 1.0, 1.0),
        ('tiny', float('nan'), 1.0),
        ('tiny', 1.0, float('inf')),
        ('tiny', '1', 1.0),
        ('tiny', True, 1.0),
        ('tiny', 10**400, 1.0),
        ('tiny', None, 1.0),
    ],
)
def test_settings_that_no_page_has(settings, desk, drop):
    session = desk.open()
    desk.upload(session, [drop('photo.png', png())])
    with pytest.raises(PageError):
        desk.work_on(session, 0, *settings)
    for number in ('0', 0.0, True, None, [], -1, 1):
        with pytest.raises(PageError):
            desk.work_on(session, number, *SETTINGS)
    for form in ('exe', None, [], '../x'):
        with pytest.raises(PageError, match='format'):
            desk.save(session, form, *SETTINGS, 'object')
    with pytest.raises(PageError, match='reach'):
        desk.save(session, 'png', *SETTINGS, 'everything')


def test_more_hints_than_can_be_spread_are_refused_and_the_page_goes_on(desk, drop, monkeypatch):
    from colorization import hints

    monkeypatch.setattr(hints, 'MAX_MARKS', 2)
    session = desk.open()
    desk.upload(session, [drop('photo.png', png())])
    desk.work_on(session, 0, *SETTINGS)
    for x in (0.1, 0.5):
        desk.add_hint(session, x, 0.5, 'gray')
    with pytest.raises(PageError, match='at most 2'):
        desk.add_hint(session, 0.9, 0.5, 'gray')
    desk.draw(session)
    desk.change_hint(session, '#b03030')
    assert len(session.hints[0].hints) == 2
    for color in (None, 5, [], '<b>', '#fff'):
        with pytest.raises(PageError):
            desk.change_hint(session, color)
    desk.drop_hint(session, every=True)
    with pytest.raises(PageError, match='click'):
        desk.change_hint(session, 'gray')


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


@pytest.mark.parametrize(
    'arguments',
    [['--port', '65536'], ['--port', '-1'], ['--queue', '0'], ['--max-gigabytes', 'nan'], ['--seconds', '-1']],
)
def test_options_of_serve(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_args(arguments)
    assert ended.value.code == 2 and arguments[0] in capsys.readouterr().err
    assert parse_args(['--allow-host', 'a.example', '--allow-host', 'b']).allow_host == ['a.example', 'b']
