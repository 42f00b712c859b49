"""Fetching published weights from a server on loopback that cuts, lies, refuses, or is not there."""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dualattn.io import published
from dualattn.io.published import DownloadError, PublishedFile, fetch_published, find_published, suggest_download

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = PublishedFile(
    name='net', file='net.pth', url='', licence='none', purpose='test', size=len(CONTENT), sha256=SHA256, source='test'
)


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; `plan` lists after how many bytes each connection is cut, None for never."""

    plan: list = []
    requests: list = []
    answer = CONTENT
    status = 0
    tag = '"first"'
    ranges = True

    def do_GET(self):
        self.requests.append((self.path, self.headers.get('Range')))
        if self.status:
            return self.send_error(self.status)
        start = 0
        match = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range') or '')
        if match and self.ranges and self.headers.get('If-Range') == self.tag:
            start = int(match[1])
        if start and start >= len(self.answer):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(self.answer)}')
            return self.end_headers()
        body = self.answer[start:]
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('ETag', self.tag)
        self.end_headers()
        cut = self.plan.pop(0) if self.plan else None
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """The handler's class and its address; every test starts with a well-behaved server."""
    handler = type('Fresh', (Handler,), dict(plan=[], requests=[]))
    http = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=http.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True)
    thread.start()
    for name in ('DUALATTN_MIRROR', 'HF_ENDPOINT', 'HF_HUB_OFFLINE', 'http_proxy', 'HTTP_PROXY'):
        monkeypatch.delenv(name, raising=False)
    handler.url = f'http://127.0.0.1:{http.server_port}'
    yield handler
    http.shutdown()
    thread.join()
    http.server_close()


def fetch(server, folder, file=FILE, **kwargs):
    return fetch_published(replace(file, url=f'{server.url}/net.pth'), folder, wait=lambda seconds: None, **kwargs)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_with_progress(server, tmp_path):
    seen = []
    path, sha256 = fetch(server, tmp_path / 'new' / 'weights', show_progress=lambda *args: seen.append(args))
    assert path.read_bytes() == CONTENT and sha256 == SHA256
    assert names(path.parent) == ['net.pth']
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(server, path.parent) == (path, SHA256)
    assert len(server.requests) == 1  # what is here is not fetched again


def test_cut_connections_are_taken_up_where_they_broke(server, tmp_path):
    server.plan += [300_000, 0, 400_000]
    path, _ = fetch(server, tmp_path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, 'bytes=300000-', 'bytes=300000-', 'bytes=700000-']


def test_interrupted_command_goes_on(server, tmp_path):
    server.plan += [500_000] + [0] * 50
    with pytest.raises(DownloadError, match='the same command goes on'):
        fetch(server, tmp_path)
    assert not (tmp_path / 'net.pth').exists()
    server.plan.clear()
    server.requests.clear()
    assert fetch(server, tmp_path)[0].read_bytes() == CONTENT
    assert server.requests == [('/net.pth', 'bytes=500000-')]


@pytest.mark.parametrize('more', [b'', b'more than there is'])
def test_interruption_behind_the_last_byte(server, tmp_path, monkeypatch, more):
    """Such as while the hash is computed; servers refuse to send what lies behind the end."""

    def stop(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(published, 'hash_file', stop)
        fetch(server, tmp_path)
    (part,) = tmp_path.glob('.*.part')
    part.write_bytes(part.read_bytes() + more)
    asked = f'bytes={len(CONTENT + more)}-'
    assert fetch(server, tmp_path)[0].read_bytes() == CONTENT
    assert [range_ for _, range_ in server.requests] == [None, asked, *([None] if more else [])]


@pytest.mark.parametrize('change', [dict(tag='"second"'), dict(ranges=False)])
def test_another_version_or_no_ranges_starts_anew(server, tmp_path, change):
    server.plan += [500_000] + [0] * 50
    with pytest.raises(DownloadError):
        fetch(server, tmp_path)
    server.plan.clear()
    for name, value in change.items():
        setattr(server, name, value)
    assert fetch(server, tmp_path)[0].read_bytes() == CONTENT


@pytest.mark.parametrize('digest', [SHA256, SHA256[:8]])
def test_wrong_hash_is_refused_and_nothing_kept(server, tmp_path, digest):
    server.answer = b'x' + CONTENT[1:]
    with pytest.raises(DownloadError, match=f'expected SHA-256 {digest}.*nothing was kept'):
        fetch(server, tmp_path, replace(FILE, sha256=digest))
    assert not (tmp_path / 'net.pth').exists()
    server.answer = CONTENT
    assert fetch(server, tmp_path)[1] == SHA256


def test_file_that_is_here_and_another_one(server, tmp_path):
    (tmp_path / 'net.pth').write_bytes(b'mine')
    with pytest.raises(DownloadError, match='delete it and fetch it anew'):
        fetch(server, tmp_path)
    assert (tmp_path / 'net.pth').read_bytes() == b'mine' and not server.requests


@pytest.mark.parametrize('known', [None, SHA256[:8]])
def test_unknown_hash_is_kept_at_the_first_download(server, tmp_path, known):
    file = replace(FILE, sha256=known, size=None)
    path, sha256 = fetch(server, tmp_path, file)
    assert (tmp_path / 'net.pth.sha256').read_text() == f'{SHA256}  net.pth\n' and sha256 == SHA256
    path.write_bytes(CONTENT[:8] + b'changed' + CONTENT[15:])
    with pytest.raises(DownloadError, match=r'expected SHA-256'):
        fetch(server, tmp_path, file)


def test_full_disk(server, tmp_path, monkeypatch):
    usage = type('Usage', (), dict(free=1000))
    monkeypatch.setattr(published.shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(DownloadError, match=r'the disk is full'):
        fetch(server, tmp_path)
    monkeypatch.undo()

    fsync = os.fsync

    def fail(number):  # what the check in advance could not foresee
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(published.os, 'fsync', fail)
    with pytest.raises(DownloadError, match=r'the disk is full'):
        fetch(server, tmp_path)
    assert not (tmp_path / 'net.pth').exists()
    monkeypatch.setattr(published.os, 'fsync', fsync)
    assert fetch(server, tmp_path)[0].read_bytes() == CONTENT


def test_no_network(server, tmp_path):
    address = server.url.replace('127.0.0.1', 'nowhere.invalid')
    with pytest.raises(DownloadError, match=r'cannot be reached.*copy net.pth to .*DUALATTN_MIRROR'):
        fetch_published(replace(FILE, url=address), tmp_path, wait=lambda seconds: None)


@pytest.mark.parametrize(('status', 'tries'), [(404, 1), (403, 1), (503, published.TRIES)])
def test_server_that_refuses(server, tmp_path, status, tries):
    server.status = status
    with pytest.raises(DownloadError, match=str(status)):
        fetch(server, tmp_path)
    assert len(server.requests) == tries


def test_mirrors(server, tmp_path, monkeypatch):
    monkeypatch.setenv('DUALATTN_MIRROR', f'{server.url}/mirror/')
    fetch_published(replace(FILE, url='https://nowhere.invalid/x/net.pth'), tmp_path / 'a', wait=lambda seconds: None)
    monkeypatch.delenv('DUALATTN_MIRROR')
    monkeypatch.setenv('HF_ENDPOINT', server.url)
    hub = replace(FILE, url='https://huggingface.co/owner/repo/resolve/main/net.pth')
    fetch_published(hub, tmp_path / 'b', wait=lambda seconds: None)
    assert [path for path, _ in server.requests] == ['/mirror/net.pth', '/owner/repo/resolve/main/net.pth']


def test_offline(server, tmp_path, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(DownloadError, match='HF_HUB_OFFLINE forbids'):
        fetch(server, tmp_path)
    assert not server.requests
    (tmp_path / 'net.pth').write_bytes(CONTENT)  # brought by other means
    assert fetch(server, tmp_path)[1] == SHA256


def test_folder_where_a_file_belongs(server, tmp_path):
    (tmp_path / 'net.pth').mkdir()
    with pytest.raises(DownloadError, match='is a folder'):
        fetch(server, tmp_path)
    (tmp_path / 'file').touch()
    with pytest.raises(DownloadError):
        fetch(server, tmp_path / 'file' / 'weights')


def test_every_file_that_a_config_names_is_known(repo_root):
    """What stands under weights/ in a config can be fetched, by the command that an error names."""
    known = {file.file: file for file in find_published().values()}
    named = set()
    for path in (repo_root / 'configs').rglob('*.py'):
        named |= set(re.findall(r"'weights/([\w.-]+)'", path.read_text(encoding='utf-8')))
    assert named and named <= set(known)
    for name in named:
        assert suggest_download(f'weights/{name}').endswith(f'dualattn weights get {known[name].name}')
        assert suggest_download(f'/else/{name}').endswith(f'dualattn weights get {known[name].name} -o /else')
    assert suggest_download('weights/mine.pth') == ''


def test_what_is_known_is_well_formed():
    for file in find_published().values():
        assert file.url.startswith('https://') != bool(file.blob) and file.licence and file.purpose
        if file.blob:
            assert re.fullmatch(r'[0-9a-f]{40}', file.blob) and file.size and len(file.sha256) == 64
        if file.sha256:
            assert re.fullmatch(r'[0-9a-f]{8}|[0-9a-f]{64}', file.sha256) and file.source


def make_history(folder):
    """A repository whose present version has no net.pth, and git's name of what it held; None without git."""
    if shutil.which('git') is None:
        pytest.skip('needs git')
    folder.mkdir()
    git = ['git', '-C', str(folder), '-c', 'user.name=a', '-c', 'user.email=a@b.c', '-c', 'commit.gpgsign=false']
    (folder / 'net.pth').write_bytes(CONTENT)
    for words in (['init', '-q'], ['add', 'net.pth'], ['commit', '-qm', 'a'], ['rm', '-q', 'net.pth']):
        subprocess.run([*git, *words], check=True)
    subprocess.run([*git, 'commit', '-qm', 'b'], check=True)
    return subprocess.run(
        [*git, 'rev-parse', 'HEAD~1:net.pth'], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_former_weights_come_out_of_the_history(server, tmp_path, monkeypatch):
    """Inside a clone, without any network; elsewhere the error names the command, and a mirror has them too."""
    file = replace(FILE, url='', blob=make_history(tmp_path / 'clone'))
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DownloadError, match=f'git cat-file blob {file.blob} > net.pth'):
        fetch_published(file, tmp_path / 'a')
    assert names(tmp_path / 'a') == []
    monkeypatch.chdir(tmp_path / 'clone')
    path, sha256 = fetch_published(file, tmp_path / 'a')
    assert path.read_bytes() == CONTENT and sha256 == SHA256 and names(tmp_path / 'a') == ['net.pth']
    with pytest.raises(DownloadError, match='is not net.pth as published'):
        fetch_published(replace(file, sha256='0' * 64), tmp_path / 'b')
    assert names(tmp_path / 'b') == []
    monkeypatch.delenv('HF_HUB_OFFLINE')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('DUALATTN_MIRROR', server.url)
    assert fetch_published(file, tmp_path / 'c')[0].read_bytes() == CONTENT


def test_former_weights_are_refused_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(DownloadError, match='in the history of a checkout alone'):
        fetch_published(replace(FILE, url='', blob='0' * 40), tmp_path / 'a')
