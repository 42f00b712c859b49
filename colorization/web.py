"""The page in the browser: photographs in, hints by click, the same photographs in colour out as files.

It works without a connection: its fonts are the system's, it reports nothing to anybody, and a policy forbids the
browser every other host. What it does stands in `colorization.desk`.
"""

import html
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from colorization.desk import FORMATS, PREVIEW_SIDE, Desk, PageError, Session
from colorization.draft import Draft
from colorization.pipeline import has_palette

__all__ = ['make_app', 'make_page']

logger = logging.getLogger(__name__)

POLICY = (
    "default-src 'self' blob: data: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)
HEADERS = [
    (b'content-security-policy', POLICY.encode()),
    (b'x-content-type-options', b'nosniff'),
    (b'referrer-policy', b'no-referrer'),
]
MAX_EVENT = 1 << 20  # bytes; the longest one names the files of an upload
_API = '/gradio_api'
_POSTS = {f'{_API}/{name}' for name in ('upload', 'queue/join', 'cancel', 'reset')}
_FETCHES = re.compile(
    r'/(proxy=|file[=/]\s*https?:)', re.IGNORECASE
)  # addresses by which gradio gets other hosts' files


def make_page(desk: Desk) -> Any:
    """Build the gradio page of a desk."""
    import gradio as gr

    names = list(desk.colorizers)
    palette = any(has_palette(each.network) for each in desk.colorizers.values())

    def tell(problems: list[str]) -> None:
        for problem in problems[:5]:
            gr.Warning(html.escape(problem))  # gradio shows HTML

    def guard(action: Callable) -> Callable:
        def run(*args: Any) -> Any:
            try:
                return action(*args)
            except PageError as error:
                raise gr.Error(html.escape(str(error)), print_exception=False) from error

        return run

    def show(session: Session, number: int, weights: str, chroma: float, vividness: float, reach: str) -> tuple:
        draft = desk.work_on(session, number, weights, chroma, vividness)
        draft.reach = reach
        result, before, after = map(str, desk.draw(session))
        return result, (before, after), gr.update(interactive=False, value=None)

    visitors: dict[str | None, Session] = {}

    def leave(request: gr.Request) -> None:
        desk.close(visitors.pop(request.session_hash, None))

    def upload(session: Session | None, files: list[str] | None, *settings: Any) -> tuple:
        request: gr.Request = settings[-1]
        settings = settings[:-1]
        if session is None or not session.folder.is_dir():
            session = visitors[request.session_hash] = desk.open()
        try:
            tell(desk.upload(session, list(files or [])))
        except PageError as error:  # no gr.Error, which would leave the refused files in the box for the next upload
            tell([str(error)])
            return session, gr.skip(), gr.update(value=None), *[gr.skip()] * 3
        choices = [(name, index) for index, name in enumerate(session.names)]
        chooser = gr.update(choices=choices, value=0, visible=len(choices) > 1)
        return session, chooser, gr.update(value=None), *show(session, 0, *settings)

    def click(session: Session | None, meaning: str, color: str, number: int, *settings: Any) -> tuple:
        event: gr.SelectData = settings[-1]
        settings = settings[:-1]
        if session is None:
            raise PageError('upload a photograph first')
        draft = desk.work_on(session, number, *settings[:3])
        height, width = draft.preview_gray(PREVIEW_SIDE).shape
        value = {'this colour': _to_hex(color), 'leave gray': 'gray', 'leave as it is': 'keep'}[meaning]
        x, y = (event.index[0] + 0.5) / width, (event.index[1] + 0.5) / height
        desk.add_hint(session, x, y, value)
        offers = [_hex_of(ab, draft, x, y) for ab in draft.alternatives(x, y)]
        return (*show(session, number, *settings), gr.update(choices=offers, value=None, visible=bool(offers)))

    def take_offer(session: Session, offer: str | None, number: int, *settings: Any) -> tuple:
        hints = session.hints[session.number] if session else None
        if offer and hints:
            (x, y), (width, height) = hints.hints[-1].xy[0], hints.size
            desk.add_hint(session, x / width, y / height, offer)
        return (offer or gr.skip(), *show(session, number, *settings))

    def undo(every: bool) -> Callable:
        def run(session: Session | None, number: int, *settings: Any) -> tuple:
            if session is None:
                raise PageError('upload a photograph first')
            desk.drop_hint(session, every)
            return show(session, number, *settings)

        return run

    def update(session: Session | None, number: int, *settings: Any) -> tuple:
        return show(session, number, *settings) if session else (gr.skip(),) * 3

    def save(session: Session | None, form: str, *settings: Any) -> Any:
        if session is None:
            raise PageError('upload a photograph first')
        return gr.update(value=str(desk.save(session, form, *settings)), interactive=True)

    def save_all(session: Session | None, form: str, weights: str, chroma: float, vividness: float, reach: str) -> Any:
        if session is None:
            raise PageError('upload photographs first')
        progress = gr.Progress()
        archive, problems = desk.save_all(
            session,
            form,
            weights,
            chroma,
            vividness,
            reach,
            progress=lambda done, total: progress((done, total), unit='photographs'),
        )
        tell(problems)
        return gr.update(value=str(archive), interactive=True)

    with gr.Blocks(title='dualattn', analytics_enabled=False, delete_cache=(60, int(desk.limits.unclaimed))) as page:
        state = gr.State(None, time_to_live=desk.limits.idle, delete_callback=desk.close)
        gr.Markdown(
            '## Colour for photographs\nThe colours are guesses: click where you know better. Nothing leaves this '
            'server, and nothing is kept when you close the page.'
        )
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                files = gr.File(label='Photographs', file_count='multiple', height=140, elem_id='upload')
                chooser = gr.Dropdown(label='Show', choices=[], visible=False, elem_id='chooser')
                weights = gr.Dropdown(names, value=names[0], label='Weights', visible=len(names) > 1)
                chroma = gr.Slider(0, 2, 1, step=0.05, label='Strength of colours', elem_id='chroma')
                vividness = gr.Slider(0.5, 3, 1, step=0.1, label='Vividness', visible=palette, elem_id='vividness')
                meaning = gr.Radio(
                    ['this colour', 'leave gray', 'leave as it is'], value='this colour', label='A click says'
                )
                color = gr.ColorPicker('#b03030', label='Colour', elem_id='color')
                offers = gr.Radio([], label='Also likely here', visible=False, elem_id='offers')
                reach = gr.Radio(
                    [
                        ('as much as is likely', 'adaptive'),
                        ('what is near and alike', 'object'),
                        ('the whole scene', 'scene'),
                    ],
                    value='adaptive',
                    label='It tells about',
                )
                with gr.Row():
                    last = gr.Button('Undo', size='sm', elem_id='undo')
                    every = gr.Button('Remove all hints', size='sm', elem_id='clear')
            with gr.Column(scale=3):
                with gr.Tab('Click to give hints'):
                    result = gr.Image(show_label=False, interactive=False, buttons=[], elem_id='result', height=560)
                with gr.Tab('Before and after'):
                    slider = gr.ImageSlider(show_label=False, buttons=[], elem_id='slider', height=560)
                with gr.Row():
                    form = gr.Dropdown(list(FORMATS), value=FORMATS[0], label='Format', min_width=170)
                    make = gr.Button('Make full resolution', variant='primary', elem_id='make', min_width=120)
                    make_zip = gr.Button('Make ZIP of all', elem_id='make-zip', min_width=120)
                    download = gr.DownloadButton('Download', interactive=False, elem_id='download', min_width=120)
        settings = [weights, chroma, vividness, reach]
        shown = [result, slider, download]
        common = dict(api_visibility='private', concurrency_id='network', concurrency_limit=1)

        def on_upload(session, files, weights, chroma, vividness, reach, request: gr.Request):
            return guard(upload)(session, files, weights, chroma, vividness, reach, request)

        files.upload(on_upload, [state, files, *settings], [state, chooser, files, *shown], **common)
        page.unload(leave)

        def on_click(session, meaning, color, number, weights, chroma, vividness, reach, event: gr.SelectData):
            return guard(click)(session, meaning, color, number, weights, chroma, vividness, reach, event)

        result.select(on_click, [state, meaning, color, chooser, *settings], [*shown, offers], **common)
        offers.input(guard(take_offer), [state, offers, chooser, *settings], [color, *shown], **common)
        last.click(guard(undo(False)), [state, chooser, *settings], shown, **common)
        every.click(guard(undo(True)), [state, chooser, *settings], shown, **common)
        for control in (chroma, vividness):
            control.release(guard(update), [state, chooser, *settings], shown, **common)
        for control in (chooser, weights, reach):
            control.input(guard(update), [state, chooser, *settings], shown, **common)
        make.click(guard(save), [state, form, *settings], download, **common)
        make_zip.click(guard(save_all), [state, form, *settings], download, **common)
    return page.queue(max_size=desk.limits.queue, default_concurrency_limit=1, api_open=False)


def _to_hex(color: str) -> str:
    """Return what gradio's colour picker answers, '#rrggbb' or 'rgba(r, g, b, a)', as '#rrggbb'."""
    numbers = re.findall(r'[\d.]+', color) if color.startswith('rgb') else []
    if len(numbers) >= 3:
        return '#' + ''.join(f'{min(255, round(float(value))):02x}' for value in numbers[:3])
    return color


def _hex_of(ab: tuple[float, float], draft: Draft, x: float, y: float) -> str:
    """Return an offered colour as '#rrggbb' at the photograph's own lightness."""
    import torch

    from colorization.color import lab_to_rgb_keeping_l, rgb_to_lab

    gray = draft.preview_gray(PREVIEW_SIDE)
    level = gray[min(int(y * gray.shape[0]), gray.shape[0] - 1), min(int(x * gray.shape[1]), gray.shape[1] - 1)]
    l, _ = rgb_to_lab(torch.full((1, 3, 1, 1), float(level) / 255))
    rgb = lab_to_rgb_keeping_l(l, torch.tensor(ab).view(1, 2, 1, 1))[0, :, 0, 0]
    return '#' + ''.join(f'{round(float(value) * 255):02x}' for value in rgb)


class _Doorkeeper:
    """ASGI middleware: keeps browser and server from other hosts, and lets the desk clear away what uploads left.

    Gradio fetches what a file in an event is called, where that is an address on the web, and streams it through
    `/file=http...`; nothing on the page needs this, and the server would serve strangers as their proxy. Nor does it
    look where a file on the disk lies unless it started the server itself: strangers could have any photograph of the
    server's shown to them, and `/dev/zero` would be read for ever.

    It is none of Starlette's `BaseHTTPMiddleware`, whose answers run on a task of their own: that a visitor has left,
    which ends a session, and that an upload was cut, would reach gradio late or never.
    """

    def __init__(self, app: Callable, desk: Desk):
        self.app, self.desk = app, desk

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return

        path = scope['path'].rstrip('/')

        async def send_with_headers(message: dict) -> None:
            if message['type'] == 'http.response.start':
                message = {**message, 'headers': [*message.get('headers', ()), *HEADERS]}
                if path == f'{_API}/queue/join' and message['status'] == 503:
                    message['status'] = 429  # for a 503 the page says that something is busy, and not that it is full
            await send(message)

        if _FETCHES.search(path) or (scope['method'] not in ('GET', 'HEAD') and path not in _POSTS):
            await _refuse(403, 'the page does not do that', send_with_headers)
        elif path == f'{_API}/upload':
            from starlette.requests import ClientDisconnect

            with self.desk.take_upload():
                try:
                    await self.app(scope, receive, send_with_headers)
                except ClientDisconnect:
                    logger.info('an upload broke off')
        elif path == f'{_API}/queue/join':
            body = await _receive_whole(receive, MAX_EVENT)
            if body is None:
                await _refuse(413, f'an event has at most {MAX_EVENT} bytes', send_with_headers)
            elif _names_what_is_elsewhere(body, self.desk.folder):
                await _refuse(403, 'a photograph is uploaded, not named by its address or path', send_with_headers)
            else:
                await self.app(scope, _give_back(body, receive), send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)


async def _refuse(status: int, reason: str, send: Callable) -> None:
    """Answer a request that is not handed on."""
    headers = [(b'content-type', b'application/json'), (b'connection', b'close')]
    await send({'type': 'http.response.start', 'status': status, 'headers': headers})
    await send({'type': 'http.response.body', 'body': json.dumps({'detail': reason}).encode()})


async def _receive_whole(receive: Callable, limit: int) -> bytes | None:
    """Return the body of a request, as far as it came; None where it is longer than the limit."""
    body = b''
    while (message := await receive())['type'] == 'http.request':
        body += message.get('body', b'')
        if len(body) > limit:
            return None
        if not message.get('more_body', False):
            break
    return body


def _give_back(body: bytes, receive: Callable) -> Callable:
    """Return what receives a body that was received already, and then what comes after it."""
    waiting = [{'type': 'http.request', 'body': body, 'more_body': False}]

    async def receive_again() -> dict:
        return waiting.pop() if waiting else await receive()

    return receive_again


def _names_what_is_elsewhere(body: bytes, folder: Path) -> bool:
    """Return whether a JSON text names an address on the web or a file outside a folder, or cannot be looked through.

    `url`, which the browser shows a file by, holds the page's own address and is not fetched.
    """
    try:
        left = [json.loads(body)]
    except RecursionError:
        return True
    except ValueError:  # no JSON, which gradio refuses
        return False
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if isinstance(value.get('path'), str) and not _lies_in(value['path'], folder):
                return True
            left += [each for key, each in value.items() if key != 'url' or not isinstance(each, str)]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str) and value.strip().lower().startswith(('http:', 'https:')):
            return True
    return False


def _lies_in(path: str, folder: Path) -> bool:
    """Return whether a path, with its links followed, is of a file below a folder."""
    try:
        found = Path(path).resolve()
        return found.is_relative_to(folder.resolve()) and found.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, links in a circle
        return False


def make_app(desk: Desk) -> Any:
    """Return the ASGI application of a desk; its uploads stay below the desk's folder.

    The folder has to be named to gradio by the environment before it is imported, which `dualattn serve` does.
    """
    import gradio as gr
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None)
    app.add_middleware(_Doorkeeper, desk=desk)
    system = gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'])
    return gr.mount_gradio_app(
        app,
        make_page(desk),
        '/',
        max_file_size=int(desk.limits.megabytes * 1e6),
        allowed_paths=[os.fspath(desk.folder)],
        show_error=True,
        ssr_mode=False,
        footer_links=[],
        theme=system,
    )
