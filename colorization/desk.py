"""What the page in the browser does, without a browser: sessions, uploads, hints, results.

What a visitor uploads lives in one folder of its own, which is deleted when the page is closed, or an hour after its
last use.
"""

import copy
import re
import shutil
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from colorization.draft import Draft
from colorization.hints import Hint, HintError, Hints
from colorization.pipeline import Colorizer, has_palette
from colorization.provenance import mark
from dualattn.io.photos import WRITE_FORMATS, ImageError, read_photo, write_photo

__all__ = ['Desk', 'Limits', 'PageError', 'Session', 'draw_hints']

PREVIEW_SIDE = 1024
CLICK_SHARE = 0.012  # of the longer side: how large a click is
FORMATS = ('as the original', 'png', 'jpg', 'tif', 'webp')
_SESSION = 'session-'
_UNSAFE = re.compile(r'[^\w.-]+', re.ASCII)


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    Attributes:
        megapixels: of a photograph.
        megabytes: of an uploaded file.
        files: photographs at a time.
        queue: visitors that wait; one more is told that the queue is full.
        seconds: for the photographs of one ZIP; those that did not get their turn are named.
        sessions: visitors whose photographs are kept open; the longest unused one loses its turn.
        idle: seconds after which an unused session ends.
        unclaimed: seconds after which an upload that no session has taken over is deleted.
    """

    megapixels: float = 60
    megabytes: float = 100
    files: int = 50
    queue: int = 16
    seconds: float = 600
    sessions: int = 8
    idle: float = 3600
    unclaimed: float = 900


class PageError(ValueError):
    """What is told to the visitor."""


@dataclass
class Session:
    """One visitor's photographs.

    Attributes:
        folder: holds all that is on disk of them.
        names: of the photographs as they were uploaded, without their folders.
        paths: of the uploaded files.
        draft: the photograph that is worked on.
        number: its index.
        hints: one list for each photograph.
        previews: the pictures that the page shows now.
        used: when, by the monotonic clock.
    """

    folder: Path
    names: list[str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    hints: list[Hints | None] = field(default_factory=list)
    draft: Draft | None = None
    number: int = 0
    previews: list[Path] = field(default_factory=list)
    used: float = field(default_factory=time.monotonic)

    def __deepcopy__(self, memo: dict) -> 'Session':
        return self  # a photograph is not copied for each event


class Desk:
    """What the page does, without a browser: opens sessions, takes uploads and hints, and writes results.

    Args:
        colorizers: by the name that visitors choose from; the first one serves at once.
        folder: for what visitors upload; nothing else may be there.
        limits: see `Limits`.
        hashes: SHA-256 of each one's weights, which results name; see `provenance.mark`.

    Raises:
        ValueError: there is no colorizer.
    """

    def __init__(
        self,
        colorizers: Mapping[str, Colorizer],
        folder: Path,
        limits: Limits | None = None,
        hashes: Mapping[str, str | None] | None = None,
    ):
        if not colorizers:
            raise ValueError('expected at least one colorizer to serve')
        self.colorizers = dict(colorizers)
        self.hashes = dict(hashes or {})
        self.folder = folder
        self.limits = limits or Limits()
        self._sessions: dict[Path, Session] = {}
        self._lock = threading.Lock()
        self._uploading = 0

    @contextmanager
    def take_upload(self) -> Iterator[None]:
        """Mark that an upload is being received; where it is the last one, what broken ones left is cleared away."""
        with self._lock:
            self._uploading += 1
        try:
            yield
        finally:
            with self._lock:
                self._uploading -= 1
            self.sweep()

    def sweep(self) -> None:
        """Delete what no session owns: parts of uploads that broke off, empty folders, uploads that nobody came for.

        gradio receives a file under a temporary name at the top of the folder, moves it into a folder of its own when
        it is whole, and forgets it where the connection breaks.
        """
        now = time.time()
        with self._lock:
            if self._uploading:
                return
            for entry in self.folder.iterdir():
                if entry.name.startswith(_SESSION):  # `close` deletes it
                    continue
                try:
                    if not entry.is_dir():
                        entry.unlink()
                    elif now - entry.stat().st_mtime > self.limits.unclaimed:
                        shutil.rmtree(entry)
                    elif not any(entry.iterdir()):
                        entry.rmdir()
                except OSError:  # gradio deletes too
                    continue

    def open(self) -> Session:
        """Begin a session."""
        session = Session(Path(tempfile.mkdtemp(prefix=_SESSION, dir=self.folder)))
        with self._lock:
            self._sessions[session.folder] = session
            now = time.monotonic()
            by_use = sorted(self._sessions.values(), key=lambda each: each.used)
            ended = [each for each in by_use if now - each.used > self.limits.idle]
            ended += [each for each in by_use[: -self.limits.sessions] if each not in ended]
        for each in ended:
            self.close(each)
        return session

    def close(self, session: Session | None) -> None:
        """End a session and delete all that was its."""
        if session is None:
            return
        with self._lock:
            self._sessions.pop(session.folder, None)
        shutil.rmtree(session.folder, ignore_errors=True)
        self.sweep()
        session.draft, session.paths, session.names, session.hints = None, [], [], []

    def upload(self, session: Session, uploads: list[str]) -> list[str]:
        """Move uploaded files into a session, in place of what it held; returns what was wrong with which.

        Raises:
            PageError: too many, or none of them is a photograph.
        """
        if len(uploads) > self.limits.files:
            for refused in uploads:
                Path(refused).unlink(missing_ok=True)
            raise PageError(f'{len(uploads)} photographs are more than the limit of {self.limits.files} at a time')
        for path in session.paths:
            path.unlink(missing_ok=True)
        session.names, session.paths, session.hints, session.draft = [], [], [], None
        problems = []
        for upload in map(Path, uploads):
            name = _UNSAFE.sub('_', upload.name)[-80:] or 'photograph'
            path = session.folder / f'{uuid.uuid4().hex}{upload.suffix.lower() if upload.suffix.isascii() else ""}'
            try:
                shutil.move(upload, path)
                if path.stat().st_size > self.limits.megabytes * 1e6:
                    raise ImageError(f'more than the limit of {self.limits.megabytes:g} MB')
                read_photo(path, int(self.limits.megapixels * 1e6))
            except (ValueError, OSError, ArithmeticError, MemoryError, RuntimeError) as error:
                path.unlink(missing_ok=True)
                problems.append(f'{name}: {_explain(error, path)}')
                continue
            session.names.append(name)
            session.paths.append(path)
            session.hints.append(None)
        self.sweep()
        if not session.paths:
            raise PageError('; '.join(problems) or 'no photograph was uploaded')
        return problems

    def work_on(self, session: Session, number: int, weights: str, chroma: float, vividness: float) -> Draft:
        """Return the draft of a photograph; the network runs where photograph, weights or vividness are others.

        Raises:
            PageError: there is no such photograph, or it cannot be colorized.
        """
        session.used = time.monotonic()
        if not 0 <= number < len(session.paths):
            raise PageError('upload a photograph first')
        colorizer = self._prepare(weights, chroma, vividness)
        draft = session.draft
        try:
            if draft is None or session.number != number or draft.colorizer.network is not colorizer.network:
                photo = read_photo(session.paths[number], int(self.limits.megapixels * 1e6))
                draft = colorizer.draft(photo, session.hints[number])
                session.draft, session.number = draft, number
            else:
                draft.colorizer = colorizer
                draft.hints = session.hints[number]
        except (ValueError, OSError, ArithmeticError, MemoryError, RuntimeError) as error:
            raise PageError(f'{session.names[number]}: {_explain(error, session.paths[number])}') from error
        return draft

    def add_hint(self, session: Session, x: float, y: float, color: str) -> None:
        """Add a hint at x, y in [0, 1] of the photograph that is worked on; at the place of another it replaces that.

        Raises:
            PageError: nothing is worked on, or the hint cannot be used.
        """
        draft = session.draft
        if draft is None:
            raise PageError('upload a photograph first')
        height, width = draft.photo.pixels.shape[:2]
        hints = session.hints[session.number] or Hints((width, height))
        size = max(1.0, CLICK_SHARE * max(height, width))
        try:
            hint = Hint.point(min(max(x, 0), 1) * width, min(max(y, 0), 1) * height, color, size)
            (x, y) = hint.xy[0]
            others = [h for h in hints.hints if abs(h.xy[0][0] - x) > size or abs(h.xy[0][1] - y) > size]
            session.hints[session.number] = Hints(hints.size, [*others, hint])
        except HintError as error:
            raise PageError(str(error)) from error

    def draw(self, session: Session) -> tuple[Path, Path, Path]:
        """Write what the page shows of the photograph that is worked on: with rings at its hints, before, and after.

        The files lie in the session's folder and not in gradio's own store, so that they end with the session.
        """
        draft = session.draft
        after = draft.preview(PREVIEW_SIDE)
        pictures = draw_hints(after.copy(), draft.hints), draft.preview_gray(PREVIEW_SIDE), after
        for path in session.previews:
            path.unlink(missing_ok=True)
        session.previews = [session.folder / f'preview-{uuid.uuid4().hex}.jpg' for _ in pictures]
        for path, picture in zip(session.previews, pictures, strict=True):
            Image.fromarray(picture).save(path, quality=92)
        shown, gray, plain = session.previews
        return shown, gray, plain

    def drop_hint(self, session: Session, every: bool = False) -> None:
        """Take the last hint back, or all of the photograph that is worked on."""
        if session.draft is None or not session.hints[session.number]:
            return
        hints = session.hints[session.number]
        session.hints[session.number] = Hints(hints.size, () if every else hints.hints[:-1])

    def save(self, session: Session, form: str, weights: str, chroma: float, vividness: float, reach: str) -> Path:
        """Write the photograph that is worked on at full resolution; the bytes are those of `dualattn colorize`.

        Raises:
            PageError: it cannot be written in that format.
        """
        draft = self.work_on(session, session.number, weights, chroma, vividness)
        draft.reach = reach
        target = self._target(session, session.number, form)
        try:
            write_photo(mark(draft.finish(), self.hashes.get(weights)), target, overwrite=True)
        except (ValueError, OSError, ArithmeticError, MemoryError, RuntimeError) as error:
            raise PageError(f'{session.names[session.number]}: {_explain(error, target)}') from error
        return target

    def save_all(
        self,
        session: Session,
        form: str,
        weights: str,
        chroma: float,
        vividness: float,
        reach: str,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[Path, list[str]]:
        """Write all photographs of a session, each with its hints, into a ZIP; returns it and what went wrong.

        Raises:
            PageError: none could be written.
        """
        deadline, problems = time.monotonic() + self.limits.seconds, []
        archive = session.folder / 'colorized.zip'
        number, used = session.number, set()
        with zipfile.ZipFile(archive, 'w', zipfile.ZIP_STORED) as file:  # pictures are compressed already
            for index, name in enumerate(session.names):
                progress(index, len(session.names))
                if time.monotonic() > deadline:
                    problems.append(f'{name}: no time left; download it by itself')
                    continue
                try:
                    self.work_on(session, index, weights, chroma, vividness)
                    target = self.save(session, form, weights, chroma, vividness, reach)
                except PageError as error:
                    problems.append(str(error))
                    continue
                inside, count = target.name, 1
                while inside in used:
                    count += 1
                    inside = f'{target.stem}_{count}{target.suffix}'
                used.add(inside)
                file.write(target, inside)
                target.unlink()
        self.work_on(session, number, weights, chroma, vividness)
        if not used:
            archive.unlink()
            raise PageError('; '.join(problems))
        return archive, problems

    def _prepare(self, weights: str, chroma: float, vividness: float) -> Colorizer:
        """Return a colorizer with a visitor's settings; the network itself is shared."""
        if weights not in self.colorizers:
            raise PageError('there are no such weights')
        colorizer = copy.copy(self.colorizers[weights])
        colorizer.chroma = min(max(float(chroma), 0.0), 3.0)
        colorizer.vividness = min(max(float(vividness), 0.2), 5.0) if has_palette(colorizer.network) else 1.0
        return colorizer

    @staticmethod
    def _target(session: Session, number: int, form: str) -> Path:
        name = Path(session.names[number])
        suffix = name.suffix.lower() if form == FORMATS[0] else f'.{form}'
        if suffix not in WRITE_FORMATS:
            suffix = '.png'
        return session.folder / f'{name.stem.lstrip(".") or "photograph"}_color{suffix}'


def _explain(error: Exception, path: Path) -> str:
    """Return the reason without the server's own paths."""
    text = str(error) or type(error).__name__
    return text.replace(f'{path}: ', '').replace(str(path), 'it')[:300]


def draw_hints(picture: np.ndarray, hints: Hints | None) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 with a ring at each hint, white around black, so that it shows everywhere."""
    import cv2

    if not hints:
        return picture
    picture = np.ascontiguousarray(picture)
    scale = picture.shape[1] / hints.size[0], picture.shape[0] / hints.size[1]
    radius = max(3, round(max(picture.shape[:2]) / 120))
    for hint in hints.hints:
        place = round(hint.xy[0][0] * scale[0]), round(hint.xy[0][1] * scale[1])
        cv2.circle(picture, place, radius, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.circle(picture, place, radius, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
