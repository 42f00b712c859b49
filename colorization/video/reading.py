"""Films read frame by frame: their luma, exactly, and when each frame is shown."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags as FormatFlags
from av.video.stream import VideoStream

from colorization.video.formats import FilmError, Format, describe_format, show_time
from colorization.video.lengths import measure_missing

__all__ = ['Film', 'LumaFrame', 'open_film', 'read_frames']

_BROKEN = 'is no film, or its index is broken; a recording that was cut off can often be repaired by untrunc'
_PROGRESSIVE = (0, 1)  # of a stream's field order: unknown, progressive


@dataclass(frozen=True)
class Film:
    """What is known of a film before its frames are read.

    Attributes:
        path: the file.
        format: its pictures.
        time_base: seconds of one tick of time.
        start: ticks that are taken off all times; other than 0 for broadcast streams alone, whose clock runs on.
        frame_rate: frames per second, the average.
        count: frames as the file tells, or is guessed from its duration; 0 where neither is known.
        matrix: the nine numbers that rotate the picture for display; None where it is not.
        quarter_turns: by how many quarters of a turn, counter-clockwise, the picture is rotated for display.
        sample_aspect_ratio: width of a pixel by its height; None for square.
        allow_truncated: what cannot be decoded is passed over.
    """

    path: Path
    format: Format
    time_base: Fraction
    start: int
    frame_rate: Fraction
    count: int
    matrix: tuple[int, ...] | None
    quarter_turns: int
    sample_aspect_ratio: Fraction | None
    allow_truncated: bool = False


@dataclass(frozen=True)
class LumaFrame:
    """One frame.

    Attributes:
        luma: (H, W) uint8 or uint16, as decoded.
        pts: when it is shown, in ticks; grows from frame to frame.
        duration: in ticks; 0 where unknown.
    """

    luma: np.ndarray
    pts: int
    duration: int


def open_container(path: str | os.PathLike) -> InputContainer:
    """Open a file for reading.

    Raises:
        FilmError: it is no film; names it.
        FileNotFoundError: there is no such file.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f'{path}: no such file')
    try:
        container = av.open(os.fspath(path))
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        raise FilmError(f'{path}: {_BROKEN} ({error.strerror})') from error
    except av.error.FFmpegError as error:
        raise FilmError(f'{path}: cannot be opened: {error.strerror}') from error
    if not container.streams:
        container.close()
        raise FilmError(f'{path}: {_BROKEN} (it lists nothing)')
    return container


def find_stream(container: InputContainer) -> VideoStream:
    """Return the video that is coloured: the first that is no picture of a cover.

    Raises:
        FilmError: there is none, or its codec is not known.
    """
    streams = [each for each in container.streams.video if not _is_cover(each)]
    if not streams:
        kinds = ', '.join(sorted({each.type for each in container.streams}))
        raise FilmError(f'{container.name}: has no video (it holds {kinds})')
    stream = streams[0]
    if stream.codec_context is None:
        decoders = sorted(name for name in av.codecs_available if _decodes_video(name))
        raise FilmError(
            f'{container.name}: the codec of its video is unknown ({_find_tag(container) or "it has no name"}); '
            f'PyAV {av.__version__} decodes {len(decoders)} of them: {", ".join(decoders)}'
        )
    return stream


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _decodes_video(name: str) -> bool:
    try:
        return av.Codec(name, 'r').type == 'video'
    except av.codec.codec.UnknownCodecError:
        return False


def _find_tag(container: InputContainer) -> str:
    """Return what MP4, MOV or AVI calls its video codec; PyAV tells the tag of known codecs alone."""
    with open(container.name, 'rb') as file:
        head = file.read(1 << 20)
        file.seek(max(0, os.path.getsize(container.name) - (1 << 20)))
        data = head + file.read()
    video = data.find(b'vide')  # the handler of a track, before its table of samples
    places = (data.find(b'stsd', video) + 16 if 0 <= video < data.find(b'stsd', video) else -1, data.find(b'vids') + 4)
    for place in places:
        tag = data[place : place + 4] if place >= 16 else b''
        if len(tag) == 4 and tag.isascii() and tag.decode().isprintable():
            return repr(tag.decode())
    return ''


def open_film(path: str | os.PathLike, even_sizes: bool = False, allow_truncated: bool = False) -> Film:
    """Look at a film and its first frame.

    Args:
        path: the file.
        even_sizes: see `describe_format`.
        allow_truncated: later on, pass over what cannot be decoded.

    Raises:
        FilmError: it cannot be coloured.
        FileNotFoundError: there is no such file.
    """
    with open_container(path) as container:
        stream = find_stream(container)
        try:
            if stream.codec_context.field_order not in _PROGRESSIVE:
                _refuse_fields(path)
            frame = next(_decode(container, stream, path, allow_truncated), None)
            if frame is None:
                raise FilmError(f'{path}: its video has no frames')
            film_format = describe_format(frame, even_sizes)
            missing = 0 if allow_truncated else measure_missing(path)
            if missing:
                raise FilmError(
                    f'{path}: {missing} bytes are missing at its end, so it was cut off; '
                    '--allow-truncated takes what is there'
                )
        except FilmError as error:
            message = str(error)
            raise FilmError(message if message.startswith(str(path)) else f'{path}: {message}') from error
        found: Any = frame.side_data  # whose types are told wrongly
        beside = {found[index].type.name: found[index] for index in range(len(found))}
        matrix = beside.get('DISPLAYMATRIX')
        if 'DOVI_RPU_BUFFER' in beside or 'DOVI_METADATA' in beside:
            raise FilmError(f'{path}: this film is HDR (Dolby Vision); make an SDR copy first')
        base = stream.time_base or frame.time_base
        if not base:
            raise FilmError(f'{path}: the film does not say in which unit its times are')
        runs_on = bool(container.format.flags & FormatFlags.ts_discont.value)
        start = round(Fraction(container.start_time or 0, av.time_base) / base) if runs_on else 0
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        return Film(
            path=Path(path),
            format=film_format,
            time_base=base,
            start=start,
            frame_rate=rate,
            count=stream.frames or _guess_count(container, stream, rate),
            matrix=None if matrix is None else tuple(np.frombuffer(bytes(matrix), np.int32).tolist()),
            quarter_turns=round(frame.rotation / 90) % 4,
            sample_aspect_ratio=stream.sample_aspect_ratio or None,
            allow_truncated=allow_truncated,
        )


def _guess_count(container: InputContainer, stream: VideoStream, rate: Fraction) -> int:
    if stream.duration and stream.time_base:
        return round(stream.duration * stream.time_base * rate)
    return round(Fraction(container.duration or 0, av.time_base) * rate)


def _refuse_fields(path: str | os.PathLike, when: str = '') -> None:
    raise FilmError(
        f'{path}: this film is interlaced{when}: each frame holds two moments. Deinterlace it first, for example by '
        'ffmpeg -i IN -vf bwdif -c:v ffv1 -c:a copy OUT.mkv'
    )


def _decode(
    container: InputContainer, stream: VideoStream, path: str | os.PathLike, allow_truncated: bool
) -> Iterator[av.VideoFrame]:
    """Yield frames as they come; what is damaged is refused, or passed over."""
    stream.codec_context.thread_type = 'AUTO'
    packets, last = 0, None
    demuxer = container.demux(stream)
    while True:
        try:
            packet = next(demuxer, None)
            if packet is None:
                break
            packets += packet.size > 0
            frames = packet.decode()
        except (av.error.InvalidDataError, av.error.EOFError) as error:
            if not allow_truncated:
                place = 'at its beginning' if last is None else f'after {show_time(last)}'
                raise FilmError(
                    f'{path}: damaged {place} ({error.strerror}); --allow-truncated takes what can be decoded'
                ) from error
            continue
        for frame in frames:
            if frame.is_corrupt and not allow_truncated:
                raise FilmError(
                    f'{path}: damaged at {show_time(frame.time or 0)}; --allow-truncated takes what can be decoded'
                )
            last = frame.time
            yield frame
    listed = len(stream.index_entries) if 'mp4' in container.format.name else 0
    if packets < listed and not allow_truncated:
        raise FilmError(
            f'{path}: ends after {packets} frames of {listed} that its index lists, so it was cut off; '
            '--allow-truncated takes what is there'
        )


def read_frames(film: Film) -> Iterator[LumaFrame]:
    """Decode a film from its beginning.

    Raises:
        FilmError: it is damaged, changes its size or format on the way, or is interlaced from some frame on.
    """
    wanted = film.format
    step = max(1, round(1 / film.frame_rate / film.time_base))
    last: LumaFrame | None = None
    with open_container(film.path) as container:
        stream = find_stream(container)
        for frame in _decode(container, stream, film.path, film.allow_truncated):
            when = f' at {show_time(frame.time or 0)}'
            if frame.interlaced_frame:
                _refuse_fields(film.path, when)
            if (frame.width, frame.height) != (wanted.width, wanted.height):
                raise FilmError(
                    f'{film.path}: its frames change from {wanted.width} x {wanted.height} to {frame.width} x '
                    f'{frame.height} pixels{when}; cut it there, or scale it to one size first'
                )
            if frame.format.name != wanted.source:
                raise FilmError(
                    f'{film.path}: its frames change from {wanted.source} to {frame.format.name}{when}; cut it there'
                )
            luma = read_luma(frame, wanted)
            pts = (last.pts + (last.duration or step) if last else 0) if frame.pts is None else frame.pts - film.start
            if last is not None and pts <= last.pts:  # a clock that stands or turns back, as in damaged streams
                pts = last.pts + 1
            last = LumaFrame(luma, pts, frame.duration or 0)
            yield last
            last = replace(last, luma=luma[:0])


def read_luma(frame: av.VideoFrame, wanted: Format) -> np.ndarray:
    """Return a copy of the luma (H, W), in the film's own numbers."""
    if frame.format.name != wanted.planar:
        if wanted.was_rgb:
            frame = frame.reformat(format=wanted.planar, dst_colorspace='ITU709', dst_color_range='JPEG')
        else:  # packed otherwise, with the same numbers
            frame = frame.reformat(format=wanted.planar)
    plane: Any = frame.planes[0]  # whose types do not tell that it is a buffer
    rows = np.frombuffer(plane, wanted.dtype).reshape(-1, plane.line_size // wanted.dtype.itemsize)
    return rows[: frame.height, : frame.width].copy()
