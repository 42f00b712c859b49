"""Which prediction belongs to which photograph, and what is wrong with those that belong to none."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from colorization.evaluation.protocols import Protocol
from dualattn.io.photos import list_images

__all__ = ['Pairing', 'PairingError', 'find_compared_with_itself', 'pair_folders']

# what programs add to the names of the pictures that they have coloured
_ADDED = re.compile(r'[-_. ]*(colou?ri[sz]ed|colou?r|fake[-_ ]?(b|rgb|color)?|pred(iction)?|out(put)?|result)$', re.I)


class PairingError(ValueError):
    """Two folders that cannot be compared; the message shows names of both and what to do."""


@dataclass
class Pairing:
    """What of two folders belongs together, all paths relative to their folders.

    Attributes:
        pairs: (photograph, prediction), in the protocol's order.
        missing: photographs of the protocol without a prediction.
        extra: predictions without a photograph.
        misnamed: (prediction, photograph) that almost share a name; not compared, and not in the two lists above.
    """

    pairs: list[tuple[PurePath, PurePath]]
    missing: list[PurePath] = field(default_factory=list)
    extra: list[PurePath] = field(default_factory=list)
    misnamed: list[tuple[PurePath, PurePath]] = field(default_factory=list)


def _list(folder: Path, role: str) -> list[PurePath]:
    if not folder.is_dir():
        raise PairingError(f'{folder}: no folder of {role}')
    try:
        return [path.relative_to(folder) for path in list_images([folder], recursive=True)]
    except FileNotFoundError as error:
        raise PairingError(f'{folder}: no picture of the {role} in it or its sub-folders') from error


def _index(paths: Iterable[PurePath], by: str, folder: Path) -> dict[str, PurePath]:
    """Map the key under which a picture is looked up to the picture.

    Raises:
        PairingError: two pictures have the same key.
    """
    index: dict[str, PurePath] = {}
    for path in paths:
        key = path.stem if by == 'name' else path.with_suffix('').as_posix()
        if key in index:
            advice = 'use --match path' if by == 'name' else 'remove one of them'
            raise PairingError(f'{folder}: {index[key]} and {path} would both be {key!r}; {advice}')
        index[key] = path
    return index


def pair_folders(pred: Path, truth: Path, protocol: Protocol, by: str = 'path') -> Pairing:
    """Pair the pictures of two folders by their names without suffixes.

    Args:
        pred: folder of the predictions.
        truth: folder of the photographs; those that the protocol does not select do not count.
        protocol: selects and orders the photographs.
        by: 'path' compares paths below the folders, 'name' the names of the files alone.

    Raises:
        PairingError: a folder is missing or empty, two pictures of a folder share a name, or no picture of the one
            folder has a name of the other.
        ValueError: `by` is neither.
    """
    if by not in ('path', 'name'):
        raise ValueError(f"by has to be 'path' or 'name', got {by!r}")
    wanted = _index(protocol.select(_list(truth, 'photographs')), by, truth)
    given = _index(_list(pred, 'predictions'), by, pred)
    pairing = Pairing(pairs=[(path, given[key]) for key, path in wanted.items() if key in given])
    missing = {key: path for key, path in wanted.items() if key not in given}
    extra = {key: path for key, path in given.items() if key not in wanted}
    if not pairing.pairs:
        first = [str(next(iter(paths.values()))) for paths in (given, wanted)]
        advice = 'both folders have to use the same names, sub-folders included'
        if by == 'path' and {path.stem for path in given.values()} & {path.stem for path in wanted.values()}:
            advice = 'the names agree, the sub-folders do not: use --match name'
        elif near := _find_misnamed(missing, extra):
            advice = (
                f'{len(near)} of them differ by case, folder or an addition to the name alone, {near[0][0]} and '
                f'{near[0][1]} for one: give the predictions the names of their photographs'
            )
        raise PairingError(
            f'{pred} ({len(given)} pictures, {first[0]} for one) and {truth} ({len(wanted)}, {first[1]} for one) '
            f'share no name; {advice}'
        )
    pairing.misnamed = _find_misnamed(missing, extra)
    meant = {path for pair in pairing.misnamed for path in pair}
    pairing.missing = [path for path in missing.values() if path not in meant]
    pairing.extra = [path for path in extra.values() if path not in meant]
    return pairing


def find_compared_with_itself(pred: Path, truth: Path, pairing: Pairing) -> list[PurePath]:
    """Find photographs whose prediction is the same file: one folder given twice, or links into the other one."""
    return [photo for photo, picture in pairing.pairs if (truth / photo).samefile(pred / picture)]


def _find_misnamed(missing: dict[str, PurePath], extra: dict[str, PurePath]) -> list[tuple[PurePath, PurePath]]:
    """Find predictions without photograph whose names differ from a missing one's by case, folder or an addition."""
    looser = (
        lambda path: path.with_suffix('').as_posix().lower(),
        lambda path: path.stem.lower(),
        lambda path: _ADDED.sub('', path.stem).lower(),
    )
    found: list[tuple[PurePath, PurePath]] = []
    photographs, predictions = list(missing.values()), list(extra.values())
    for key in looser:
        candidates = defaultdict(list)
        for path in predictions:
            candidates[key(path)].append(path)
        wanted = defaultdict(list)
        for path in photographs:
            wanted[key(path)].append(path)
        # two that might be meant are not guessed between
        pairs = [
            (candidates[name][0], paths[0])
            for name, paths in wanted.items()
            if len(paths) == 1 and len(candidates.get(name, ())) == 1
        ]
        found += pairs
        taken = {path for pair in pairs for path in pair}
        photographs = [path for path in photographs if path not in taken]
        predictions = [path for path in predictions if path not in taken]
    return found
