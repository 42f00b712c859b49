"""`dualattn VERB`: find the verb among those that the installed packages declare, and hand it the other arguments."""

import ast
import importlib.util
import io
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from pathlib import Path

import dualattn
from dualattn.commands.parser import suggest

__all__ = ['find_extras_with', 'find_verbs', 'main']

GROUP = 'dualattn.commands'
_DISTRIBUTIONS = {'cv2': 'opencv-python-headless', 'skimage': 'scikit-image', 'sklearn': 'scikit-learn'}


def find_verbs() -> dict[str, EntryPoint]:
    """Return the verbs of all installed packages by their names, in the order of the alphabet."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def find_extras_with(module: str) -> list[str]:
    """Return the extras of the package that bring a module.

    Args:
        module: name as it is imported; what lies below the first dot does not count.
    """
    name = module.partition('.')[0]
    wanted = re.sub(r'[-_.]+', '-', _DISTRIBUTIONS.get(name, name)).lower()
    try:
        requirements = distribution('dualattn').requires or []
    except PackageNotFoundError:  # a checkout that is not installed
        return []
    extras = []
    for requirement in requirements:
        found = re.match(r'[\w.-]+', requirement)
        extra = re.search(r'extra == [\'"]([\w-]+)', requirement)
        if found and extra and re.sub(r'[-_.]+', '-', found[0]).lower() == wanted:
            extras.append(extra[1])
    return extras


def explain_missing(error: ModuleNotFoundError) -> str:
    """Return what to install where a verb needs a package of an extra that is not there."""
    extras = [f"'dualattn[{extra}]'" for extra in find_extras_with(error.name or '')]
    remedy = f'pip install {" or ".join(extras)}' if extras else '`dualattn check` lists the extras and what they lack'
    return f'needs {error.name}, which is not installed: {remedy}'


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
    if sys.platform == 'darwin':  # before torch is loaded: the few operators that Metal lacks run on the CPU
        os.environ.setdefault('PYTORCH_ENABLE_MPS_FALLBACK', '1')
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a console such as cp1252 cannot show is printed escaped
            stream.reconfigure(errors='backslashreplace')
    verb, *rest = (sys.argv[1:] if argv is None else list(argv)) or ['--help']
    verbs = find_verbs()
    if verb in ('-h', '--help', 'help'):
        show_help(verbs)
        return 0
    if verb == '--version':
        print(f'dualattn {dualattn.__version__}')
        return 0
    if verb.startswith('-'):
        hint = suggest(verb, ('--help', '--version')) or '; there are --help and --version, and a verb comes first'
        print(f'dualattn: no option {verb!r}{hint}', file=sys.stderr)
        return 2
    if verb not in verbs:
        hint = suggest(verb, verbs) or f'; there are {", ".join(verbs)}'
        if not verbs:
            hint = '; no verb is declared here: install the package (pip install .) instead of running a bare checkout'
        print(f'dualattn: no verb {verb!r}{hint}', file=sys.stderr)
        return 2
    try:
        return verbs[verb].load()(rest)
    except ModuleNotFoundError as error:
        if (error.name or '').partition('.')[0] in ('', *(entry.module.partition('.')[0] for entry in verbs.values())):
            raise  # a module of our own: a fault of the package, no extra that was left out
        print(f'dualattn {verb}: {explain_missing(error)}', file=sys.stderr)
        return 2
    except BrokenPipeError:  # what reads our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == '__main__':
    sys.exit(main())
