"""What strangers may send to the server of the page, without a browser: requests, events, files and hosts."""

import asyncio
import http.client
import io
import json
import os
import socket
import threading
import time
import uuid

import numpy as np
import pytest
from PIL import Image

from colorization.commands.serve import make_protocol, name_hosts
from colorization.desk import Desk, Limits
from colorization.models import build_network
from colorization.pipeline import Colorizer

pytest.importorskip('gradio', reason="the page needs gradio: pip install 'dualattn[web]'")
uvicorn = pytest.importorskip('uvicorn', reason="the page needs uvicorn: pip install 'dualattn[web]'")
WAIT = 120  # seconds; on a busy machine; nothing below waits for longer than it has to
LIMITS = Limits(megapixels=1, megabytes=2, files=3, queue=2)
SETTINGS = ('tiny', 1, 1, 'adaptive')
# numbers of the page's events, in the order in which web.py makes them
UPLOAD, LEAVE, CLICK, OFFER, UNDO, CLEAR, CHROMA, VIVIDNESS, CHOOSER, WEIGHTS, REACH, SAVE, ZIP = range(13)


def serve(app, **options):
    """Start a server in a thread; returns it and its host and port."""
    config = uvicorn.Config(app, '127.0.0.1', 0, log_level='critical', timeout_graceful_shutdown=0, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + WAIT
    while not server.started:
        assert thread.is_alive() and time.monotonic() < end, 'the server does not start'
        time.sleep(0.02)
    return server, thread, server.servers[0].sockets[0].getsockname()


def stop(server, thread):
    server.should_exit = True
    thread.join(WAIT)
    assert not thread.is_alive(), 'the server hangs'


@pytest.fixture(scope='module')
def desk(tmp_path_factory, describe_tiny_mpt):
    folder = tmp_path_factory.mktemp('served')
    return Desk({'tiny': Colorizer(build_network(describe_tiny_mpt()), size=64)}, folder, LIMITS)


@pytest.fixture(scope='module')
def page(desk):
    """A function that asks the page's server, which knows itself by the names of this machine alone."""
    from colorization.web import make_app

    kept = {name: os.environ.get(name) for name in ('GRADIO_TEMP_DIR', 'GRADIO_ANALYTICS_ENABLED')}
    os.environ |= dict(GRADIO_TEMP_DIR=str(desk.folder), GRADIO_ANALYTICS_ENABLED='False')
    server, thread, address = serve(make_app(desk, name_hosts('127.0.0.1', ['photos.example.org'])))

    def ask(method, path, body=None, headers=(), host=None):
        connection = http.client.HTTPConnection(*address, timeout=WAIT)
        connection.request(method, path, body, dict(headers) | ({} if host is None else {'Host': host}))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content, answer.headers

    ask.address = address
    yield ask
    stop(server, thread)
    for name, value in kept.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def png():
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(20, 230, 60 * 90).reshape(60, 90).astype(np.uint8)).save(buffer, 'PNG')
    return buffer.getvalue()


def form(*files, field='files', name='filename'):
    parts = [
        f'--cut\r\nContent-Disposition: form-data; name="{field}"; {name}="{file}"\r\n\r\n'.encode() + content + b'\r\n'
        for file, content in files
    ]
    return b''.join(parts) + b'--cut--\r\n'


def upload(page, body, **headers):
    return page('POST', '/gradio_api/upload', body, {'Content-Type': 'multipart/form-data; boundary=cut'} | headers)


def make_event(number, data, session='stranger', **more):
    return json.dumps(dict(data=data, fn_index=number, session_hash=session, **more))


def join(page, body, **headers):
    status, content, _ = page('POST', '/gradio_api/queue/join', body, {'Content-Type': 'application/json'} | headers)
    return status, content


def run(page, number, data, session='stranger', **more):
    """Send an event; returns whether it was done, and its data or what the visitor is told."""
    status, content = join(page, make_event(number, data, session, **more))
    assert status == 200, content
    connection = http.client.HTTPConnection(*page.address, timeout=WAIT)
    connection.request('GET', f'/gradio_api/queue/data?session_hash={session}')
    answer = connection.getresponse()
    try:
        while line := answer.readline():
            message = json.loads(line[5:]) if line.startswith(b'data:') else {}
            if message.get('msg') == 'process_completed':
                return message['success'], message['output'].get('data', message['output'].get('error'))
        raise AssertionError('the stream ended')
    finally:
        connection.close()


def file_data(path):
    return dict(path=path, meta={'_type': 'gradio.FileData'})


@pytest.fixture(scope='module')
def visitor(page):
    """The hash of a session with one photograph."""
    status, content, _ = upload(page, form(('photo.png', png())))
    assert status == 200
    session = uuid.uuid4().hex
    assert run(page, UPLOAD, [None, [file_data(json.loads(content)[0])], *SETTINGS], session)[0]
    return session


FOREIGN = 'http://93.184.215.14/x.png'  # a public address, which gradio's own protection lets through
ELSEWHERE = ('/etc/passwd', '/dev/zero', __file__, 'README.md', '../x.png', '~/x.png', 'x\0.png', 'a' * 5000, '', 5)


def name_file(path):
    return make_event(UPLOAD, [None, [file_data(path)], *SETTINGS])


@pytest.mark.parametrize(
    ('method', 'path', 'body', 'status'),
    [
        ('POST', '/queue/join', name_file(FOREIGN), 403),
        ('POST', '/queue/join/', name_file(' HTTPS://example.org/x'), 403),
        ('POST', '/queue/join', make_event(UPLOAD, [None, ' HTTPS://example.org/x', *SETTINGS]), 403),
        ('POST', '/queue/join', name_file('http://[::1]/x'), 403),
        *(('POST', '/queue/join', name_file(path), 403) for path in ELSEWHERE),
        ('POST', '/queue/join', make_event(CHOOSER, [None, dict(x=[file_data('/etc/passwd')]), *SETTINGS]), 403),
        ('POST', '/queue/join', make_event(CLICK, [], event_data=file_data('/etc/passwd')), 403),
        ('POST', '/queue/join', '{"data": ' + '[' * 100_000, 422),
        ('POST', '/queue/join', make_event(UNDO, 'x' * (1 << 20)), 413),
        ('POST', '/cancel', 'x' * 10_000, 413),
        ('POST', '/reset', 'x' * 10_000, 413),
        ('POST', '/run/predict', name_file(FOREIGN), 403),
        ('POST', '/call/on_upload', name_file(FOREIGN), 403),
        ('POST', '/component_server', name_file(FOREIGN), 403),
        ('POST', '/stream/x', '{}', 403),
        ('POST', '/process_recording', b'', 403),
        ('POST', '/vibe-edit', b'{}', 403),
        ('POST', '/run-history/connect', b'{}', 403),
        ('PUT', '/upload', b'', 403),
        ('OPTIONS', '/upload', None, 403),
        ('GET', f'/file={FOREIGN}', None, 403),
        ('GET', '/file=HtTp%3A//93.184.215.14/x.png', None, 403),
        ('GET', f'/file/{FOREIGN}', None, 403),
        ('HEAD', f'/file={FOREIGN}', None, 403),
        ('GET', f'/proxy={FOREIGN}', None, 403),
        ('GET', '/file=/etc/passwd', None, 403),
        ('GET', '/file=%2Fetc%2Fpasswd', None, 403),
        ('GET', '/file=/dev/zero', None, 403),
        ('GET', '/file=', None, 403),
        ('GET', '//file=/etc/passwd', None, 403),
        ('GET', '/run-history/buckets', None, 403),  # asks a hub, with the visitor's token
        ('GET', '/deep_link?session_hash=stranger', None, 403),  # writes a file each time
        ('GET', '/runs', None, 403),
        ('GET', '/openapi.json', None, 403),
        ('GET', '/custom_component/x/client/a/b', None, 403),
        ('GET', '/vibe-code', None, 403),
    ],
)
def test_requests_that_the_page_never_makes(method, path, body, status, page, monkeypatch):
    from gradio import processing_utils

    asked = []
    monkeypatch.setattr(processing_utils, 'async_ssrf_protected_get', lambda url: asked.append(url))
    headers = {'Content-Type': 'application/json'}
    assert page(method, f'/gradio_api{path}', body, headers)[0] == status
    assert asked == []


@pytest.mark.parametrize('path', ['/monitoring', '/monitoring/x', '/login', '/docs', '/openapi.json', '/dev/reload'])
def test_other_pages_of_gradio_are_not_there(path, page):
    assert page('GET', path)[0] == 403


@pytest.mark.parametrize('path', ['/', '/config', '/theme.css', '/gradio_api/app_id'])
def test_the_page_itself_is_there_and_forbids_other_hosts(path, page):
    status, _, headers = page('GET', path)
    assert status == 200
    assert "default-src 'self'" in headers['content-security-policy'] and headers['x-content-type-options'] == 'nosniff'


@pytest.mark.parametrize(
    'body',
    [
        b'',
        b'{',
        b'{}',
        b'[]',
        b'5',
        make_event(13, []),
        make_event(-1, []),
        make_event('0', []),
        make_event(True, []),
        make_event(1.0, []),
        make_event(None, []),
        make_event(UNDO, {}),
        make_event(UNDO, [], 'a' * 65),
        make_event(UNDO, [], ''),
        make_event(UNDO, [], '../x'),
        make_event(UNDO, [], None),
        make_event(UNDO, [], 5),
        make_event(UNDO, [], trigger_id='x'),
        make_event(UNDO, [float('nan')]),
        make_event(UNDO, [float('inf')]),
        make_event(UNDO, []).replace('[]', '[1e999]'),
        make_event(UNDO, []).replace('[]', f'[{"9" * 5000}]'),
        make_event(UNDO, ['\ud800']),
        make_event(UNDO, []).encode('utf-16')[:-1],
    ],
)
def test_events_that_the_page_never_sends(body, page):
    assert join(page, body)[0] == 422


@pytest.mark.parametrize(
    'more', [dict(batched=True), dict(simple_format=True), dict(event_id='x'), dict(oauth_token='x')]
)
def test_an_event_chooses_no_other_way(more, page):
    assert run(page, UNDO, ['forged state', None, *SETTINGS], **more) == (False, 'upload a photograph first')


PLACE = dict(index=[10, 10], value=None)


@pytest.mark.parametrize(
    ('number', 'data', 'more'),
    [
        *((CLICK, ['this colour', '#ff0000', 0, *SETTINGS], dict(event_data=each)) for each in (None, 5, [], {})),
        *(
            (CLICK, ['this colour', '#ff0000', 0, *SETTINGS], dict(event_data=dict(index=each, value=None)))
            for each in (None, 'ab', [], ['a', 'b'], [10**400, 1], [1e300, 1], [[1], [2]], [True, False], [1, 2, 3])
        ),
        *(
            (CLICK, ['this colour', each, 0, *SETTINGS], dict(event_data=PLACE))
            for each in (None, 5, 'red', [], {}, 'rgb', 'rgba(1e9,,)', '#fff', '#' + 'f' * 1000)
        ),
        *((CLICK, [each, '#ff0000', 0, *SETTINGS], dict(event_data=PLACE)) for each in (None, 'x', [], {})),
        *((CHOOSER, [each, *SETTINGS], {}) for each in (None, '0', -1, 1, 0.0, True, [], [0], {})),
        *((WEIGHTS, [0, each, *SETTINGS[1:]], {}) for each in (None, 'x', [], ['tiny'], {}, '../tiny')),
        *((CHROMA, [0, 'tiny', each, 1, 'adaptive'], {}) for each in (None, '1', -1, 1e308, 10**300, [], {}, True)),
        *((VIVIDNESS, [0, 'tiny', 1, each, 'adaptive'], {}) for each in (None, '1', -1, 1e308, [], True)),
        *((REACH, [0, 'tiny', 1, 1, each], {}) for each in (None, 'x', [], 5)),
        *((SAVE, [each, *SETTINGS], {}) for each in (None, 'exe', '../x', [], {})),
        *((ZIP, [each, *SETTINGS], {}) for each in (None, 'exe', [])),
        *((OFFER, [0, *SETTINGS], dict(event_data=each)) for each in (None, {}, dict(color=None), dict(color='<b>'))),
        *((UPLOAD, [each, *SETTINGS], {}) for each in ('x', {}, [None], [5], [{}], [[]])),
        (SAVE, ['png'], {}),
    ],
)
def test_values_that_no_control_has(number, data, more, page, visitor):
    done, told = run(page, number, [None, *data], visitor, **more)
    assert not done
    assert told is None or str(page.address) not in told and '/served' not in told  # no path of the server


def test_the_photograph_is_still_there(page, visitor):
    assert run(page, CHOOSER, [None, 0, *SETTINGS], visitor)[0]


def test_an_upload_is_handed_to_nobody_and_what_was_made_of_it_is(page, desk, visitor):
    shown = run(page, CHOOSER, [None, 0, *SETTINGS], visitor)[1][0]['path']
    status, content, headers = page('GET', f'/gradio_api/file={shown}')
    assert status == 200 and headers['content-type'] == 'image/jpeg'
    assert Image.open(io.BytesIO(content)).size == (90, 60)
    assert page('HEAD', f'/gradio_api/file={shown}')[0] == 200
    for value, expected in (('bytes=0-9', 206), ('bytes=5-1-2', 400), ('bytes=99999999-', 416)):
        assert page('GET', f'/gradio_api/file={shown}', headers={'Range': value})[0] == expected
    for name in ('x.html', 'x.svg', 'preview-x.jpg', 'x_color.html'):  # a page with a script, of this very server
        status, content, _ = upload(page, form((name, b'<script>alert(1)</script>')))
        assert status == 200
        assert page('GET', f'/gradio_api/file={json.loads(content)[0]}')[0] == 403
    original = next(path for path in desk.folder.glob('session-*/*.png'))
    assert page('GET', f'/gradio_api/file={original}')[0] == 403
    # nor does another visitor's event take it, or what was made of it
    for path in (str(original), shown):
        assert join(page, name_file(path))[0] == 403


@pytest.mark.parametrize(
    ('body', 'headers', 'status'),
    [
        (form(*[('x.png', b'')] * 4), {}, 400),
        (form(('x.png', bytes(2_100_000))), {}, 413),
        (form(*[('x.png', bytes(1_990_000))] * 3, ('x.png', bytes(500_000))), {}, 413),
        (form(('', b'a' * 2_000_000), name='value'), {}, 400),  # no file, which would be kept in memory
        (b'--cut\r\nContent-Disposition: form-data; name="files"; filename="' + b'a' * 100_000, {}, 400),
        (b'--cut\r\n' + b'X: y\r\n' * 1000, {}, 400),
        (b'no', {}, 400),
        (b'no', {'Content-Type': 'multipart/form-data'}, 400),
        (b'no', {'Content-Type': 'image/png'}, 400),
        (b'', {'Content-Type': ''}, 400),
        (form(('x.png', b'x'), field='other'), {}, 200),
    ],
)
def test_forms_that_no_page_sends_leave_nothing(body, headers, status, page, desk):
    before = {path for path in desk.folder.rglob('*')}
    answer, content, _ = upload(page, body, **headers)
    assert answer == status
    assert status != 200 or content == b'[]'
    assert {path for path in desk.folder.rglob('*')} == before


def test_uploads_that_break_off_leave_nothing(page, desk):
    before = {path for path in desk.folder.rglob('*')}
    for size in (0, 1_500_000):  # the larger one is no longer in memory alone
        with socket.create_connection(page.address, timeout=WAIT) as connection:
            head = 'POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1999999\r\n'
            kind = 'Content-Type: multipart/form-data; boundary=cut\r\n\r\n'
            connection.sendall(f'{head}{kind}'.encode() + form(('x.png', bytes(size)))[:-10])
    end = time.monotonic() + WAIT
    while desk.files._incoming:
        assert time.monotonic() < end, 'an upload still counts'
        time.sleep(0.02)
    assert {path for path in desk.folder.rglob('*')} == before


@pytest.mark.parametrize(
    ('host', 'is_let_in'),
    [
        ('localhost:7860', True),
        ('LOCALHOST', True),
        ('127.0.0.1', True),
        ('[::1]:7860', True),
        ('photos.example.org', True),
        ('evil.example', False),  # whose name points to 127.0.0.1 by now
        ('evil.example:7860', False),
        ('localhost.evil.example', False),
        ('127.0.0.1.evil.example', False),
        ('localhost@evil.example', False),
        ('[::1', False),
        ('', False),
    ],
)
def test_names_of_the_server(host, is_let_in, page):
    assert (page('GET', '/', host=host)[0] == 200) is is_let_in
    status = upload(page, b'no', Host=host)[0]
    assert status == (400 if is_let_in else 403)


@pytest.mark.parametrize(
    ('headers', 'is_let_in'),
    [
        ({'Host': 'localhost:7860', 'Origin': 'http://localhost:7860'}, True),
        ({'Host': 'localhost:7860', 'Origin': 'https://photos.example.org'}, True),  # the server before this one
        ({'Host': 'localhost:1', 'X-Forwarded-Host': 'a.example', 'Origin': 'https://a.example'}, True),
        ({'Host': 'localhost:7860', 'Origin': 'http://localhost:3000'}, False),  # another server of this machine
        ({'Host': 'localhost:7860', 'Origin': 'http://evil.example'}, False),
        ({'Host': 'localhost:7860', 'Origin': 'http://evil.example:7860'}, False),
        ({'Host': 'localhost:7860', 'Origin': 'null'}, False),
        ({'Host': 'localhost:7860', 'Origin': ''}, False),
        ({'Host': 'localhost:7860', 'Origin': 'http://[::1'}, False),
    ],
)
def test_pages_of_others_send_nothing(headers, is_let_in, page):
    assert upload(page, b'no', **headers)[0] == (400 if is_let_in else 403)
    assert join(page, b'no', **headers)[0] == (422 if is_let_in else 403)


def test_names_are_asked_for_where_only_this_machine_listens():
    assert name_hosts('0.0.0.0', []) is None and name_hosts('nas.local', []) is None
    for host in ('127.0.0.1', 'localhost', 'LocalHost', '::1', '127.0.0.2'):
        assert 'localhost' in name_hosts(host, []) and host.lower() in name_hosts(host, [])
    assert name_hosts('0.0.0.0', ['Photos.example.org']) >= {'photos.example.org', 'localhost'}


def test_many_visitors_at_once(page, desk, monkeypatch):
    from colorization.web import MAX_VISITORS, make_page

    for _ in range(desk.limits.sessions + 2):
        _, content, _ = upload(page, form(('photo.png', png())))
        data = [None, [file_data(json.loads(content)[0])], *SETTINGS]
        assert run(page, UPLOAD, data, uuid.uuid4().hex)[0]
    assert len(list(desk.folder.glob('session-*'))) == len(desk._sessions) == desk.limits.sessions
    assert make_page(desk).state_session_capacity == MAX_VISITORS

    go_on = threading.Event()
    monkeypatch.setattr(desk, 'close', lambda session: go_on.wait(WAIT))
    monkeypatch.setattr(desk, 'work_on', lambda *args: go_on.wait(WAIT))
    try:
        _, content, _ = upload(page, form(('photo.png', png())))
        data = [None, [file_data(json.loads(content)[0])], *SETTINGS]
        statuses = [join(page, make_event(UPLOAD, data, f'visitor{number}'))[0] for number in range(20)]
    finally:
        go_on.set()
    assert set(statuses) == {200, 429} and statuses.count(200) <= desk.limits.queue + 2


def test_a_connection_that_never_asks_is_ended(monkeypatch):
    from colorization.commands import serve as command

    async def answer(scope, receive, send):
        if scope['type'] == 'http':
            await asyncio.sleep(0.6)  # longer than the patience, which is for the request alone
            await send(dict(type='http.response.start', status=204, headers=[]))
            await send(dict(type='http.response.body'))

    monkeypatch.setattr(command, 'PATIENCE', 0.3)
    server, thread, address = serve(answer, http=make_protocol())
    try:
        with (
            socket.create_connection(address, timeout=WAIT) as silent,
            socket.create_connection(address, timeout=WAIT) as slow,
        ):
            slow.sendall(b'GET / HTTP/1.1\r\nHost: x\r\n')
            assert silent.recv(10) == b'' and slow.recv(10) == b''
        connection = http.client.HTTPConnection(*address, timeout=WAIT)
        connection.request('GET', '/')
        assert connection.getresponse().status == 204
        connection.close()
    finally:
        stop(server, thread)


def test_a_request_of_which_nothing_comes_is_ended(page, monkeypatch):
    from colorization import doorkeeper

    monkeypatch.setattr(doorkeeper, 'PATIENCE', 0.2)
    for path in ('upload', 'queue/join', 'cancel'):
        with socket.create_connection(page.address, timeout=WAIT) as connection:
            head = f'POST /gradio_api/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n'
            connection.sendall(f'{head}Content-Type: multipart/form-data; boundary=cut\r\n\r\n--cut'.encode())
            assert b' 408 ' in connection.recv(100)
