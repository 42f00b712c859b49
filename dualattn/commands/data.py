"""Prepare data sets: check what is there, make lists, hashes and copies of the size that a protocol asks for.

Each data set has a preparer of its own, which an installed package declares as an entry point of the group
`dualattn.data`: `dualattn data prepare NAME --help` shows its arguments.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from dualattn.commands.parser import suggest

GROUP = 'dualattn.data'
USAGE = """usage: dualattn data prepare NAME ROOT [ARGUMENT ...]
       dualattn data prepare NAME --help"""


def find_preparers() -> dict[str, EntryPoint]:
    """Return the preparers of all installed packages by the names of their data sets."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the preparer of a data set with the name and the other arguments; returns its exit code, 2 without one."""
    action, *rest = (sys.argv[1:] if argv is None else list(argv)) or ['--help']
    preparers = find_preparers()
    known = ', '.join(preparers)
    if action in ('-h', '--help') or (action == 'prepare' and rest[:1] in (['-h'], ['--help'])):
        print(f'{USAGE}\n\n{__doc__}\ndata sets: {known}')
        return 0
    if action != 'prepare':
        print(f'dualattn data: no action {action!r}{suggest(action, ["prepare"])}\n{USAGE}', file=sys.stderr)
        return 2
    if not rest or rest[0] not in preparers:
        hint = (suggest(rest[0], preparers) if rest else '') or f'; there are {known}'
        print(f'dualattn data prepare: no data set {rest[0] if rest else ""!r}{hint}', file=sys.stderr)
        return 2
    return preparers[rest[0]].load()(rest)
