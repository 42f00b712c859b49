"""ImageNet's validation set, which is handed out flat, sorted into a folder for each synset."""

import csv
import logging
import re
import tarfile
from pathlib import Path
from typing import IO, cast

from dualattn.engine import DataError

__all__ = ['read_validation_synsets', 'sort_validation']

logger = logging.getLogger(__name__)

COUNT = 50_000
_SYNSET = re.compile(r'n\d{8}')
_GROUND_TRUTH = 'ILSVRC2012_validation_ground_truth.txt'
_META = 'meta.mat'
_LARGEST = 64 * 2**20  # bytes of a file inside the devkit's archive


def _devkit_files(path: Path) -> dict[str, bytes]:
    """Read the two files of the devkit, from its folder or its archive."""
    wanted = (_GROUND_TRUTH, _META)
    if path.is_dir():
        return {file.name: file.read_bytes() for file in sorted(path.rglob('*')) if file.name in wanted}
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in wanted and member.isfile() and member.size <= _LARGEST:
                    found[name] = cast(IO[bytes], archive.extractfile(member)).read()  # None of what is no file
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f'{path} is no readable archive ({str(error).splitlines()[0]})') from error
    return found


def read_validation_synsets(path: Path) -> dict[str, str]:
    """Read which synset each validation image shows.

    Args:
        path: LOC_val_solution.csv, or the devkit (ILSVRC2012_devkit_t12) as a folder or a .tar.gz.

    Returns:
        Name of the image without suffix -> WordNet id.

    Raises:
        FileNotFoundError: there is no such file or folder.
        DataError: it is something else.
    """
    if not path.exists():
        raise FileNotFoundError(f'no ground truth at {path}')
    if path.suffix.lower() == '.csv':
        try:
            with open(path, newline='', encoding='utf-8') as file:
                rows = [row for row in csv.reader(file) if len(row) >= 2 and row[0] != 'ImageId']
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f'{path} is no table of text ({error}); expected LOC_val_solution.csv') from error
        synsets = {name: prediction.split()[0] if prediction.split() else '' for name, prediction, *_ in rows}
    else:
        files = _devkit_files(path)
        missing = [name for name in (_GROUND_TRUTH, _META) if name not in files]
        if missing:
            raise DataError(f'{path} has no {" and no ".join(missing)}; expected the devkit or LOC_val_solution.csv')
        import io

        from scipy.io import loadmat

        table = loadmat(io.BytesIO(files[_META]), squeeze_me=True)['synsets']
        ids = {int(row['ILSVRC2012_ID']): str(row['WNID']) for row in table}
        numbers = files[_GROUND_TRUTH].decode().split()
        unknown = [number for number in numbers if not number.isdigit() or int(number) not in ids]
        if unknown:
            raise DataError(f'{path}: {unknown[0]!r} is no ILSVRC2012_ID of its {_META}')
        synsets = {f'ILSVRC2012_val_{i:08d}': ids[int(number)] for i, number in enumerate(numbers, start=1)}
    bad = [f'{name} -> {synset!r}' for name, synset in synsets.items() if not _SYNSET.fullmatch(synset)]
    if bad or not synsets:
        raise DataError(f'{path} does not tell synsets of validation images{f", {bad[0]} for one" if bad else ""}')
    return synsets


def sort_validation(folder: Path, ground_truth: Path) -> tuple[int, int]:
    """Move the images that lie directly in `folder` into a sub-folder for each synset; interrupted, it can go on.

    Returns:
        The numbers of images that were moved, and that lay in a sub-folder already.

    Raises:
        FileNotFoundError: no ground truth there.
        DataError: the ground truth is something else, does not know an image, or contradicts where one lies already;
            then nothing is moved.
    """
    synsets = read_validation_synsets(ground_truth)
    flat = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in ('.jpeg', '.jpg'))
    unknown = [path.name for path in flat if path.stem not in synsets]
    if unknown:
        raise DataError(f'{ground_truth} does not know {len(unknown)} images of {folder}, {unknown[0]} for one')
    there = [path for path in folder.glob('n[0-9]*/*') if path.is_file()]
    misplaced = [path for path in there if synsets.get(path.stem, path.parent.name) != path.parent.name]
    if misplaced:
        first = misplaced[0]
        raise DataError(
            f'{len(misplaced)} images lie in the folder of another synset than {ground_truth} says, {first} for one, '
            f'which is of {synsets[first.stem]}'
        )
    if len(synsets) < COUNT:
        logger.warning(
            "%s tells the synsets of %s images, ImageNet's validation set has %s",
            ground_truth,
            f'{len(synsets):,}',
            f'{COUNT:,}',
        )
    for path in flat:
        target = folder / synsets[path.stem]
        target.mkdir(exist_ok=True)
        path.rename(target / path.name)
    return len(flat), len(there)
