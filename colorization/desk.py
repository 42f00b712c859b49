"""What the page in the browser does, without a browser: sessions, uploads, hints, results.

What a visitor uploads lives in one folder of its own, which is deleted when the page is closed, or an hour after its
last use.
"""

import copy
import shutil
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from colorization.draft import Draft
from colorization.hints import Hint, HintError, Hints
from colorization.pipeline import Colorizer, has_palette
from colorization.propagation import REACHES
from colorization.provenance import mark
from colorization.visitors import PREVIEW, Limits, PageError, VisitorFiles, clean_name
from dualattn.io.photos import WRITE_FORMATS, ImageError, read_photo, write_photo

__all__ = ['Desk', 'Limits', 'PageError', 'Session', 'draw_hints']

PREVIEW_SIDE = 1024
CLICK_SHARE = 0.012  # of the longer side: how large a click is
FORMATS = ('as the original', 'png', 'jpg', 'tif', 'webp')


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
        self.files = VisitorFiles(folder, self.limits)
        self._lock = threading.Lock()

    def tend(self) -> None:
        """End the sessions that nobody uses, and sweep."""
        now = time.monotonic()
        with self._lock:
            ended = [each for each in self._sessions.values() if now - each.used > self.limits.idle]
        for each in ended:
            self.close(each)
        self.files.sweep()

    def open(self) -> Session:
        """Begin a session."""
        session = Session(self.files.open_folder())
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
        self.files.close_folder(session.folder)
        session.draft, session.paths, session.names, session.hints = None, [], [], []

    def upload(self, session: Session, uploads: list[str]) -> list[str]:
        """Move uploaded files into a session, in place of what it held; returns what was wrong with which.

        Where none of them is a photograph, the session keeps what it has.

        Raises:
            PageError: too many, or none of them is a photograph.
        """
        session.used = time.monotonic()
        uploads = list(dict.fromkeys(uploads))
        if len(uploads) > self.limits.files:
            for refused in map(Path, uploads):
                self.files.forget(refused)
            raise PageError(f'{len(uploads)} photographs are more than the limit of {self.limits.files} at a time')
        names, paths, problems = [], [], []
        for upload in map(Path, uploads):
            name = clean_name(upload.name)
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
            finally:
                self.files.forget(upload)
            names.append(name)
            paths.append(path)
        if not paths:
            raise PageError('; '.join(problems) or 'no photograph was uploaded')
        for path in session.paths:
            path.unlink(missing_ok=True)
        session.names, session.paths, session.hints, session.draft = names, paths, [None] * len(names), None
        return problems

    def work_on(self, session: Session, number: int, weights: str, chroma: float, vividness: float) -> Draft:
        """Return the draft of a photograph; the network runs where photograph, weights or vividness are others.

        Raises:
            PageError: there is no such photograph, or it cannot be colorized.
        """
        session.used = time.monotonic()
        if type(number) is not int or not 0 <= number < len(session.paths):
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

    def add_hint(self, session: Session, x: float, y: float, color: Any) -> None:
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
            new = Hints(hints.size, (*others, hint))
            new.to_marks()  # refuses more than can be spread
        except HintError as error:
            raise PageError(str(error)) from error
        session.hints[session.number] = draft.hints = new

    def change_hint(self, session: Session, color: Any) -> None:
        """Give the last hint of the photograph that is worked on another colour.

        Raises:
            PageError: there is no hint, or no such colour.
        """
        hints = session.hints[session.number] if session.draft is not None else None
        if not hints:
            raise PageError('click into the photograph first')
        (x, y), (width, height) = hints.hints[-1].xy[0], hints.size
        self.add_hint(session, x / width, y / height, color)

    def draw(self, session: Session) -> tuple[Path, Path, Path]:
        """Write what the page shows of the photograph that is worked on: with rings at its hints, before, and after.

        The files lie in the session's folder and not in gradio's own store, so that they end with the session.

        Raises:
            PageError: there is no photograph yet.
        """
        draft = session.draft
        if draft is None:
            raise PageError('upload a photograph first')
        after = draft.preview(PREVIEW_SIDE)
        pictures = draw_hints(after.copy(), draft.hints), draft.preview_gray(PREVIEW_SIDE), after
        for path in session.previews:
            path.unlink(missing_ok=True)
        session.previews = [session.folder / f'{PREVIEW}{uuid.uuid4().hex}.jpg' for _ in pictures]
        for path, picture in zip(session.previews, pictures, strict=True):
            Image.fromarray(picture).save(path, quality=92)
        shown, gray, plain = session.previews
        return shown, gray, plain

    def drop_hint(self, session: Session, every: bool = False) -> None:
        """Take the last hint back, or all of the photograph that is worked on."""
        draft = session.draft
        hints = None if draft is None else session.hints[session.number]
        if draft is None or not hints:
            return
        session.hints[session.number] = draft.hints = Hints(hints.size, () if every else hints.hints[:-1])

    def save(self, session: Session, form: str, weights: str, chroma: float, vividness: float, reach: str) -> Path:
        """Write the photograph that is worked on at full resolution; the bytes are those of `dualattn colorize`.

        Raises:
            PageError: it cannot be written in that format, or there is no room for it.
        """
        if form not in FORMATS:
            raise PageError('there is no such format')
        draft = self.work_on(session, session.number, weights, chroma, vividness)
        self.set_reach(draft, reach)
        if self.files.measure_room() < draft.photo.pixels.nbytes:
            raise PageError('the server has no room left; wait until others have left, or ask for fewer')
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
        deadline = time.monotonic() + self.limits.seconds
        problems: list[str] = []
        archive = session.folder / 'colorized.zip'
        try:
            used = self._fill(archive, session, deadline, problems, progress, (form, weights, chroma, vividness, reach))
        except OSError as error:  # the disk is full, or the visitor has left
            archive.unlink(missing_ok=True)
            raise PageError(_explain(error, archive)) from error
        if not used:
            archive.unlink()
            raise PageError('; '.join(problems) or 'upload photographs first')
        return archive, problems

    def _fill(self, archive, session, deadline, problems, progress, settings) -> bool:
        form, weights, chroma, vividness, reach = settings
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
        if used:
            self.work_on(session, number, weights, chroma, vividness)
        return bool(used)

    def set_reach(self, draft: Draft, reach: str) -> None:
        """Say how far the hints of a draft tell.

        Raises:
            PageError: there is no such reach.
        """
        if reach not in REACHES:
            raise PageError('there is no such reach')
        draft.reach = reach

    def _prepare(self, weights: str, chroma: float, vividness: float) -> Colorizer:
        """Return a colorizer with a visitor's settings; the network itself is shared."""
        if not isinstance(weights, str) or weights not in self.colorizers:
            raise PageError('there are no such weights')
        if any(type(each) not in (int, float) or not abs(each) < 1e6 for each in (chroma, vividness)):
            raise PageError('strength and vividness are numbers')
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
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
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
