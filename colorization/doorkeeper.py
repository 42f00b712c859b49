"""What the server of the page lets in: an ASGI application around gradio's.

Gradio serves more than the page needs, and looks where a file on the disk lies only where it started the server itself.
So every request is refused that the page never makes, and files are received and handed out here: a stranger's `.html`
would be shown as a page of this server, and an event could have any file of the disk opened, `/dev/zero` too.
"""

import asyncio
import json
import re
from collections.abc import Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from colorization.visitors import PageError, VisitorFiles

__all__ = ['Doorkeeper']

POLICY = (
    "default-src 'self' blob: data: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    'content-security-policy': POLICY,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
}
MAX_EVENT = 1 << 20  # bytes; the longest one names the files of an upload
MAX_NOTICE = 4096  # bytes of what ends an event
PATIENCE = 60  # seconds for the next piece of a request
LOCAL = frozenset(('localhost', '127.0.0.1', '::1'))  # names of this machine, which has other servers, too
_API = '/gradio_api'
_FILE = f'{_API}/file='
_PAGE = re.compile(
    r'/(|config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|(assets|static|svelte)/.*)'
    rf'|{_API}/(heartbeat/\w{{1,64}}|queue/data|app_id|startup-events)',
    re.ASCII,
)
_SESSION = re.compile(r'\w{1,64}', re.ASCII)
_EVENT = ('data', 'event_data', 'fn_index', 'trigger_id', 'session_hash')  # the others choose other ways through gradio


class RefusedError(Exception):
    """What is not let in, with the status of the answer."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


class Doorkeeper:
    """ASGI middleware: lets in what the page asks for, and receives and hands out the visitors' files.

    It is none of Starlette's `BaseHTTPMiddleware`, whose answers run on a task of their own: that a visitor has left,
    which ends a session, and that an upload was cut, would be known late or never.

    Args:
        app: gradio's application.
        files: of the visitors.
        events: the numbers of the page's events.
        hosts: names of this server; requests for others are refused, as a page of another host makes them that has
            its own name point here (DNS rebinding). None for any.
    """

    def __init__(
        self, app: Callable, files: VisitorFiles, events: Collection[int], hosts: Collection[str] | None = None
    ):
        self.app, self.files, self.events = app, files, frozenset(events)
        self.hosts = None if hosts is None else frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Answer a request, or hand it on."""
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        if scope['type'] != 'http':  # the page opens no socket
            await send({'type': 'websocket.close', 'code': 1008})
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message['type'] == 'http.response.start':
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, 'headers': [*message.get('headers', ()), *more]}
                if scope['path'] == f'{_API}/queue/join' and message['status'] == 503:
                    message['status'] = 429  # for a 503 the page says that something is busy, and not that it is full
            await send(message)

        try:
            await self._answer(scope, receive, send_with_headers)
        except RefusedError as refused:
            # plain text for an upload, of which the page shows all; an event's reason is looked for in JSON
            text = str(refused)
            headers = {'connection': 'close'}  # what is left of the request is not waited for
            answer: Response = PlainTextResponse(text, refused.status, headers)
            if scope['path'] != f'{_API}/upload':
                answer = JSONResponse({'detail': text}, refused.status, headers)
            await answer(scope, receive, send_with_headers)

    async def _answer(self, scope: dict, receive: Callable, send: Callable) -> None:
        path, method = scope['path'], scope['method']
        self._check_host(Headers(scope=scope))
        if method in ('GET', 'HEAD'):
            if path.startswith(_FILE):
                result = self.files.find_result(path.removeprefix(_FILE))
                if result is None:
                    raise RefusedError(403, 'there is no such picture')
                await FileResponse(result, filename=result.name, content_disposition_type='inline')(
                    scope, receive, send
                )
            elif _PAGE.fullmatch(path):
                await self.app(scope, receive, send)
            else:
                raise RefusedError(403, 'the page does not ask for that')
            return
        if method != 'POST':
            raise RefusedError(403, 'the page does not do that')
        self._check_origin(Headers(scope=scope))
        if path == f'{_API}/upload':
            await self._receive_upload(scope, receive, send)
        elif path == f'{_API}/queue/join':
            event = self._check_event(await _receive_whole(receive, MAX_EVENT))
            await self.app(scope, _give_back(event, receive), send)
        elif path in (f'{_API}/cancel', f'{_API}/reset'):
            await self.app(scope, _give_back(await _receive_whole(receive, MAX_NOTICE), receive), send)
        else:
            raise RefusedError(403, 'the page does not do that')

    def _check_host(self, headers: Headers) -> None:
        name = _name_of(headers.get('host', ''))
        if self.hosts is not None and name not in self.hosts:
            raise RefusedError(403, f'this server is not called {name!r:.80}; "dualattn serve --allow-host" adds names')

    def _check_origin(self, headers: Headers) -> None:
        """Refuse what a page of another server sends; browsers name it."""
        origin = headers.get('origin')
        if origin is None:
            return
        place = origin.lower().partition('://')[2]
        own = {headers.get('host', '').lower(), headers.get('x-forwarded-host', '').lower()} - {''}
        if not place or (place not in own and _name_of(place) not in (self.hosts or frozenset()) - LOCAL):
            raise RefusedError(403, f'a page of {origin!r:.80} may not send this; "--allow-host" adds names')

    async def _receive_upload(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Store the files of a form, and answer with the paths by which an event may name them."""
        limits, headers = self.files.limits, Headers(scope=scope)
        if not headers.get('content-type', '').lower().startswith('multipart/form-data'):
            raise RefusedError(400, 'expected a form with files')
        with self.files.take_upload() as incoming:

            async def receive_counted() -> dict:
                message = await _wait(receive)
                incoming.add(len(message.get('body', b'')))
                return message

            stream = Request(scope, receive_counted).stream()
            try:
                form = await MultiPartParser(headers, stream, max_files=limits.files, max_fields=0).parse()
                try:
                    files: list[Any] = [each for name, each in form.multi_items() if name == 'files']
                    if any(each.size > limits.megabytes * 1e6 for each in files):
                        raise RefusedError(413, f'a file has more than the limit of {limits.megabytes:g} MB')
                    # in threads, as large ones take their time
                    paths = [await asyncio.to_thread(self.files.store, each.filename, each.file) for each in files]
                finally:
                    await form.close()
            except MultiPartException as error:
                raise RefusedError(400, error.message) from error
            except PageError as error:
                raise RefusedError(413, str(error)) from error
            except OSError as error:
                raise RefusedError(500, 'the server cannot store this') from error
            except ClientDisconnect:
                return
        await JSONResponse([str(path) for path in paths])(scope, receive, send)

    def _check_event(self, body: bytes) -> bytes:
        """Return an event as JSON with what the page says alone.

        `url`, which the browser shows a file by, holds the page's own address and is not fetched.
        """

        def refuse_constant(name: str) -> None:
            raise ValueError(f'{name} is no number')

        try:
            event = json.loads(body, parse_constant=refuse_constant)
            left = [event]
            while left:
                value = left.pop()
                if isinstance(value, dict):
                    if 'path' in value and not self.files.is_upload(value['path']):
                        raise RefusedError(403, 'a photograph is uploaded, not named by its path')
                    left += [each for key, each in value.items() if key != 'url' or not isinstance(each, str)]
                elif isinstance(value, list):
                    left += value
                elif isinstance(value, str) and value.strip().lower().startswith(('http:', 'https:')):
                    raise RefusedError(403, 'a photograph is uploaded, not named by its address')
            if (
                not isinstance(event, dict)
                or type(event.get('fn_index')) is not int
                or event['fn_index'] not in self.events
                or not isinstance(event.get('session_hash'), str)
                or not _SESSION.fullmatch(event['session_hash'])
                or not isinstance(event.get('data'), list)
                or type(event.get('trigger_id')) not in (int, type(None))
            ):
                raise RefusedError(422, 'this is no event of the page')
            kept = {key: event[key] for key in _EVENT if key in event}
            return json.dumps(kept, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:  # also halves of characters, and numbers that no float can hold
            raise RefusedError(422, 'this is no event of the page') from error


def _name_of(netloc: str) -> str:
    """Return a host without its port and brackets, in small letters; empty where it is none."""
    try:
        return urlsplit(f'//{netloc}').hostname or ''
    except ValueError:
        return ''


async def _wait(receive: Callable) -> dict:
    try:
        return await asyncio.wait_for(receive(), PATIENCE)
    except asyncio.TimeoutError as error:
        raise RefusedError(408, f'nothing came for {PATIENCE} seconds') from error


async def _receive_whole(receive: Callable, limit: int) -> bytes:
    """Return the body of a request, as far as it came."""
    body = bytearray()
    while (message := await _wait(receive))['type'] == 'http.request':
        body += message.get('body', b'')
        if len(body) > limit:
            raise RefusedError(413, f'at most {limit} bytes are read here')
        if not message.get('more_body', False):
            break
    return bytes(body)


def _give_back(body: bytes, receive: Callable) -> Callable:
    """Return what receives a body that was received already, and then what comes after it."""
    waiting = [{'type': 'http.request', 'body': body, 'more_body': False}]

    async def receive_again() -> dict:
        return waiting.pop() if waiting else await receive()

    return receive_again
