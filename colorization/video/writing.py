"""Pieces of a film written apart, and joined without encoding again, with what the film holds beside its picture."""

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.filter
import numpy as np
import torch
import torch.nn.functional as F
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream
from torch import Tensor

from colorization.video.chroma import find_table
from colorization.video.formats import FilmError, Format
from colorization.video.reading import Film, LumaFrame, find_stream, open_container

__all__ = ['SUFFIXES', 'Codec', 'check_copies', 'join_chroma', 'join_pieces', 'write_piece']

SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv')
LOSSLESS_SUFFIX = '.mkv'
# a form for the pieces alone: it keeps any time base, and every codec
PIECE_FORMAT = 'nut'
_REORDERED = 2  # frames that x264 may put before one that is shown earlier; FFV1 puts none


@dataclass(frozen=True)
class Codec:
    """How the pictures are compressed.

    Attributes:
        lossless: FFV1 instead of H.264.
        crf: H.264's quality; lower is better, 0 to 51.
        preset: H.264's effort, from 'ultrafast' to 'veryslow'.
    """

    lossless: bool = False
    crf: int = 16
    preset: str = 'medium'

    @property
    def delay(self) -> int:
        """By how many frames decoding is ahead of showing."""
        return 0 if self.lossless else _REORDERED

    @property
    def needs_even_sizes(self) -> bool:
        """Whether subsampled chroma needs sides that it divides."""
        return not self.lossless

    def check(self, film: Film, out: Path) -> None:
        """Refuse what this codec or the kind of the output cannot hold.

        Raises:
            FilmError: says what would do.
        """
        suffix = out.suffix.lower()
        if self.lossless and suffix != LOSSLESS_SUFFIX:
            raise FilmError(f'{out}: --lossless is FFV1 in Matroska; expected a name that ends in {LOSSLESS_SUFFIX}')
        if suffix not in SUFFIXES:
            raise FilmError(f'{out}: expected a name that ends in {", ".join(SUFFIXES)}')
        if not self.lossless and film.format.bits not in (8, 10):
            raise FilmError(
                f'{film.path}: has {film.format.bits} bits, H.264 is written with 8 or 10; --lossless keeps them all'
            )

    def open_stream(self, container: OutputContainer, film: Film) -> VideoStream:
        """Add a stream for a film's pictures to a container."""
        if self.lossless:
            # every frame alone, in slices that are checked by themselves: a damaged byte costs a part of one frame
            name, options = 'ffv1', dict(level='3', slicecrc='1', g='1')
        else:
            name, options = 'libx264', dict(crf=str(self.crf), preset=self.preset)
        stream = cast(VideoStream, container.add_stream(name, rate=film.frame_rate, options=options))
        if not self.lossless:
            stream.thread_type = 'FRAME'  # PyAV's own choice, slices, costs x264 bits and luma for every core
        shape = film.format
        stream.width, stream.height, stream.pix_fmt = shape.width, shape.height, shape.output
        stream.codec_context.time_base = stream.time_base = film.time_base
        _mark(stream, film)
        return stream


def _mark(stream: VideoStream, film: Film) -> None:
    """Let a stream say what the film's colours and pixels are."""
    context, shape = stream.codec_context, film.format
    context.color_range, context.colorspace = shape.color_range, shape.colorspace
    context.color_trc, context.color_primaries = shape.color_trc, shape.color_primaries
    if film.sample_aspect_ratio:
        context.sample_aspect_ratio = film.sample_aspect_ratio


@torch.inference_mode()
def join_chroma(luma: np.ndarray, ab: Tensor, shape: Format) -> tuple[np.ndarray, np.ndarray]:
    """Return the planes Cb and Cr (h, w) that give a luma its colours as nearly as RGB can show.

    Args:
        luma: (H, W) in the film's numbers.
        ab: (2, h', w') in Lab units, of any size; enlarged smoothly.
        shape: the film's pictures.
    """
    levels = torch.from_numpy(luma.astype(np.float32))[None, None]
    y = (levels - shape.black) / shape.luma_levels
    down, across = shape.chroma_step
    if (down, across) != (1, 1):
        y = F.avg_pool2d(y, (down, across), ceil_mode=True)
    ab = F.interpolate(ab[None].float().cpu(), y.shape[2:], mode='bicubic', align_corners=False)
    chroma = find_table(shape.weights).find(y, ab)[0]
    half = 1 << (shape.bits - 1)
    lowest, highest = (0, (1 << shape.bits) - 1) if shape.is_full else (shape.black, half + shape.chroma_levels // 2)
    planes = (chroma * shape.chroma_levels + half).round().clamp(lowest, highest).numpy().astype(shape.dtype)
    return planes[0], planes[1]


def make_frame(source: LumaFrame, ab: Tensor, film: Film) -> av.VideoFrame:
    """Return the frame to be encoded: the luma as it was, and the chroma of its colours."""
    shape = film.format
    frame = av.VideoFrame(shape.width, shape.height, shape.output)
    planes: Any = frame.planes  # whose types do not tell that they are buffers
    for plane, values in zip(planes, (source.luma, *join_chroma(source.luma, ab, shape)), strict=True):
        rows = np.frombuffer(plane, shape.dtype).reshape(-1, plane.line_size // shape.dtype.itemsize)
        rows[: values.shape[0], : values.shape[1]] = values
    frame.pts, frame.duration, frame.time_base = source.pts, source.duration, film.time_base
    frame.color_range, frame.colorspace = shape.color_range, shape.colorspace
    frame.color_trc, frame.color_primaries = shape.color_trc, shape.color_primaries
    return frame


def write_piece(path: Path, film: Film, codec: Codec, frames: Iterable[tuple[LumaFrame, Tensor]]) -> None:
    """Encode some frames with their colours ab (2, h, w) as a file of their own, which begins with a key frame.

    Raises:
        OSError: the file cannot be written.
    """
    with av.open(os.fspath(path), 'w', PIECE_FORMAT, container_options=dict(avoid_negative_ts='disabled')) as container:
        stream = codec.open_stream(container, film)
        shape_pixels = _PixelShape(film)
        for frame, ab in frames:
            container.mux(stream.encode(shape_pixels(make_frame(frame, ab, film))))
        container.mux(stream.encode())


class _PixelShape:
    """Marks frames with the shape of their pixels, which PyAV does by a filter alone; FFV1 reads it there.

    Args:
        film: tells the shape.
    """

    def __init__(self, film: Film):
        ratio = film.sample_aspect_ratio
        self._graph = None
        if ratio and ratio != 1:
            shape = film.format
            self._graph = av.filter.Graph()
            source = self._graph.add_buffer(
                width=shape.width, height=shape.height, format=av.VideoFormat(shape.output), time_base=film.time_base
            )
            marking = self._graph.add('setsar', f'{ratio.numerator}/{ratio.denominator}')
            self._graph.link_nodes(source, marking, self._graph.add('buffersink')).configure()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame, marked."""
        if self._graph is None:
            return frame
        self._graph.vpush(frame)
        return self._graph.vpull()


def _list_copied(container: InputContainer, video: Stream) -> list[Stream]:
    """Return what is copied beside the picture; timecode and other data have no form that all containers share."""
    return [each for each in container.streams if each is not video and each.type in ('audio', 'subtitle')]


def check_copies(film: Film, out: Path, subtitles: bool) -> None:
    """Refuse an output that cannot hold the film's sound or subtitles as they are.

    Args:
        film: the film.
        out: the output, which is not made.
        subtitles: they are copied.

    Raises:
        FilmError: names the stream, and says what would do.
    """
    with open_container(film.path) as container, av.open(os.devnull, 'w', _find_muxer(out)) as trial:
        for stream in _list_copied(container, find_stream(container)):
            if stream.type == 'subtitle' and not subtitles:
                continue
            name = 'of an unknown codec' if stream.codec_context is None else stream.codec_context.name
            if stream.codec_context is None or stream.codec_context.codec.canonical_name not in trial.supported_codecs:
                other = 'a name that ends in .mkv' if out.suffix.lower() != '.mkv' else 'one that ends in .mp4'
                leave = ', or --no-subtitles' if stream.type == 'subtitle' else ''
                raise FilmError(
                    f'{film.path}: its {stream.type} (stream {stream.index}, {name}) cannot be copied to '
                    f'{out.suffix}; give the output {other}{leave}'
                )


def _find_muxer(out: Path) -> str:
    return {'.mkv': 'matroska', '.mov': 'mov'}.get(out.suffix.lower(), 'mp4')


def join_pieces(
    path: Path, film: Film, codec: Codec, pieces: Sequence[tuple[Path, int]], out: Path, subtitles: bool = True
) -> list[str]:
    """Put pieces together without encoding them again, and copy sound, subtitles, chapters and titles.

    Args:
        path: what is written.
        film: the film.
        codec: that of the pieces.
        pieces: files of `write_piece` in order, each with the time of its first frame in ticks.
        out: its name tells the kind of the file.
        subtitles: copy them.

    Returns:
        A line for each stream that is not copied.

    Raises:
        FilmError: a piece is none of this film.
        OSError: the file cannot be written.
    """
    with (
        open_container(film.path) as source,
        av.open(os.fspath(pieces[0][0])) as first,
        av.open(os.fspath(path), 'w', _find_muxer(out)) as container,
    ):
        video = find_stream(source)
        stream = container.add_stream_from_template(first.streams.video[0])
        stream.time_base = film.time_base
        _mark(stream, film)  # which the form of the pieces does not hold
        if film.matrix is not None:
            stream.set_display_matrix(film.matrix)
        copies = {}
        for each in _list_copied(source, video):
            if each.type == 'audio' or subtitles:
                copies[each.index] = container.add_stream_from_template(each)
        for each, copy in ((video, stream), *((source.streams[index], copy) for index, copy in copies.items())):
            copy.metadata.update({key: value for key, value in each.metadata.items() if key not in _ENCODER_KEYS})
            copy.disposition = each.disposition
        container.metadata.update({key: text for key, text in source.metadata.items() if key not in _CONTAINER_KEYS})
        container.set_chapters(source.chapters())
        shift = film.start * film.time_base
        for packet in heapq.merge(
            _read_pieces(pieces, film, codec, stream), _read_copies(source, copies, shift), key=lambda item: item[0]
        ):
            container.mux(packet[1])
        kept = {video.index, *copies}
        return [f'not copied: stream {each.index} ({each.type})' for each in source.streams if each.index not in kept]


_ENCODER_KEYS = {'encoder', 'DURATION', 'BPS', 'NUMBER_OF_FRAMES', 'NUMBER_OF_BYTES', 'rotate', 'vendor_id'}
_CONTAINER_KEYS = {'encoder', 'major_brand', 'minor_version', 'compatible_brands', 'DURATION'}


def _read_pieces(
    pieces: Sequence[tuple[Path, int]], film: Film, codec: Codec, stream: Stream
) -> Iterator[tuple[Fraction, Packet]]:
    """Yield the packets of all pieces, with the times of the film, in the order in which they are decoded.

    Encoders give each piece times of decoding of its own, which need not fit those of the piece before. Here every
    packet is decoded when the frame is shown that lies `delay` places before it, over the whole film.
    """
    base = film.time_base
    step = max(1, round(1 / film.frame_rate / base))
    earlier: list[int] = []  # when the last frames are shown
    for path, begins in pieces:
        ticks = [tick for tick, _ in _read_piece(path, base)]
        if not ticks or _find_delay(ticks) > codec.delay:
            raise FilmError(f'{path}: is no piece of a film as it is written here; remove its folder and begin again')
        moved = begins - min(ticks)
        earlier = earlier or [begins - step * back for back in range(codec.delay, 0, -1)]
        order = earlier + sorted(tick + moved for tick in ticks)
        for dts, (tick, packet) in zip(order, _read_piece(path, base), strict=False):
            packet.pts, packet.dts, packet.time_base, packet.stream = tick + moved, dts, base, stream
            yield dts * base, packet
        earlier = order[len(ticks) :]


def _read_piece(path: Path, base: Fraction) -> Iterator[tuple[int, Packet]]:
    """Yield when each packet of a piece is shown, in ticks, and the packet."""
    with av.open(os.fspath(path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                own = packet.time_base
                packet.duration = round((packet.duration or 0) * own / base)
                yield round(packet.pts * own / base), packet


def _find_delay(ticks: Sequence[int]) -> int:
    """Return by how many places a packet comes behind others that are shown after it, at most."""
    ranks = {tick: rank for rank, tick in enumerate(sorted(ticks))}
    return max(place - ranks[tick] for place, tick in enumerate(ticks))


def _read_copies(
    source: InputContainer, copies: dict[int, Stream], shift: Fraction
) -> Iterator[tuple[Fraction, Packet]]:
    """Yield the packets of the streams that are copied as they are."""
    if not copies:
        return
    last = Fraction(0)
    for packet in source.demux([source.streams[index] for index in copies]):
        if not packet.size:  # the mark of a stream's end
            continue
        base = packet.time_base
        if shift:
            ticks = round(shift / base)
            packet.pts = None if packet.pts is None else packet.pts - ticks
            packet.dts = None if packet.dts is None else packet.dts - ticks
        last = last if packet.dts is None else max(last, packet.dts * base)
        packet.stream = copies[packet.stream_index]
        yield last, packet
