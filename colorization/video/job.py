"""A film from a file to a file, piece by piece: a kill loses the piece that was under way, and no broken file stays."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from colorization.pipeline import Colorizer
from colorization.video.coloring import Guide, ShotColorizer
from colorization.video.formats import FilmError, show_time
from colorization.video.guides import ShotNote, make_guides
from colorization.video.reading import Film, LumaFrame, read_frames
from colorization.video.shots import MAX_FRAMES, Piece, find_pieces
from colorization.video.writing import Codec, check_copies, join_pieces, write_piece
from dualattn.io.files import remove_leftovers, write_json, write_whole

__all__ = ['FilmJob', 'Progress', 'read_plan', 'survey']

logger = logging.getLogger(__name__)

FOLDER_SUFFIX = '.parts'
_PLAN = 'plan.json'
_PIECE_SUFFIX = '.nut'

Progress = Callable[[str, int, int], None]
"""Is told what is done ('shots', 'frames'), of how many frames in all (0 where unknown), and how many are done."""


def survey(film: Film, progress: Progress, longest: int = MAX_FRAMES) -> list[Piece]:
    """Decode a film once and find its shots; whatever is wrong with it comes out here, before hours of work.

    Raises:
        FilmError: see `read_frames`; or it has no frames.
    """

    def count_frames() -> Iterator[LumaFrame]:
        for number, frame in enumerate(read_frames(film), 1):
            yield frame
            progress('shots', film.count, number)

    pieces = list(find_pieces(count_frames(), film.format, longest))
    if not pieces:
        raise FilmError(f'{film.path}: its video has no frames')
    return pieces


def read_plan(folder: Path, settings: dict[str, Any]) -> list[Piece] | None:
    """Return the pieces that an earlier run with the same settings found, None where there are none."""
    try:
        plan = json.loads((folder / _PLAN).read_bytes())
        return [Piece(**piece) for piece in plan['pieces']] if plan['settings'] == settings else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or not one of ours
        return None


@dataclass
class FilmJob:
    """One film on its way to its colours.

    Attributes:
        film: what is coloured.
        out: where it goes; its suffix tells the kind of file.
        colorizer: predicts.
        codec: compresses.
        settings: whatever else decides about the result, as JSON can hold it; a run with others begins anew.
        notes: what the user knows of single shots.
        steady: carry colours from frame to frame.
        subtitles: copy them.
        overwrite: replace `out`.
        longest: frames of a piece, at most.
        messages: what the user should know, after `run`.
    """

    film: Film
    out: Path
    colorizer: Colorizer
    codec: Codec = field(default_factory=Codec)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[ShotNote] = ()
    steady: bool = True
    subtitles: bool = True
    overwrite: bool = False
    longest: int = MAX_FRAMES
    messages: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where finished pieces wait to be joined."""
        return self.out.with_name(self.out.name + FOLDER_SUFFIX)

    def check(self) -> None:
        """Refuse what cannot end well, before anything is done.

        Raises:
            FilmError: the codec, the kind of the output or a stream does not fit.
            OSError: the output exists, or its folder cannot be written.
        """
        self.codec.check(self.film, self.out)
        if os.path.lexists(self.out):
            if not self.overwrite:
                raise FileExistsError(f'{self.out} exists; remove it or allow overwriting (--overwrite)')
            if os.path.samefile(self.out, self.film.path):
                raise FilmError(f'{self.out}: is the film itself; give the output another name')
        check_copies(self.film, self.out, self.subtitles)

    def run(self, progress: Progress) -> None:
        """Do what is left to do; when it returns, the output is there and the pieces are gone.

        Raises:
            FilmError: the film cannot be read to its end.
            OSError: something cannot be written.
        """
        self.check()
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder, {_PIECE_SUFFIX, '.json'})
        settings = self._describe()
        pieces = read_plan(self.folder, settings)
        if pieces is None:
            if any(self.folder.glob(f'*{_PIECE_SUFFIX}')):
                self.messages.append('the pieces of an earlier run had other settings, and were made anew')
            for path in self.folder.glob(f'*{_PIECE_SUFFIX}'):
                path.unlink()
            try:
                pieces = survey(self.film, progress, self.longest)
            except FilmError:
                with suppress(OSError):  # something of an earlier run is there
                    self.folder.rmdir()
                raise
            write_json(self.folder / _PLAN, dict(settings=settings, pieces=[asdict(piece) for piece in pieces]))
        guides = make_guides(self.film, pieces, self.notes, self.colorizer)
        self._color(pieces, guides, progress)
        with write_whole(self.out, overwrite=self.overwrite) as aside:
            files = [(self._path(number), piece.pts) for number, piece in enumerate(pieces)]
            self.messages += join_pieces(aside, self.film, self.codec, files, self.out, self.subtitles)
        shutil.rmtree(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f'{number:06}{_PIECE_SUFFIX}'

    def _describe(self) -> dict[str, Any]:
        """Return what the pieces depend on, as it comes back from JSON."""
        about = self.film.path.stat()
        notes = [_describe_note(note) for note in self.notes]
        settings = dict(
            source=[self.film.path.name, about.st_size, about.st_mtime_ns],
            codec=asdict(self.codec),
            steady=self.steady,
            longest=self.longest,
            truncated=self.film.allow_truncated,
            notes=notes,
            **self.settings,
        )
        return json.loads(json.dumps(settings))

    def _color(self, pieces: Sequence[Piece], guides: Sequence[Guide], progress: Progress) -> None:
        """Colour and write the pieces that are not there yet; the film is decoded from its beginning."""
        total = sum(piece.count for piece in pieces)
        if all(self._path(number).is_file() for number in range(len(pieces))):
            progress('frames', total, total)
            return
        frames = read_frames(self.film)
        ahead: list[LumaFrame] = []  # what a piece has looked at of the next one
        done = 0
        for number, (piece, guide) in enumerate(zip(pieces, guides, strict=True)):
            path = self._path(number)
            rest = chain(ahead, islice(frames, piece.count - len(ahead)))
            ahead = []
            if path.is_file():
                for _ in rest:
                    pass
                done += piece.count
                progress('frames', total, done)
                continue
            if piece.goes_on:
                rest = chain(rest, _keep_next(frames, ahead))
            painter = ShotColorizer(self.film.format, self.film.quarter_turns, self.steady)
            with write_whole(path) as aside:
                colored = painter.color(rest, guide, piece.first, piece.count)
                write_piece(aside, self.film, self.codec, self._count(colored, piece, progress, total, done))
            done += piece.count

    def _count(self, colored: Iterator, piece: Piece, progress: Progress, total: int, done: int) -> Iterator:
        number = 0
        for number, item in enumerate(colored, 1):
            yield item
            progress('frames', total, done + number)
        if number != piece.count:
            raise FilmError(
                f'{self.film.path}: has changed since its shots were found: {number} frames instead of {piece.count} '
                f'from {show_time(piece.pts * self.film.time_base)} on; remove {self.folder} and begin again'
            )


def _describe_note(note: ShotNote) -> list[Any]:
    """Return what the colours of a shot depend on; arrays by their hashes."""
    hints, painted = note.hints, None
    if hints is not None and hints.painted is not None:
        painted = _hash_array(hints.painted)
        hints = replace(hints, painted=None)
    return [str(note.at), repr(hints), painted, None if note.like is None else _hash_array(note.like.pixels)]


def _hash_array(array: np.ndarray) -> str:
    """Compute the sha256 of what an array holds, and of its shape and type."""
    return hashlib.sha256(f'{array.dtype} {array.shape} '.encode() + array.tobytes()).hexdigest()


def _keep_next(frames: Iterator[LumaFrame], ahead: list[LumaFrame]) -> Iterator[LumaFrame]:
    """Yield the next frame, and keep it for the piece that it belongs to."""
    for frame in islice(frames, 1):
        ahead.append(frame)
        yield frame
