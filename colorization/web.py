"""The page in the browser: photographs in, hints by click, the same photographs in colour out as files.

It works without a connection: its fonts are the system's, it reports nothing to anybody, and a policy forbids the
browser every other host. What it does stands in `colorization.desk`.
"""

import asyncio
import html
import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from colorization.desk import FORMATS, PREVIEW_SIDE, Desk, PageError, Session
from colorization.draft import Draft
from colorization.pipeline import has_palette

__all__ = ['make_app', 'make_page']

VISIBLE = 45, 75  # lightness in Lab units
MAX_VISITORS = 256  # of whom gradio remembers what they see; it would of 10,000
SWATCHES: dict[str, Any] = dict(
    html_template="""
<p>Also likely here</p>
{{#each value}}
<button type="button" title="{{this}}" aria-label="{{this}}" style="background: {{this}}"></button>
{{/each}}
""",
    css_template="""
p { margin: 0 0 6px; font-size: var(--block-label-text-size, 14px) }
button { width: 44px; height: 32px; margin-right: 6px; border: 1px solid gray; border-radius: 6px; cursor: pointer }
button:hover, button:focus-visible { outline: 2px solid var(--color-accent, #f97316); outline-offset: 1px }
""",
    js_on_load="""
element.addEventListener('click', event => {
    const swatch = event.target.closest('button');
    if (swatch) trigger('click', { color: swatch.title });
});
""",
)


def make_page(desk: Desk) -> Any:
    """Build the gradio page of a desk."""
    import gradio as gr

    names = list(desk.colorizers)
    palette = any(has_palette(each.network) for each in desk.colorizers.values())

    hidden = gr.update(value=[], visible=False)

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

    # Chooser, weights, strengths and reach come with each event, in this order.
    def require(session: Session | None) -> Session:
        if session is None:
            raise PageError('upload a photograph first')
        return session

    def begin(session: Session, number: int, weights: str, chroma: float, vividness: float, reach: str) -> Draft:
        draft = desk.work_on(session, number, weights, chroma, vividness)
        desk.set_reach(draft, reach)
        return draft

    def show(session: Session, offers: Any = hidden) -> tuple:
        result, before, after = map(str, desk.draw(session))
        return result, (before, after), gr.update(interactive=False, value=None), offers

    visitors: WeakValueDictionary[str | None, Session] = WeakValueDictionary()

    def leave(request: gr.Request) -> None:
        desk.close(visitors.pop(request.session_hash, None))

    def upload(session: Session | None, files: list[str] | None, *settings: Any) -> tuple:
        request: gr.Request = settings[-1]
        if session is None or not session.folder.is_dir():
            session = visitors[request.session_hash] = desk.open()
        try:
            tell(desk.upload(session, list(files or [])))
        except PageError as error:  # no gr.Error, which would leave the refused files in the box for the next upload
            tell([str(error)])
            return session, gr.skip(), gr.update(value=None), *[gr.skip()] * 4
        choices = [(name, index) for index, name in enumerate(session.names)]
        chooser = gr.update(choices=choices, value=0, visible=len(choices) > 1)
        begin(session, 0, *settings[:-1])
        return session, chooser, gr.update(value=None), *show(session)

    def click(session: Session | None, meaning: str, color: str, *settings: Any) -> tuple:
        event: gr.SelectData = settings[-1]
        session = require(session)
        draft = begin(session, *settings[:-1])
        height, width = draft.preview_gray(PREVIEW_SIDE).shape
        value = {'this colour': _to_hex(color), 'leave gray': 'gray', 'leave as it is': 'keep'}.get(meaning)
        x, y = _place_of(event.index)
        x, y = min(max((x + 0.5) / width, 0), 1), min(max((y + 0.5) / height, 0), 1)
        desk.add_hint(session, x, y, value)
        offers = [_hex_of(ab, draft, x, y) for ab in draft.alternatives(x, y)]
        return show(session, gr.update(value=offers, visible=bool(offers)))

    def take_offer(session: Session | None, *settings: Any) -> tuple:
        event: gr.EventData = settings[-1]
        session = require(session)
        begin(session, *settings[:-1])
        color = getattr(event, 'color', None)
        desk.change_hint(session, color)
        return color, *show(session, gr.skip())

    def undo(every: bool) -> Callable:
        def run(session: Session | None, *settings: Any) -> tuple:
            session = require(session)
            begin(session, *settings)
            desk.drop_hint(session, every)
            return show(session)

        return run

    def update(keep_offers: bool) -> Callable:
        def run(session: Session | None, *settings: Any) -> tuple:
            if session is None:  # settings before the first photograph
                return (gr.skip(),) * 4
            begin(session, *settings)
            return show(session, gr.skip() if keep_offers else hidden)

        return run

    def save(session: Session | None, form: str, *settings: Any) -> Any:
        return gr.update(value=str(desk.save(require(session), form, *settings)), interactive=True)

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

    with gr.Blocks(title='dualattn', analytics_enabled=False) as page:
        # the desk ends what is not used; gradio would count from the upload
        state = gr.State(None, delete_callback=desk.close)
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
                offers = gr.HTML([], visible=False, elem_id='offers', **SWATCHES)
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
        shown = [result, slider, download, offers]
        common: dict[str, Any] = dict(api_visibility='private', concurrency_id='network', concurrency_limit=1)

        def on_upload(session, files, weights, chroma, vividness, reach, request: gr.Request):
            return guard(upload)(session, files, weights, chroma, vividness, reach, request)

        files.upload(on_upload, [state, files, *settings], [state, chooser, files, *shown], **common)
        page.unload(leave)

        def on_click(session, meaning, color, number, weights, chroma, vividness, reach, event: gr.SelectData):
            return guard(click)(session, meaning, color, number, weights, chroma, vividness, reach, event)

        def on_offer(session, number, weights, chroma, vividness, reach, event: gr.EventData):
            return guard(take_offer)(session, number, weights, chroma, vividness, reach, event)

        result.select(on_click, [state, meaning, color, chooser, *settings], shown, **common)
        offers.click(on_offer, [state, chooser, *settings], [color, *shown], **common)
        last.click(guard(undo(False)), [state, chooser, *settings], shown, **common)
        every.click(guard(undo(True)), [state, chooser, *settings], shown, **common)
        for control in (chroma, vividness):
            control.release(guard(update(True)), [state, chooser, *settings], shown, **common)
        choices: list[tuple[Any, bool]] = [(chooser, False), (weights, False), (reach, True)]
        for choice, keep in choices:
            choice.input(guard(update(keep)), [state, chooser, *settings], shown, **common)
        make.click(guard(save), [state, form, *settings], download, **common)
        make_zip.click(guard(save_all), [state, form, *settings], download, **common)
    page.state_session_capacity = MAX_VISITORS
    return page.queue(max_size=desk.limits.queue, default_concurrency_limit=1, api_open=False)


def _place_of(index: Any) -> tuple[float, float]:
    """Return where a picture was clicked, x and y in its pixels."""
    if (
        not isinstance(index, list | tuple)
        or len(index) != 2
        or any(type(each) not in (int, float) or not abs(each) < 1e6 for each in index)
    ):
        raise PageError('a click has a place in the picture')
    return index[0], index[1]


def _to_hex(color: Any) -> Any:
    """Return what gradio's colour picker answers, '#rrggbb' or 'rgba(r, g, b, a)', as '#rrggbb'."""
    is_rgb = isinstance(color, str) and color.startswith('rgb')
    numbers = re.findall(r'\d{1,4}(?:\.\d+)?', color) if is_rgb else []
    if len(numbers) >= 3:
        return '#' + ''.join(f'{min(255, round(float(value))):02x}' for value in numbers[:3])
    return color


def _hex_of(ab: tuple[float, float], draft: Draft, x: float, y: float) -> str:
    """Return an offered colour as '#rrggbb' at the photograph's own lightness, or one at which it can be seen."""
    import torch

    from colorization.color import lab_to_rgb_keeping_l, rgb_to_lab

    gray = draft.preview_gray(PREVIEW_SIDE)
    level = gray[min(int(y * gray.shape[0]), gray.shape[0] - 1), min(int(x * gray.shape[1]), gray.shape[1] - 1)]
    l, _ = rgb_to_lab(torch.full((1, 3, 1, 1), float(level) / 255))
    rgb = lab_to_rgb_keeping_l(l.clamp(*VISIBLE), torch.tensor(ab).view(1, 2, 1, 1))[0, :, 0, 0]
    return '#' + ''.join(f'{round(float(value) * 255):02x}' for value in rgb)


def make_app(desk: Desk, hosts: Collection[str] | None = None) -> Any:
    """Return the ASGI application of a desk; visitors' files stay below the desk's folder.

    The folder has to be named to gradio by the environment before it is imported, which `dualattn serve` does.

    Args:
        desk: what the page works on.
        hosts: see `Doorkeeper`.
    """
    import gradio as gr
    from fastapi import FastAPI

    from colorization.doorkeeper import Doorkeeper

    page = make_page(desk)

    @asynccontextmanager
    async def tend(_: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(_tend(desk, page))
        try:
            yield
        finally:
            task.cancel()

    app = FastAPI(openapi_url=None, lifespan=tend)
    app.add_middleware(Doorkeeper, files=desk.files, events=page.fns, hosts=hosts)
    system = gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'])
    return gr.mount_gradio_app(
        app, page, '/', show_error=False, ssr_mode=False, run_history=False, footer_links=[], theme=system
    )


async def _tend(desk: Desk, page: Any) -> None:
    """Clear away, each minute, what nobody uses any more; gradio notes the name of each picture and forgets none."""
    while True:
        await asyncio.sleep(60)
        await asyncio.to_thread(desk.tend)
        for names in page.temp_file_sets:
            names.clear()
