"""A data set of photographs made ready: checked, listed, hashed, and copied at the size of its protocols."""

import errno
import logging
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePath

import torch
from PIL import Image

from colorization.evaluation.protocols import Protocol, get_protocol
from dualattn.engine import DataError
from dualattn.io.files import hash_file, write_json, write_whole
from dualattn.io.photos import ImageError, list_images, read_rgb
from dualattn.io.records import hash_lines

__all__ = ['SOURCES', 'DiskFullError', 'PreparedProtocol', 'Source', 'prepare_protocol']

logger = logging.getLogger(__name__)


class DiskFullError(OSError):
    """The disk took no more in the middle of a preparation; what is done stays, and the next run goes on there."""


@dataclass(frozen=True)
class Source:
    """Where a data set keeps the photographs of its validation, and under which protocols they are tested.

    Attributes:
        folders: places below the root, the usual one first.
        protocols: names of protocols.
        where: what to download, for the message when it is missing.
    """

    folders: tuple[str, ...]
    protocols: tuple[str, ...]
    where: str

    def find(self, root: Path) -> Path:
        """Return the folder of the photographs below `root`.

        Raises:
            DataError: there is none; says which are looked for.
        """
        if not root.is_dir():
            raise DataError(f'{root}: no such folder; expected the data set as it was unpacked. {self.where}')
        for folder in self.folders:
            if (root / folder).is_dir():
                return root / folder
        looked = ', '.join(str(root / folder) for folder in self.folders)
        raise DataError(f'no photographs: looked for {looked}. {self.where}')


SOURCES = {
    'imagenet': Source(
        ('val', 'ILSVRC2012_img_val', 'ILSVRC/Data/CLS-LOC/val'),
        ('imagenet-val5k', 'imagenet-val50k'),
        'Unpack ILSVRC2012_img_val.tar into ROOT/val (and the training set into ROOT/train, a folder a synset).',
    ),
    'coco-stuff': Source(
        ('val2017', 'images/val2017'),
        ('coco-stuff',),
        "Unpack COCO's val2017.zip into ROOT/val2017; COCO-Stuff has no photographs of its own.",
    ),
    'ade20k': Source(
        ('images/validation', 'ADEChallengeData2016/images/validation'),
        ('ade20k',),
        'Unpack ADEChallengeData2016.zip into ROOT.',
    ),
    'celeba-hq': Source(
        ('CelebA-HQ-img', 'celeba_hq', 'images', '.'),
        ('celeba-hq',),
        'Put the 30,000 pictures of CelebA-HQ into ROOT/CelebA-HQ-img.',
    ),
}


@dataclass
class PreparedProtocol:
    """What a preparation came to.

    Attributes:
        protocol: which one.
        files: photographs that were selected.
        hashes: sha256 of each that can be read, by its path.
        unreadable: (path, reason) of the others.
        made: copies written by this run.
        kept: copies that a former run had written.
    """

    protocol: Protocol
    files: list[PurePath]
    hashes: dict[PurePath, str] = field(default_factory=dict)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    made: int = 0
    kept: int = 0

    @property
    def complete(self) -> bool:
        """Whether all photographs of the protocol are there and can be read."""
        return not self.unreadable and self.protocol.count in (None, len(self.files))


def _prepare_one(source: Path, copy: Path | None, protocol: Protocol) -> tuple[str | None, str, bool]:
    """Hash a photograph and write its copy unless it is there.

    Returns:
        sha256, or None where the photograph cannot be read; the reason of that; whether a copy was written.
    """
    digest = hash_file(source)
    if copy is not None and copy.is_file() and copy.stat().st_mtime >= source.stat().st_mtime:
        return digest, '', False  # copies appear whole or not at all
    try:
        rgb = torch.from_numpy(read_rgb(source)).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
    except ImageError as error:
        return None, str(error), False
    if copy is None:
        return digest, '', False
    copy.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(copy) as aside:
        Image.fromarray(protocol.prepare(rgb).permute(1, 2, 0).contiguous().numpy()).save(aside, compress_level=4)
    return digest, '', True


def _one_thread() -> None:
    torch.set_num_threads(1)


def _run(
    tasks: Sequence[tuple[Path, Path | None, Protocol]], workers: int
) -> Iterator[tuple[int, tuple[str | None, str, bool]]]:
    """Prepare one after the other, or in processes with a bounded queue; yields the index and the result of each."""
    if workers <= 1:
        for index, task in enumerate(tasks):
            yield index, _prepare_one(*task)
        return
    context = multiprocessing.get_context('spawn')  # a forked process may hang in torch's threads
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        try:
            waiting = iter(enumerate(tasks))
            futures = {pool.submit(_prepare_one, *task): index for index, task in islice(waiting, 8 * workers)}
            while futures:
                for future in as_completed(list(futures)):
                    yield futures.pop(future), future.result()
                    for index, task in islice(waiting, 1):
                        futures[pool.submit(_prepare_one, *task)] = index
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def prepare_protocol(
    folder: Path,
    out: Path,
    name: str,
    copies: bool = True,
    workers: int = 1,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> PreparedProtocol:
    """Prepare the photographs of a protocol: `out/NAME/` the copies, `out/lists/NAME.*` the lists.

    `NAME.txt` has a path below `folder` in each line, in the protocol's order, as `ColorImageDataset(list_file=...)`
    takes it; `NAME.sha256` is for `sha256sum --check` inside `folder`. Lists appear when everything is done. A run that
    was interrupted is taken up where it ended.

    Args:
        folder: of the photographs.
        out: where to write.
        name: of the protocol.
        copies: also write copies, PNG of the size that the protocol asks for.
        workers: processes.
        progress: wraps an iterable of a known length, as tqdm does.

    Raises:
        DataError: no photograph in the folder.
        DiskFullError: the disk is full.
    """
    protocol = get_protocol(name)
    try:
        found = [path.relative_to(folder) for path in list_images([folder], recursive=True)]
    except FileNotFoundError as error:
        raise DataError(f'{folder} holds no photograph') from error
    files = protocol.select(found)
    if (out / name).resolve().is_relative_to(folder.resolve()):
        raise DataError(f'{out / name} lies inside the photographs of {folder}; name another folder with --out')
    # by name alone where the protocol sorts so: predictions of others lie in one folder
    flat = protocol.sort_by == 'name'
    targets = [out / name / (path.with_suffix('.png').name if flat else path.with_suffix('.png')) for path in files]
    twice = len(targets) - len(set(targets))
    if twice:
        raise DataError(f'{folder}: {twice} photographs have the name of another one, suffixes aside')
    tasks = [(folder / path, target if copies else None, protocol) for path, target in zip(files, targets, strict=True)]
    result = PreparedProtocol(protocol, files)
    done = 0
    try:
        (out / 'lists').mkdir(parents=True, exist_ok=True)
        for index, (digest, reason, made) in progress(_run(tasks, workers), len(tasks)):
            done += 1
            if digest is None:
                result.unreadable.append((str(files[index]), reason))
            else:
                result.hashes[files[index]] = digest
                result.made += made
                result.kept += copies and not made
        readable = [path for path in files if path in result.hashes]
        sums = [f'{result.hashes[path]}  {path.as_posix()}' for path in readable]
        _write_lines(out / 'lists' / f'{name}.txt', [path.as_posix() for path in readable])
        _write_lines(out / 'lists' / f'{name}.sha256', sums)
        _write_manifest(out / 'lists' / f'{name}.json', result, hash_lines(sums))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                error.errno,
                f'the disk of {out} is full after {done:,} of {len(tasks):,} photographs; what is there is whole: make '
                'room and give the same command again',
            ) from error
        raise
    return result


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with write_whole(path) as aside:
        aside.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8', newline='\n')


def _write_manifest(path: Path, result: PreparedProtocol, list_sha256: str) -> None:
    write_json(
        path,
        dict(
            protocol=result.protocol.to_dict(),
            found=len(result.files),
            readable=len(result.hashes),
            complete=result.complete,
            unreadable=[dict(file=file, reason=reason) for file, reason in result.unreadable],
            list_sha256=list_sha256,
        ),
    )
