"""What the user knows of single shots, in one JSON file: hints for a frame, or a reference picture."""

import copy
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from colorization.draft import Draft
from colorization.hints import Hints, read_hints
from colorization.pipeline import Colorizer
from colorization.reference import Reference
from colorization.video.coloring import Guide, to_gray
from colorization.video.formats import FilmError, show_time
from colorization.video.reading import Film, LumaFrame, read_frames
from colorization.video.shots import Piece
from dualattn.io.photos import Photo, read_photo

__all__ = ['ShotNote', 'make_guides', 'read_notes']

MAX_NOTES = 10_000
MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class ShotNote:
    """One entry of the file.

    Attributes:
        at: a time in the shot, in seconds; with hints that of the frame that they are for.
        hints: colours for places of that frame, upright as it is shown.
        like: a photograph in colour that the shot follows.
    """

    at: Fraction
    hints: Hints | None = None
    like: Photo | None = None


def parse_time(value: Any) -> Fraction:
    """Return seconds of a number of seconds, or of a text such as '0:01:12.5'.

    Raises:
        ValueError: it is neither.
    """
    # JSON has whole numbers that no float can hold
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max:
        return Fraction(str(value))
    if isinstance(value, str):
        parts = value.split(':')
        if 1 <= len(parts) <= 3 and all(part.replace('.', '', 1).isdigit() for part in parts):
            seconds = Fraction(0)
            for part in parts:
                seconds = seconds * 60 + Fraction(part)
            return seconds
    raise ValueError(f'{value!r:.40} is no time; expected seconds, or hours:minutes:seconds in quotes')


def read_notes(path: str | os.PathLike) -> list[ShotNote]:
    """Read the file; other files that it names are looked for beside it.

    Raises:
        FilmError: it is none of its form; names the entry.
        HintError: a file of hints cannot be used.
        ImageError: a picture cannot be read.
        OSError: a file cannot be read.
    """
    path = Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise FilmError(f'{path}: more than {MAX_BYTES} bytes')
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FilmError(f'{path}: no JSON: {error}') from error
    if not (isinstance(value, dict) and set(value) == {'shots'} and isinstance(value['shots'], list)):
        raise FilmError(f'{path}: expected {{"shots": [...]}}')
    if len(value['shots']) > MAX_NOTES:
        raise FilmError(f'{path}: more than {MAX_NOTES} entries')
    notes = []
    for number, entry in enumerate(value['shots'], 1):
        keys = set(entry) if isinstance(entry, dict) else set()
        if keys not in ({'at', 'hints'}, {'at', 'like'}) or not isinstance(entry.get('hints', entry.get('like')), str):
            raise FilmError(f'{path}: entry {number}: expected "at" and either "hints" or "like", the name of a file')
        try:
            at = parse_time(entry['at'])
        except ValueError as error:
            raise FilmError(f'{path}: entry {number}: {error}') from error
        if 'hints' in entry:
            notes.append(ShotNote(at, hints=read_hints(path.parent / entry['hints'])))
        else:
            notes.append(ShotNote(at, like=read_photo(path.parent / entry['like'])))
    return notes


def make_guides(film: Film, pieces: Sequence[Piece], notes: Sequence[ShotNote], colorizer: Colorizer) -> list[Guide]:
    """Return what is known of the shot of each piece.

    Hints colour their frame; for the rest of the shot that frame, in its colours, is the reference picture.

    Raises:
        FilmError: a note is for no frame, or two are for one shot.
        HintError: hints are for a picture of another shape.
        ReferencePictureError: a reference picture is gray.
    """
    found: dict[int, Guide] = {}
    for note in notes:
        ticks = note.at / film.time_base
        begun = [piece for piece in pieces if piece.pts <= ticks]
        if not begun:
            raise FilmError(f'a note is for {show_time(note.at)}, before the film begins')
        shot = begun[-1].shot
        if shot in found:
            raise FilmError(f'two notes are for the shot that holds {show_time(note.at)}; join their hints')
        guided = copy.copy(colorizer)
        if note.like is not None:
            guided.reference = Reference(colorizer, note.like)
            found[shot] = Guide(guided)
            continue
        number, gray = _find_frame(film, begun[-1], ticks, note)
        photo = Draft(colorizer, Photo(gray), note.hints, colorizer.reach).finish()
        guided.reference = Reference(colorizer, photo)
        found[shot] = Guide(guided, number, note.hints)
    plain = Guide(colorizer)
    return [found.get(piece.shot, plain) for piece in pieces]


def _find_frame(film: Film, piece: Piece, ticks: Fraction, note: ShotNote) -> tuple[int, np.ndarray]:
    """Return the number of the frame that is shown at a time, and its gray picture (H, W), upright."""
    found: tuple[int, LumaFrame, int] | None = None  # the last number is when it ends
    for number, frame in enumerate(read_frames(film)):
        if number >= piece.first + piece.count or (found and frame.pts > ticks):
            break
        if number >= piece.first:
            found = number, frame, frame.pts + frame.duration
    if found is None or (
        ticks >= found[2] and ticks > found[1].pts + max(Fraction(1), 1 / film.frame_rate / film.time_base)
    ):
        raise FilmError(f'hints are for {show_time(note.at)}, where the film has no frame')
    return found[0], np.ascontiguousarray(np.rot90(to_gray(found[1].luma, film.format), film.quarter_turns))
