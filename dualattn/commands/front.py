"""`dualattn VERB`: find the verb among those that the installed packages declare, and hand it the other arguments."""

import ast
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import dualattn
from dualattn.commands.parser import suggest

__all__ = ['find_verbs', 'main']

GROUP = 'dualattn.commands'


def find_verbs() -> dict[str, EntryPoint]:
    """Return the verbs of all installed packages by their names, in the order of the alphabet."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def summarize(entry: EntryPoint) -> str:
    """Return the first line of a verb's module, which is read as text, so that nothing heavy is loaded.

    Raises:
        ModuleNotFoundError: the module that the entry names is not there.
    """
    spec = importlib.util.find_spec(entry.module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f'no module named {entry.module}', name=entry.module)
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding='utf-8'))) or ''
    return text.partition('\n')[0]


def show_help(verbs: dict[str, EntryPoint]) -> None:
    """Print the grammar and a line for each verb."""
    print('usage: dualattn VERB [ARGUMENT ...]\n       dualattn VERB --help\n       dualattn --version\n')
    width = max(map(len, verbs), default=0)
    for name, entry in verbs.items():
        print(f'  {name:{width}}  {summarize(entry)}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        argv: the verb and its arguments; those of the process where it is None.

    Returns:
        The exit code of the verb; 2 where there is none of that name.
    """
    verb, *rest = (sys.argv[1:] if argv is None else list(argv)) or ['--help']
    verbs = find_verbs()
    if verb in ('-h', '--help', 'help'):
        show_help(verbs)
        return 0
    if verb == '--version':
        print(f'dualattn {dualattn.__version__}')
        return 0
    if verb not in verbs:
        hint = suggest(verb, verbs) or f'; there are {", ".join(verbs)}'
        if not verbs:
            hint = '; no verb is declared here: install the package (pip install .) instead of running a bare checkout'
        print(f'dualattn: no verb {verb!r}{hint}', file=sys.stderr)
        return 2
    try:
        return verbs[verb].load()(rest)
    except BrokenPipeError:  # what reads our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
