"""Colorize a film: the luma of every frame is kept bit for bit, sound and subtitles are copied."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dualattn.commands.files import check_weights
from dualattn.commands.parser import CommandParser, explain

if TYPE_CHECKING:
    from colorization.pipeline import Colorizer
    from colorization.video.job import FilmJob
    from colorization.video.reading import Film

EPILOG = """examples:
  a film, with the weights that ship with the package; run it again after an interruption and it goes on
      dualattn video wedding.mp4 wedding_color.mp4
  for an archive: FFV1 in Matroska, whose luma is bit for bit that of the film
      dualattn video reel7.mov reel7_color.mkv --lossless
  where the film is cut, and a gray still of each shot to paint hints on (docs/film.md)
      dualattn video reel7.mov --stills reel7_stills
      dualattn video reel7.mov reel7_color.mkv --notes reel7.json
  colours of a similar photograph for the whole film
      dualattn video garden.mp4 garden_color.mp4 --like garden.jpg

What is kept: the luma, range, matrix, depth and size of the pictures, the times of the frames, also of a variable rate,
rotation, sound, subtitles, chapters and titles. Finished pieces wait in OUT.parts until the whole film is joined.

exit codes: 0 done, 1 the film failed on the way, 2 nothing was started, 130 stopped
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('video', __doc__, EPILOG)
    parser.add_argument('film', metavar='IN', type=Path, help='the film, of any kind that PyAV reads')
    parser.add_argument('out', metavar='OUT', type=Path, nargs='?', help='the result: .mp4, .m4v, .mov or .mkv')
    parser.add_argument('--stills', type=Path, metavar='FOLDER', help='make no film: find the shots, a still of each')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it exists')
    parser.add_argument(
        '--allow-truncated', action='store_true', help='pass over what cannot be decoded of a damaged film'
    )
    coding = parser.add_argument_group('how it is written')
    coding.add_argument('--lossless', action='store_true', help='FFV1 in Matroska instead of H.264')
    coding.add_argument('--crf', type=int, default=16, help='of H.264, 0 to 51, lower is better (16)')
    coding.add_argument('--preset', default='medium', choices=PRESETS, help='effort of H.264 (medium)')
    coding.add_argument('--no-subtitles', action='store_true', help='leave them out, where OUT cannot hold them')
    colors = parser.add_argument_group('its colours')
    colors.add_argument('--notes', metavar='FILE', help='JSON: hints or a reference picture for single shots')
    colors.add_argument('--like', metavar='PHOTO', help='take colours from a photograph of the same scene or kind')
    colors.add_argument('--weights', help='weights file, also a released DDColor (default: the one in the package)')
    colors.add_argument('--config', help='training config; its model.generator describes the network of --weights')
    colors.add_argument('--size', type=int, help='side of the square whose area the network sees (default: its own)')
    colors.add_argument('--device', help='cpu, cuda, cuda:1, mps, ... (default: a GPU where there is one)')
    colors.add_argument('--chroma', type=float, default=1.0, help='factor on the colours: 0.8 paler, 1.2 stronger')
    colors.add_argument(
        '--vividness', type=float, default=1.0, help='how far the network decides for one colour (default: 1)'
    )
    colors.add_argument(
        '--frame-by-frame', action='store_true', help='predict every frame for itself, as photographs; it flickers'
    )
    args = parser.parse_args(argv)
    if (args.out is None) == (args.stills is None):
        parser.error('name OUT, or --stills FOLDER')
    if not 0 <= args.crf <= 51:
        parser.error(f'--crf is 0 to 51, got {args.crf}')
    return args


PRESETS = ('ultrafast', 'superfast', 'veryfast', 'faster', 'fast', 'medium', 'slow', 'slower', 'veryslow')


def main(argv: Sequence[str] | None = None) -> int:
    """Colorize a film; see the exit codes in EPILOG."""
    args = parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):  # a name that the terminal cannot show is printed escaped
            stream.reconfigure(errors='backslashreplace')
    logging.basicConfig(format='%(message)s')
    try:
        check_weights(args.weights)
    except FileNotFoundError as error:
        print(f'video: {error}', file=sys.stderr)
        return 2
    # as Ctrl-C, so that no half-written file stays
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return make_stills(args) if args.stills else colorize(args)
    except KeyboardInterrupt:
        print('video: stopped; run the same command again to go on', file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        print(f'video: needs PyAV ({error}); pip install "dualattn[video]"', file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)


def open_input(args: argparse.Namespace, even_sizes: bool) -> 'Film':
    """Look at the film, with the library's own messages off: what matters is told by errors."""
    import av.logging

    from colorization.video.reading import open_film

    # not set_level, by which messages wait for the lock of Python, and frame threads with them, for ever
    av.logging.set_libav_level(av.logging.PANIC)
    return open_film(args.film, even_sizes, args.allow_truncated)


def load_colorizer(args: argparse.Namespace) -> 'Colorizer':
    """Build the colorizer that the arguments ask for."""
    from colorization.pipeline import Colorizer, read_network_config
    from dualattn.devices import choose_device
    from dualattn.io.photos import read_photo

    config = read_network_config(args.config) if args.config else None
    device = choose_device(args.device)
    like = read_photo(args.like) if args.like else None
    options = dict(size=args.size, device=device, chroma=args.chroma, vividness=args.vividness, like=like)
    return Colorizer.from_pretrained(args.weights, config, **options)


def make_job(args: argparse.Namespace) -> 'FilmJob':
    """Put together and check all that the arguments name."""
    from colorization.checkpoints import default_weights_path
    from colorization.hub import fetch_weights
    from colorization.provenance import hash_weights
    from colorization.video.guides import read_notes
    from colorization.video.job import FilmJob
    from colorization.video.writing import Codec
    from dualattn.io.files import hash_file

    codec = Codec(args.lossless, args.crf, args.preset)
    if not args.out.parent.is_dir():
        raise FileNotFoundError(f'{args.out.parent}: no such folder')
    job = FilmJob(
        film=open_input(args, codec.needs_even_sizes),
        out=args.out,
        colorizer=cast(Any, None),  # loaded when nothing else is wrong
        codec=codec,
        steady=not args.frame_by_frame,
        subtitles=not args.no_subtitles,
        overwrite=args.overwrite,
    )
    job.check()
    job.notes = read_notes(args.notes) if args.notes else ()
    if args.weights is not None:
        args.weights = fetch_weights(args.weights)
    job.colorizer = load_colorizer(args)
    job.settings = dict(
        weights=hash_weights(args.weights or default_weights_path()),
        size=job.colorizer.size,
        chroma=args.chroma,
        vividness=args.vividness,
        like=hash_file(args.like) if args.like else None,
    )
    return job


def colorize(args: argparse.Namespace) -> int:
    """Do what the arguments ask for; returns the exit code."""
    try:
        job = make_job(args)
    except ModuleNotFoundError:
        raise
    except (ValueError, OSError, RuntimeError, ImportError, SyntaxError, LookupError) as error:
        print(f'video: {explain(error)}', file=sys.stderr)
        return 2
    with _Bars() as bars:
        try:
            job.run(bars)
        except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
            bars.close()
            print(f'video: {explain(error)}', file=sys.stderr)
            return 1
    for message in job.messages:
        print(message, file=sys.stderr)
    print(args.out)
    return 0


def make_stills(args: argparse.Namespace) -> int:
    """Write a gray still of the middle of each shot, named by its time, and print when the shots begin."""
    try:
        film = open_input(args, even_sizes=False)
        args.stills.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        print(f'video: {explain(error)}', file=sys.stderr)
        return 2
    from colorization.video.stills import write_stills

    with _Bars() as bars:
        try:
            lines = write_stills(film, args.stills, bars)
        except (ValueError, OSError) as error:
            bars.close()
            print(f'video: {explain(error)}', file=sys.stderr)
            return 1
    print('\n'.join(lines))
    return 0


class _Bars:
    """A bar for each thing that is counted, with the time that is left."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._name = ''

    def __call__(self, name: str, total: int, done: int) -> None:
        from tqdm import tqdm

        if name != self._name:
            self.close()
            # what an earlier run has done says nothing of the time that is left
            initial = max(0, done - 1) if done < total else 0
            self._bar = tqdm(total=total or None, initial=initial, desc=name, unit='frame', disable=None)
            self._name = name
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._name = None, ''

    def __enter__(self) -> '_Bars':
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
