"""Colorize photographs: files, folders and glob patterns in, the same photographs in colour out."""

import argparse
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dualattn.commands.files import check_weights
from dualattn.commands.parser import CommandParser, explain

if TYPE_CHECKING:
    from colorization.batch import Settings
    from colorization.jobs import Job, Plan
    from colorization.pipeline import Colorizer

EPILOG = """examples:
  one photograph, with the weights that ship with the package; makes grandma_color.jpg
      dualattn colorize grandma.jpg
  a folder with its subfolders; run it again after an interruption, finished files are skipped
      dualattn colorize scans --recursive -o colorized
  a pattern (quote it), results as JPEG named NAME_color.jpg, a before/after picture beside each
      dualattn colorize 'scans/19*.tif' -o colorized --format jpg --suffix _color --compare
  stronger colours; six other plausible versions on one sheet, and a map of where the network is unsure
      dualattn colorize grandma.jpg -o grandma_color.png --vividness 1.5 --variants 6 --doubt
  weights of your own training: its export, or a checkpoint with the config that made it
      dualattn colorize scans -o colorized --weights work_dirs/my_run/weights.safetensors
      dualattn colorize scans -o colorized --weights work_dirs/my_run/iter_1000.pth --config my_run.py
  colours that you know, clicked or painted (docs/hints.md), and those of a similar photograph
      dualattn colorize grandma.jpg -o grandma_color.png --hints grandma.json
      dualattn colorize series -o colorized --like series_in_color.jpg

  one photograph through a pipe, as PNG
      scan | dualattn colorize - -o - > color.png
  an archive on three machines (here the second), with a record that a later run goes on from
      dualattn colorize /archive -r -o /color --shard 2/3 --manifest done.jsonl --resume

What is kept: size and luminance; 16 bits in png and tif; transparency in png, tif and webp; in each format the
resolution, XMP, and the EXIF entries for camera, dates, place, author, copyright, titles, keywords, comments and
rating; IPTC records in jpg, tif and png; PNG text chunks in png; JPEG comments in jpg and png. Upright sRGB replaces
rotation and colour profiles. Thumbnails and maker notes are dropped. docs/photographs.md says which files are read.

exit codes: 0 all done or skipped, 1 some photographs failed (listed at the end), 2 nothing was started, 130 stopped
"""
# what makes several pictures, or names one
ONE_BY_ONE = ('compare', 'variants', 'doubt', 'layer', 'pages', 'shard', 'suffix')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('colorize', __doc__, EPILOG)
    parser.add_argument(
        'inputs', nargs='*', metavar='INPUT', help='photographs, folders or quoted glob patterns; - is standard input'
    )
    parser.add_argument(
        '--list', metavar='FILE', help='a file with further photographs, one a line; - is standard input'
    )
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        help='output file (for one INPUT), folder, or - (default: NAME_color beside it, or the folder colorized)',
    )
    parser.add_argument(
        '--weights',
        help='weights file, also a released DDColor, or ORGANIZATION/NAME on the hub (default: the packaged ones)',
    )
    parser.add_argument(
        '--engine', choices=('torch', 'onnx'), default='torch', help='what computes the network (default: torch)'
    )
    parser.add_argument('--config', help='training config; its model.generator describes the network of --weights')
    parser.add_argument('--size', type=int, help='side of the square whose area the network sees (default: its own)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, mps, ... (default: a GPU where there is one)')
    parser.add_argument('--chroma', type=float, default=1.0, help='factor on the colours: 0.8 paler, 1.2 stronger')
    parser.add_argument(
        '--vividness',
        type=float,
        default=1.0,
        help='how far the network decides for one colour instead of mixing all that are plausible (default: 1)',
    )
    parser.add_argument('--variants', type=int, default=0, metavar='N', help='also write N other plausible versions')
    parser.add_argument('--variant-files', action='store_true', help='as files of their own, not as one sheet')
    parser.add_argument('--seed', type=int, default=0, help='of the versions; the same seed draws the same ones')
    parser.add_argument('--doubt', action='store_true', help='also write NAME_doubt.jpg: where the network is unsure')
    parser.add_argument('--hints', metavar='FILE', help='colours for places of one photograph: JSON or a painted PNG')
    parser.add_argument(
        '--reach',
        choices=('adaptive', 'object', 'scene'),
        default='adaptive',
        help='what a hint tells about: what is near and alike (object); being true, the whole scene; or, by default, '
        'either, whichever is likelier (adaptive)',
    )
    parser.add_argument('--like', metavar='PHOTO', help='take colours from a photograph of the same scene or kind')
    parser.add_argument('-r', '--recursive', action='store_true', help='search folders with their subfolders')
    parser.add_argument('--overwrite', action='store_true', help='replace outputs that exist')
    parser.add_argument('--format', choices=('png', 'jpg', 'webp', 'tif'), help='of outputs (default: as the input)')
    parser.add_argument('--suffix', default='', help='text added to the name of each output, such as _color')
    parser.add_argument('--compare', action='store_true', help='also write NAME_compare.jpg: before and after')
    parser.add_argument('--layer', action='store_true', help='also write NAME_layer.tif: the colour alone, as a layer')
    parser.add_argument(
        '--layer-as',
        choices=('lab', 'rgba'),
        default='lab',
        help='what the layer is: 16-bit Lab for the mode Color, or RGBA that is laid on top as it is (lab)',
    )
    parser.add_argument('--quality', type=int, default=95, metavar='Q', help='of JPEG and WebP, 1 to 100 (95)')
    parser.add_argument(
        '--tiff-compression', choices=('none', 'lzw', 'deflate'), default='none', help='lossless (none)'
    )
    parser.add_argument('--keep-times', action='store_true', help='give outputs the modification time of their source')
    parser.add_argument(
        '--no-provenance', action='store_true', help='do not write into the XMP that a network has made the colours'
    )
    reading = parser.add_argument_group('what is read')
    reading.add_argument(
        '--if-color',
        choices=('skip', 'copy', 'redo'),
        default='skip',
        help='what to do with photographs that are in colour already (skip); one named itself is redone',
    )
    reading.add_argument('--allow-truncated', action='store_true', help='take what is there of a damaged file')
    reading.add_argument('--pages', choices=('first', 'all'), default='first', help='of a TIFF with several (first)')
    reading.add_argument('--max-megapixels', type=float, default=100, help='larger photographs are refused (100)')
    running = parser.add_argument_group('many photographs')
    running.add_argument(
        '--jobs', type=int, metavar='N', help='processes that read ahead; 0 does one thing after the other (1)'
    )
    running.add_argument(
        '--batch',
        type=int,
        metavar='N',
        help='photographs that the network sees together; halved where memory runs out (16 on a GPU, 1 on a CPU)',
    )
    running.add_argument(
        '--shard', metavar='K/N', help="do the K-th of N parts; 'auto' takes K and N from torchrun or Slurm"
    )
    running.add_argument('--manifest', type=Path, metavar='FILE', help='add a line of JSON for each photograph')
    running.add_argument('--resume', action='store_true', help='trust --manifest: what it calls done is not looked at')
    args = parser.parse_args(argv)
    if not args.inputs and args.list is None:
        parser.error('name photographs, folders or patterns, or a --list')
    if args.resume and args.manifest is None:
        parser.error('--resume needs the --manifest that it goes on from')
    goes_through_pipe = str(args.out) == '-' or ('-' in args.inputs and args.out is None)
    if ('-' in args.inputs or goes_through_pipe) and (len(args.inputs) != 1 or args.list is not None):
        parser.error('- stands alone: one photograph goes through a pipe')
    if goes_through_pipe:
        taken = [name for name in ONE_BY_ONE if getattr(args, name) != parser.get_default(name)]
        if taken:
            parser.error(f'--{taken[0]} has no place in a pipe, which holds one picture; name a file with -o')
    return args


def list_beside(args: argparse.Namespace) -> list[str]:
    """Return what is written beside each photograph.

    Raises:
        ValueError: the number of versions is negative, or files are asked of none.
    """
    if args.variants < 0 or (args.variant_files and not args.variants):
        raise ValueError(f'--variants needs a number above 0, got {args.variants}')
    singles = [f'variant{number}' for number in range(1, args.variants + 1)]
    versions = singles if args.variant_files else ['variants'] * bool(args.variants)
    return ['compare'] * args.compare + versions + ['doubt'] * args.doubt + ['layer'] * args.layer


def choose_output(inputs: Sequence[str], file_format: str | None, suffix: str) -> Path:
    """Return where results go if nobody says: beside the one photograph, or in the folder `colorized`."""
    from colorization.jobs import choose_format

    if len(inputs) != 1 or not Path(inputs[0]).is_file():
        return Path('colorized')
    photo = Path(inputs[0])
    return photo.with_name(f'{photo.stem}{suffix or "_color"}{choose_format(photo, file_format)}')


def make_folders(jobs: Sequence['Job']) -> None:
    """Make the output folders and try to write there, before hours of work."""
    for folder in sorted({job.target.parent for job in jobs}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise OSError(f'{folder}: this output folder cannot be written: {error.strerror}') from error


def load_colorizer(args: argparse.Namespace) -> 'Colorizer':
    """Build the colorizer that the arguments ask for."""
    from colorization.decoders.palette import has_palette
    from colorization.hints import read_hints
    from colorization.pipeline import Colorizer, read_network_config
    from dualattn.devices import choose_device
    from dualattn.io.photos import read_photo

    if args.engine == 'onnx':
        return load_onnx_colorizer(args)
    if str(args.weights).endswith('.onnx'):
        raise ValueError(f'{args.weights} needs --engine onnx')
    config = read_network_config(args.config) if args.config else None
    device = choose_device(args.device)
    options = dict(size=args.size, device=device, chroma=args.chroma, vividness=args.vividness, reach=args.reach)
    if args.hints:
        options['hints'] = read_hints(args.hints)
    if args.like:
        options['like'] = read_photo(args.like, int(args.max_megapixels * 1e6))
    colorizer = Colorizer.from_pretrained(args.weights, config, **options)
    if (args.variants or args.doubt) and not has_palette(colorizer.network):
        raise ValueError('--variants and --doubt need weights with a palette head; these know one version alone')
    return colorizer


def load_onnx_colorizer(args: argparse.Namespace) -> 'Colorizer':
    """Build the colorizer of an ONNX file; weights of another form, or the packaged ones, are exported first."""
    from colorization.checkpoints import default_weights_path, load_network
    from colorization.onnx import OnnxNetwork, export_colorizer
    from colorization.pipeline import Colorizer, read_network_config

    if args.device not in (None, 'cpu'):
        raise ValueError(f'--engine onnx computes on the CPU, got --device {args.device}')
    if args.variants or args.doubt or args.vividness != 1 or args.hints or args.like:
        raise ValueError(
            '--variants, --doubt, --vividness, --hints and --like need --engine torch: an ONNX file holds l -> ab alone'
        )
    path = args.weights or default_weights_path()
    if str(path).endswith('.onnx'):
        if args.config:
            raise ValueError('--config is for weights that do not describe themselves; an ONNX file does')
        network = OnnxNetwork(path)
    else:
        config = read_network_config(args.config) if args.config else None
        with tempfile.TemporaryDirectory() as folder:
            export_colorizer(load_network(path, config), Path(folder, 'network.onnx'))
            network = OnnxNetwork(Path(folder, 'network.onnx'))
    return Colorizer(network, size=args.size, chroma=args.chroma)


def main(argv: Sequence[str] | None = None) -> int:
    """Colorize photographs; see the exit codes in EPILOG."""
    args = parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):  # a name that the terminal cannot show is printed escaped
            stream.reconfigure(errors='backslashreplace')
    try:
        check_weights(args.weights)
    except FileNotFoundError as error:
        print(f'colorize: {error}', file=sys.stderr)
        return 2
    # as Ctrl-C, so that no half-written file stays
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return colorize_stream(args) if '-' in args.inputs or str(args.out) == '-' else colorize(args)
    finally:
        signal.signal(signal.SIGTERM, before)


def colorize_stream(args: argparse.Namespace) -> int:
    """Colorize one photograph that comes or goes through a pipe, by way of files of their own."""
    target = args.out
    with tempfile.TemporaryDirectory() as folder:
        if args.inputs == ['-']:
            args.inputs = [str(Path(folder, 'standard input'))]
            with open(args.inputs[0], 'xb') as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        if target is None or str(target) == '-':
            args.out, args.shown = Path(folder, f'colorized.{args.format or "png"}'), 'standard output'
        with contextlib.redirect_stdout(sys.stderr):  # the photograph alone goes to standard output
            code = colorize(args)
        if code == 0 and args.out != target:
            with open(args.out, 'rb') as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    return code


def read_list(name: str | None) -> list[str]:
    """Return the lines of a list of photographs, names as the file system has them."""
    if name is None:
        return []
    data = sys.stdin.buffer.read() if name == '-' else Path(name).read_bytes()
    return [os.fsdecode(line) for line in data.splitlines() if line.strip()]


def find_shard(text: str | None) -> tuple[int, int]:
    """Return which part of how many is to be done, from 1.

    Raises:
        ValueError: it is none, or 'auto' finds neither torchrun nor Slurm.
    """
    if text is None:
        return 1, 1
    if text == 'auto':
        for rank, size in (('RANK', 'WORLD_SIZE'), ('SLURM_PROCID', 'SLURM_NTASKS')):
            if rank in os.environ and size in os.environ:
                return int(os.environ[rank]) + 1, int(os.environ[size])
        raise ValueError('--shard auto finds neither RANK and WORLD_SIZE nor SLURM_PROCID and SLURM_NTASKS')
    index, _, count = text.partition('/')
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise ValueError(f'--shard is K/N with K from 1 to N, got {text!r}')
    return int(index), int(count)


def plan(args: argparse.Namespace) -> 'Plan':
    """Decide what becomes which file, on the whole listing, and take the part that is this machine's."""
    from colorization.jobs import name_outputs, plan_jobs, split_pages, take_shard
    from dualattn.io.photos import ImageError, count_pages

    found = plan_jobs(
        args.inputs,
        args.out,
        args.recursive,
        args.suffix,
        args.format,
        list_beside(args),
        args.overwrite,
        read_list(args.list),
        copies=args.if_color == 'copy',
    )
    taken = name_outputs(found.jobs)
    found.jobs = take_shard(found.jobs, *find_shard(args.shard))
    if args.pages == 'all':
        jobs = []
        for job in found.jobs:
            try:
                jobs += split_pages(job, count_pages(job.source), taken)
            except ImageError:  # it fails again when it is read, and is reported then
                jobs.append(job)
        found.jobs = jobs
    return found


def make_settings(args: argparse.Namespace, colorizer: 'Colorizer') -> 'Settings':
    """Return how photographs are read and written."""
    from colorization.batch import Settings
    from colorization.checkpoints import default_weights_path
    from colorization.pipeline import MAX_BATCH
    from colorization.provenance import hash_weights

    return Settings(
        overwrite=args.overwrite,
        max_pixels=int(args.max_megapixels * 1e6),
        allow_truncated=args.allow_truncated,
        if_color=args.if_color,
        quality=args.quality,
        tiff_compression=args.tiff_compression,
        keep_times=args.keep_times,
        says_so=not args.no_provenance,
        weights=hash_weights(args.weights or default_weights_path()),
        variants=args.variants,
        seed=args.seed,
        jobs=1 if args.jobs is None else args.jobs,
        batch=(MAX_BATCH if colorizer.device.type == 'cuda' else 1) if args.batch is None else args.batch,
        layer_as=args.layer_as,
    )


def colorize(args: argparse.Namespace) -> int:
    """Do what the arguments ask for; returns the exit code."""
    from PIL import Image
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from colorization.batch import FAILED, run_jobs
    from colorization.hub import fetch_weights
    from colorization.manifest import Manifest
    from dualattn.io.photos.messages import printable

    logging.basicConfig(format='%(message)s')
    Image.MAX_IMAGE_PIXELS = None  # read_photo has the limit, and it is the user's to raise
    args.out = args.out or choose_output(args.inputs, args.format, args.suffix)
    try:
        found = plan(args)
        if args.hints and len(found.jobs) != 1:
            raise ValueError(f'--hints are for one photograph, {len(found.jobs)} were named; colorize the others apart')
        make_folders(found.jobs)
        if args.weights is not None:
            args.weights = fetch_weights(args.weights)
        colorizer = load_colorizer(args)
        settings = make_settings(args, colorizer)
        manifest = None if args.manifest is None else Manifest(args.manifest, settings.weights)
        jobs = [
            job
            for job in found.jobs
            if not (args.resume and manifest is not None and manifest.has_done(job, args.if_color))
        ]
    except (ValueError, OSError, RuntimeError, ImportError, SyntaxError, LookupError) as error:
        print(f'colorize: {explain(error)}', file=sys.stderr)
        return 2
    states: Counter[str] = Counter()
    failed: list[str] = []
    unrecorded: list[str] = []
    try:
        with logging_redirect_tqdm(), contextlib.closing(run_jobs(jobs, colorizer, settings)) as outcomes:
            for outcome in tqdm(outcomes, total=len(jobs), unit='photo', disable=None):
                states[outcome.state] += 1
                for message in outcome.messages:
                    logging.warning('%s', message)
                if outcome.state == FAILED:
                    failed.append(outcome.reason)
                    logging.error('%s', outcome.reason)
                if manifest is not None:
                    try:
                        manifest.add(outcome)
                    except OSError as error:  # a full disk: the photographs that still fit are worth more
                        unrecorded.append(f'{printable(args.manifest)}: {printable(outcome.job.source)}: {error}')
    except KeyboardInterrupt:
        print('colorize: stopped; run the same command again to go on', file=sys.stderr)
        return 130
    report(args, found, states, len(found.jobs) - len(jobs))
    sys.stderr.writelines(f'  {line}\n' for line in failed)
    if unrecorded:
        print(f'{len(unrecorded)} photographs could not be recorded, the first: {unrecorded[0]}', file=sys.stderr)
    return 1 if failed or unrecorded else 0


def report(args: argparse.Namespace, found: 'Plan', states: Counter, resumed: int) -> None:
    """Say what was done, and all that was not."""
    from colorization.batch import COPIED, DONE, FAILED, IN_COLOR, THERE
    from dualattn.io.photos.messages import printable

    skipped = states[THERE] + resumed
    shown = getattr(args, 'shown', printable(args.out))
    already = ' (already there; --overwrite makes them anew)' if skipped else ''
    print(f'{states[DONE]} colorized to {shown}, {skipped} skipped{already}, {states[FAILED]} failed')
    if states[IN_COLOR]:
        print(f'{states[IN_COLOR]} in colour already and left alone; --if-color copy or redo does otherwise')
    if states[COPIED]:
        print(f'{states[COPIED]} in colour already and copied')
    if found.renamed:
        print(f'{found.renamed} named with the suffix of their source too, since two would have had one name')
    if found.passed_over:
        counts = ', '.join(f'{count} {suffix}' for suffix, count in found.passed_over.most_common())
        print(f'{found.passed_over.total()} files of other kinds passed over: {counts}')
    if found.earlier:
        names = ', '.join(map(printable, found.earlier[:10])) + (', ...' if len(found.earlier) > 10 else '')
        print(f'{len(found.earlier)} not colorized again, taken for outputs of an earlier run: {names}')
