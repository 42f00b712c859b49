"""Colorize photographs on a page in the browser: drop them, click where you know the colour, download them."""

import argparse
import asyncio
import ipaddress
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dualattn.commands.files import check_weights
from dualattn.commands.parser import CommandParser, explain

EPILOG = """examples:
  on this machine alone, with the weights that ship with the package; the page is at http://127.0.0.1:7860
      dualattn serve
  weights of your own to choose from as well
      dualattn serve --weights work_dirs/my_run/weights.safetensors

  behind a server that has a password and a name
      dualattn serve --allow-host photos.example.org

The page asks no other host for anything. Uploads are deleted when the page is closed, an hour after their last use, and
when the server ends. There is no password: whoever reaches --host may use it.

exit codes: 0 ended, 2 not started
"""
MAX_CONNECTIONS = 512  # a browser opens up to six
PATIENCE = 30  # seconds for the head of a connection's first request


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ends the process with exit code 2 where it cannot be."""
    parser = CommandParser('serve', __doc__, EPILOG)
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (default: this machine alone)')
    parser.add_argument(
        '--allow-host',
        action='append',
        default=[],
        metavar='NAME',
        help='a further name of this server; may be repeated',
    )
    parser.add_argument('--port', type=int, default=7860, help='(default: 7860)')
    parser.add_argument(
        '--weights', action='append', default=[], metavar='FILE', help='weights to choose from; may be repeated'
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, mps, ... (default: a GPU where there is one)')
    parser.add_argument('--max-megapixels', type=float, default=60, help='of a photograph (60)')
    parser.add_argument('--max-megabytes', type=float, default=100, help='of an uploaded file (100)')
    parser.add_argument('--max-files', type=int, default=50, help='photographs at a time (50)')
    parser.add_argument('--max-gigabytes', type=float, default=20, help='of all visitors on the disk (20)')
    parser.add_argument('--queue', type=int, default=16, help='how many may wait (16)')
    parser.add_argument('--seconds', type=float, default=600, help='for the photographs of one ZIP (600)')
    args = parser.parse_args(argv)
    if not 0 <= args.port <= 65535:
        parser.error(f'--port has to be from 0 to 65535, got {args.port}')
    for name in ('max_megapixels', 'max_megabytes', 'max_gigabytes', 'max_files', 'queue', 'seconds'):
        if not getattr(args, name) > 0:
            parser.error(f'--{name.replace("_", "-")} has to be above 0, got {getattr(args, name)}')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; see the exit codes in EPILOG."""
    args = parse_args(argv)
    try:
        for weights in args.weights:
            check_weights(weights)
    except FileNotFoundError as error:
        print(f'serve: {error}', file=sys.stderr)
        return 2
    # gradio reads these when it is imported
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ['HF_HUB_DISABLE_TELEMETRY'] = '1'
    # uvicorn raises a signal again after it has shut down; the folder is to be deleted all the same
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix='dualattn-serve-', ignore_cleanup_errors=True) as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder
        tempfile.tempdir = folder  # what a broken upload leaves behind goes with the rest
        try:
            return serve(args, Path(folder))
        except KeyboardInterrupt:
            return 0
        except ModuleNotFoundError as error:
            print(f'serve: needs gradio and uvicorn ({error}); pip install "dualattn[web]"', file=sys.stderr)
        except (ValueError, OSError, RuntimeError) as error:
            print(f'serve: {explain(error)}', file=sys.stderr)
        finally:
            tempfile.tempdir = None
            signal.signal(signal.SIGTERM, before)
    return 2


def name_weights(paths: Sequence[str]) -> dict[str, str]:
    """Return weights by the name that visitors choose them by: the file's, or the whole path where others have it too.

    A training calls its export `weights`, so that two of them would have one name.
    """
    stems = ['packaged', *(Path(path).stem for path in paths)]
    return {path if stems.count(Path(path).stem) > 1 else Path(path).stem: path for path in paths}


def name_hosts(host: str, more: Sequence[str]) -> frozenset[str] | None:
    """Return the names by which requests may call the server; None for any, where others than this machine reach it.

    A page of another host may have its name point to this machine and so read what is served here; it still sends that
    name. From the network a server is called by names that it cannot know.
    """
    names = frozenset(('localhost', '127.0.0.1', '::1', host.lower(), *(name.lower() for name in more)))
    try:
        is_local = host.lower() == 'localhost' or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        is_local = False
    return names if is_local or more else None


def make_protocol() -> type:
    """Return uvicorn's protocol without patience for connections that never send a whole request."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)

            def end() -> None:
                if self.cycle is None:
                    transport.close()

            self.loop.call_later(PATIENCE, end)

    return Impatient


def serve(args: argparse.Namespace, folder: Path) -> int:
    """Load the weights and run the server; returns the exit code."""
    import uvicorn
    from PIL import Image

    from colorization.checkpoints import default_weights_path
    from colorization.desk import Desk, Limits
    from colorization.hub import fetch_weights
    from colorization.pipeline import Colorizer
    from colorization.provenance import hash_weights
    from colorization.web import make_app
    from dualattn.devices import choose_device

    Image.MAX_IMAGE_PIXELS = None  # read_photo has the limit
    device = choose_device(args.device)
    paths = {'packaged': str(default_weights_path())}
    paths |= {name: fetch_weights(path) for name, path in name_weights(args.weights).items()}
    colorizers = {name: Colorizer.from_pretrained(path, device=device) for name, path in paths.items()}
    hashes = {name: hash_weights(path) for name, path in paths.items()}
    limits = Limits(
        args.max_megapixels,
        args.max_megabytes,
        args.max_files,
        args.queue,
        args.seconds,
        gigabytes=args.max_gigabytes,
    )
    app = make_app(Desk(colorizers, folder, limits, hashes), name_hosts(args.host, args.allow_host))
    print(f'the page is at http://{args.host}:{args.port} (Ctrl-C ends it)', flush=True)
    config = uvicorn.Config(
        app,
        args.host,
        args.port,
        http=make_protocol(),
        log_level='warning',
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=3,
    )
    logging.getLogger('uvicorn.error').addFilter(is_worth_a_line)
    server = uvicorn.Server(config)
    try:
        server.run()
    except SystemExit:  # uvicorn's, which has said why it cannot listen
        return 2
    return 0 if server.started else 2


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Tell uvicorn's messages from those about an open page that was cut off; it prints a traceback of each."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and not record.getMessage().startswith('Cancel ')
