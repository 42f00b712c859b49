"""The grammar that all commands share: how they describe themselves, and what they say of what they do not know."""

import argparse
import difflib
import errno
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

__all__ = [
    'CommandParser',
    'add_launcher_arguments',
    'add_options_argument',
    'describe',
    'explain',
    'parse_options',
    'suggest',
]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return what to add to an error about an unknown name: the nearest known one, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f'; did you mean {near[0]}?' if near else ''


# what the system says in numbers, for the errors that a wrong path leads to
_SAID = {
    errno.EISDIR: 'is a folder, expected a file',
    errno.ENOTDIR: 'is a file, or lies below one, expected a folder',
    errno.ENOENT: 'no such file or folder',
    errno.EEXIST: 'is there already, and is no folder',
    errno.ENOTEMPTY: 'is a folder that is not empty',
    errno.EACCES: 'may not be read or written by this user',
}


def _find_said(error: Exception) -> str | None:
    """Return the words for an error of the system that names a file and no more; None for any other."""
    if not isinstance(error, OSError) or error.filename is None or error.errno not in _SAID:
        return None
    return f'{error.filename}: {_SAID[error.errno]}'


def explain(error: Exception) -> str:
    """Return what an error says, with the system's own, `[Errno 21] ...`, in words."""
    return _find_said(error) or str(error)


def describe(error: Exception) -> str:
    """Return the line that tells a user of an error; what an argument does wrong needs no name of a class."""
    name = type(error).__name__
    return _find_said(error) or (str(error) if name in ('OptionError', 'ValueError') else f'{name}: {error}')


class CommandParser(argparse.ArgumentParser):
    """A parser that names the nearest option or choice when it is given one that it does not know.

    Args:
        verb: name of the command behind `dualattn`.
        description: what the command does.
        epilog: examples and exit codes, shown as they are written.
        **kwargs: further arguments of `argparse.ArgumentParser`.
    """

    def __init__(self, verb: str = '', description: str | None = None, epilog: str | None = None, **kwargs: Any):
        kwargs.setdefault('prog', f'dualattn {verb}'.rstrip())
        kwargs.setdefault('formatter_class', argparse.RawDescriptionHelpFormatter)
        super().__init__(description=description, epilog=epilog, **kwargs)

    def parse_args(  # type: ignore[override]  # one signature for argparse's three
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse the arguments; ends the process with exit code 2 and one line when they cannot be parsed."""
        args, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._refuse_unknown(unknown)
        return args

    def parse_known_args(  # type: ignore[override]  # as above
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse what is known; an unknown long option is told before a missing argument is."""
        if args is not None:
            options = [str(arg) for arg in args]
            if '--' in options:
                options = options[: options.index('--')]
            if any(isinstance(action, argparse._SubParsersAction) for action in self._actions):
                options = list(itertools.takewhile(lambda option: option.startswith('-'), options))
            given = [option.partition('=')[0] for option in options if option.startswith('--')]
            unknown = [
                option for option in given if not any(name.startswith(option) for name in self._option_string_actions)
            ]
            if unknown:
                self._refuse_unknown(unknown)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End the process with exit code 2 and one line; argparse prints the whole usage above it."""
        missing = message.startswith('the following arguments are required')
        self.exit(2, f'{self.prog}: error: {message}{f"; see {self.prog} --help" if missing else ""}\n')

    def _refuse_unknown(self, unknown: Sequence[str]) -> None:
        hint = suggest(unknown[0], self._option_string_actions) if unknown[0].startswith('--') else ''
        self.error(f'unknown {", ".join(unknown)}{hint}')

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = ', '.join(map(str, action.choices))
            hint = suggest(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f'{value!r} is none of {choices}{hint}')


def add_options_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--cfg-options KEY=VALUE ...`, kept as text until `parse_options` reads it."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='override entries of the config, for example train_cfg.max_iters=100',
    )


def add_launcher_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--launcher`, and what launchers themselves add."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of a distributed run were started',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by older launchers; unused')


def parse_options(parser: argparse.ArgumentParser, options: Sequence[str]) -> dict[str, Any]:
    """Return the entries that `--cfg-options` overrides, in mmengine's notation of lists, tuples and numbers.

    Ends the process with exit code 2 when an option is no `KEY=VALUE`.
    """
    from mmengine.config import DictAction

    for option in options:
        if not option.partition('=')[0] or '=' not in option:
            parser.error(f'--cfg-options: expected KEY=VALUE, got {option!r}')
    namespace = argparse.Namespace()
    DictAction(['--cfg-options'], 'options')(parser, namespace, list(options))
    return namespace.options
