"""A gray still of each shot, for looking at the cuts and for painting hints on."""

from pathlib import Path

import numpy as np
from PIL import Image

from colorization.video.coloring import to_gray
from colorization.video.formats import show_time
from colorization.video.job import Progress, survey
from colorization.video.reading import Film, read_frames
from dualattn.io.files import write_whole

__all__ = ['write_stills']


def write_stills(film: Film, folder: Path, progress: Progress) -> list[str]:
    """Write the middle frame of each shot as an upright gray PNG of 8 or 16 bits, which stays if it is there.

    Returns:
        A line for each shot: its number, when it begins, how many frames it has, the time of the still and its file.

    Raises:
        FilmError: the film cannot be read to its end.
        OSError: a still cannot be written.
    """
    pieces = survey(film, progress)
    shots: dict[int, list[int]] = {}  # number of the first frame, count
    begins: dict[int, int] = {}
    for piece in pieces:
        shots.setdefault(piece.shot, [piece.first, 0])[1] += piece.count
        begins.setdefault(piece.shot, piece.pts)
    wanted = {first + count // 2: shot for shot, (first, count) in shots.items()}
    lines = []
    for number, frame in enumerate(read_frames(film)):
        shot = wanted.get(number)
        if shot is None:
            continue
        at = show_time(frame.pts * film.time_base)
        path = folder / f'shot{shot:04}_{at.replace(":", "-")}.png'
        if not path.exists():
            gray = np.ascontiguousarray(np.rot90(to_gray(frame.luma, film.format), film.quarter_turns))
            with write_whole(path, overwrite=False) as aside:
                Image.fromarray(gray).save(aside)
        begin = show_time(begins[shot] * film.time_base)
        lines.append(f'shot {shot}: from {begin}, {shots[shot][1]} frames; at {at}: {path.name}')
    return lines
