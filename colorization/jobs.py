"""Many photographs at once: which file becomes which, and what is done already. Names only; nothing is read here."""

import glob
import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dualattn.io.files import find_files
from dualattn.io.photos import IMAGE_SUFFIXES, WRITE_FORMATS
from dualattn.io.photos.messages import printable

_NAMED_AT_MOST = 10
# What can be written beside a colorized photograph, and how it ends; None as the photograph itself does. A version of
# its own is 'variant1', 'variant2', ...
BESIDE = {'compare': '.jpg', 'variants': '.jpg', 'doubt': '.jpg', 'variant': None, 'layer': '.tif'}
_LONGEST_NAME = 255  # bytes; what the file systems of today take


@dataclass(frozen=True)
class Job:
    """One photograph to colorize.

    Attributes:
        source: the photograph.
        target: its colorized copy.
        beside: further pictures by what they show, see `BESIDE`.
        page: which page of a TIFF, from 1; None takes the photograph of the file.
        is_named: whether the user named this very file, not a folder or pattern that it is in.
        copy: where it is copied to as it is, if it is in colour already and such photographs are to be copied; None
            names it as the target, with the suffix of the source.
    """

    source: Path
    target: Path
    beside: Mapping[str, Path] = field(default_factory=dict)
    page: int | None = None
    is_named: bool = False
    copy: Path | None = None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that the job writes."""
        return (self.target, *self.beside.values())

    @property
    def copied_to(self) -> Path:
        """Where the photograph is copied to if it is in colour already."""
        return self.copy or _shortened(self.target.with_suffix(self.source.suffix), 0)

    @property
    def is_done(self) -> bool:
        """Tell whether all outputs exist."""
        return all(path.exists() for path in self.outputs)


@dataclass
class Plan:
    """What a run will do.

    Attributes:
        jobs: in the order of their names.
        earlier: files that were found but are outputs of an earlier run.
        passed_over: by suffix, how many files of searched folders are not looked at.
        renamed: how many jobs got a longer name, since two would have had the same.
    """

    jobs: list[Job]
    earlier: list[Path] = field(default_factory=list)
    passed_over: Counter = field(default_factory=Counter)
    renamed: int = 0


def plan_jobs(
    inputs: Sequence[str | os.PathLike],
    out: Path,
    recursive: bool = False,
    suffix: str = '',
    file_format: str | None = None,
    beside: Sequence[str] = (),
    overwrite: bool = False,
    listed: Sequence[str] = (),
    copies: bool = False,
) -> Plan:
    """Give each photograph its outputs; any doubt about the names is an error before work starts.

    Two photographs that would become one file get names that differ, with the suffix of the source in them; names are
    compared as file systems do that ignore case. All that is decided on the whole listing.

    Args:
        inputs: photographs, folders and glob patterns; see `dualattn.io.files.find_files`.
        out: a file, for one photograph, or a folder. A searched folder keeps its structure there.
        recursive: search folders with their subfolders.
        suffix: added to the name of each output.
        file_format: suffix of the outputs without its dot; None keeps that of the input, or takes png.
        beside: what else each job writes, NAME_compare.jpg and the like beside its target; see `BESIDE`.
        overwrite: allow outputs that exist, of one named photograph; of several they count as done.
        listed: further photographs, from a list; their folders below the one they share are kept.
        copies: photographs that are in colour already will be copied; those copies get names that differ, too.

    Raises:
        FileNotFoundError: an input names nothing.
        FileExistsError: what a single named photograph becomes exists, and `overwrite` is False.
        ValueError: an output would replace an input, an output cannot be written, or `out` is a file of another format
            or suffix than is asked for.
    """
    single = len(inputs) == 1 and not listed and os.path.isfile(inputs[0])
    if single and out.suffix and not out.is_dir():
        is_other = file_format is not None and WRITE_FORMATS.get(out.suffix.lower()) != WRITE_FORMATS[f'.{file_format}']
        if is_other or not out.stem.endswith(suffix):
            raise ValueError(f'{out} says how the output is called; leave out --format and --suffix, or name a folder')
        plan = Plan([_make_job(Path(inputs[0]), out, beside, is_named=True)])
    elif out.suffix.lower() in WRITE_FORMATS and not out.is_dir():
        raise ValueError(f'{out} looks like a file, but several photographs may come: name a folder with -o')
    else:
        plan = _plan_folder(inputs, listed, out, recursive, suffix, file_format, beside, overwrite)
    if copies:
        plan.jobs = [replace(job, copy=job.copied_to) for job in plan.jobs]
    _check_outputs(plan.jobs)  # also before names are changed: one that is an input is a mistake, not a clash
    plan.jobs, plan.renamed = _name_apart(plan.jobs)
    _check_outputs(plan.jobs)
    if single and not overwrite:
        for job in plan.jobs:
            there = [path for path in job.outputs if path.exists()]
            # pictures may be added beside a target; without it, those that exist are somebody's
            if there and (job.is_done or job.target not in there):
                raise FileExistsError(f'{there[-1]} exists; use --overwrite to replace it')
    return plan


def choose_format(source: Path, file_format: str | None) -> str:
    """Return how the output of a photograph ends: '.png' where its own format cannot be written, nor another is named.

    Args:
        source: the photograph.
        file_format: what the user asks for, without the dot.
    """
    if file_format is not None:
        return f'.{file_format}'
    return source.suffix if source.suffix.lower() in WRITE_FORMATS else '.png'


def take_shard(jobs: Sequence[Job], index: int, count: int) -> list[Job]:
    """Return the jobs of one of several machines, from 1 to `count`: every one is in exactly one shard."""
    if not 1 <= index <= count:
        raise ValueError(f'shard {index} of {count}: it must be from 1 to {count}')
    return list(jobs[index - 1 :: count])


def name_outputs(jobs: Sequence[Job]) -> frozenset[str]:
    """Return the names of all outputs, as file systems compare them that ignore case."""
    return frozenset(_folded(path) for job in jobs for path in job.outputs)


def split_pages(job: Job, count: int, taken: Collection[str] = ()) -> list[Job]:
    """Return a job for each page of a TIFF, NAME_p001 and so on; the job itself where there is one page.

    Args:
        job: the photograph.
        count: its number of pages.
        taken: what `name_outputs` says of all jobs, this one included: where a page would get such a name, the suffix
            of the source stands in the names of all pages.
    """
    if count < 2:
        return [job]
    stems = (job.target.stem, f'{job.target.stem}{job.source.suffix}', f'{job.target.stem}{job.source.suffix}_page')
    for stem in stems:
        jobs = _name_pages(job, count, stem)
        if not any(_folded(path) in taken for each in jobs for path in each.outputs):
            break
    return jobs


def _name_pages(job: Job, count: int, stem: str) -> list[Job]:
    jobs = []
    more = max((len(kind) + 2 for kind in job.beside), default=0)
    for page in range(1, count + 1):
        target = _shortened(job.target.with_name(f'{stem}_p{page:03}{job.target.suffix}'), more)
        beside = {kind: path.with_name(f'{target.stem}_{kind}{path.suffix}') for kind, path in job.beside.items()}
        jobs.append(replace(job, target=target, beside=beside, page=page))
    return jobs


def _make_job(source: Path, target: Path, beside: Sequence[str], is_named: bool = False) -> Job:
    target = _shortened(target, max((len(kind) + 2 for kind in beside), default=0))
    endings = {kind: BESIDE[kind.rstrip('0123456789')] or target.suffix for kind in beside}
    pictures = {kind: target.with_name(f'{target.stem}_{kind}{ending}') for kind, ending in endings.items()}
    return Job(source, target, pictures, is_named=is_named)


def _shortened(path: Path, more: int) -> Path:
    """Return a path whose name, with so many bytes more, a file system takes: cut, and told apart by a hash."""
    name = os.fsencode(path.name)
    if len(name) + more <= _LONGEST_NAME:
        return path
    mark = f'~{hashlib.sha256(name).hexdigest()[:8]}{path.suffix}'
    kept = name[: _LONGEST_NAME - more - len(os.fsencode(mark))].decode('utf-8', 'ignore')
    return path.with_name(kept + mark)


def _plan_folder(inputs, listed, out, recursive, suffix, file_format, beside, overwrite) -> Plan:
    # by absolute path: a job, and the input that led to it, None for a list
    found: dict[Path, tuple[Job, str | None]] = {}
    passed_over: Counter = Counter()

    def add(source: Path, inside: Path, name: str | None, is_named: bool) -> None:
        target = out / inside / f'{source.stem}{suffix}{choose_format(source, file_format)}'
        job = _make_job(source, target, beside, is_named)
        found.setdefault(source.parent.resolve() / source.name, (job, name))

    for name in map(os.fspath, inputs):
        is_folder = os.path.isdir(name)
        if is_folder:
            passed_over += _count_others(name, recursive, out)
        is_named = not is_folder and os.path.exists(name)
        try:
            sources = find_files([name], IMAGE_SUFFIXES, recursive)
        except FileNotFoundError:
            if not (is_folder and passed_over):
                raise
            sources = {}  # what is there instead is counted
        for source in sources:
            add(source, source.relative_to(name).parent if is_folder else Path(), name, is_named)
    for source, inside in _inside_common_folder(listed):
        add(source, inside, None, is_named=False)
    # without their suffixes, as another --format may have been chosen then
    makers = defaultdict(set)
    for path, (job, _) in found.items():
        stems = (job.target.stem, f'{job.source.stem}{suffix}{job.source.suffix}')
        for stem in (*stems, *(f'{stem}_{kind}' for stem in stems for kind in (*BESIDE, *job.beside))):
            makers[job.target.parent.resolve() / stem].add(path)

    def is_output(path: Path, name: str | None) -> bool:
        if name is None:
            return False
        is_folder = os.path.isdir(name)
        if not is_folder and os.path.exists(name):
            return False  # named by the user
        is_made = bool(makers[path.parent / path.stem] - {path})
        if suffix and is_made:
            return True
        base = Path(name if is_folder else _fixed_part(name)).resolve()
        if base not in out.resolve().parents or out.resolve() not in path.parents:
            return False
        # A pattern may well mean the photographs in the output folder: with --overwrite they would be lost.
        return is_folder or (is_made and not overwrite)

    jobs = [job for path, (job, name) in found.items() if not is_output(path, name)]
    earlier = [job.source for path, (job, name) in found.items() if is_output(path, name)]
    return Plan(jobs, earlier, passed_over)


def _count_others(folder: str, recursive: bool, out: Path) -> Counter:
    """Count by suffix the files of a folder that are not looked at; hidden ones and the output folder left out."""
    found: Counter = Counter()
    skipped = out.resolve()
    visited: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # a circle of links
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [
            name
            for name in folders
            if recursive and not name.startswith('.') and Path(parent, name).resolve() != skipped
        ]
        for name in names:
            suffix = os.path.splitext(name)[1]
            if not name.startswith('.') and suffix.lower() not in IMAGE_SUFFIXES:
                found[suffix.lower() or 'without a suffix'] += 1
    return found


def _inside_common_folder(listed: Iterable[str]) -> list[tuple[Path, Path]]:
    """Return each listed file and its folder below the one that all of them share.

    One that is not there fails when it is read, as any other that cannot be: the rest of a long list is wanted.

    Raises:
        FileNotFoundError: none of them is there.
    """
    paths = [Path(name) for name in listed]
    if paths and not any(path.is_file() for path in paths):
        raise FileNotFoundError(
            f'none of the {len(paths)} photographs of the list is there: {_join(map(printable, paths))}; '
            'their names count from the folder that the command is started in'
        )
    if not paths:
        return []
    common = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    return [(path, path.absolute().parent.relative_to(common)) for path in paths]


def _fixed_part(pattern: str) -> Path:
    """Return the folder in which a pattern starts to search."""
    parts = Path(pattern).parts
    return Path(*parts[: next(index for index, part in enumerate(parts) if glob.has_magic(part))])


def _name_apart(jobs: list[Job]) -> tuple[list[Job], int]:
    """Return the jobs with outputs that differ, and how many got another name."""
    named = {(index, 'target'): job.target for index, job in enumerate(jobs)}
    named |= {(index, kind): path for index, job in enumerate(jobs) for kind, path in job.beside.items()}
    named |= {(index, 'copy'): job.copy for index, job in enumerate(jobs) if job.copy not in (None, job.target)}
    users = Counter(_folded(path) for path in named.values())
    taken = {_folded(path) for path in named.values() if users[_folded(path)] == 1}
    changed = set()
    for (index, kind), path in named.items():
        if users[_folded(path)] == 1:
            continue
        source = jobs[index].source
        end = '' if kind in ('target', 'copy') else f'_{kind}'
        stem = path.stem.removesuffix(end) + source.suffix
        for number in range(1, len(named) + 2):
            more = '' if number == 1 else f'_{number}'
            candidate = _shortened(path.with_name(f'{stem}{more}{end}{path.suffix}'), 0)
            if _folded(candidate) not in taken:
                break
        taken.add(_folded(candidate))
        named[index, kind] = candidate
        changed.add(index)
    renamed = [
        replace(
            job,
            target=named[index, 'target'],
            beside={kind: named[index, kind] for kind in job.beside},
            copy=named.get((index, 'copy'), job.copy and named[index, 'target']),
        )
        for index, job in enumerate(jobs)
    ]
    return renamed, len(changed)


def _folded(path: Path) -> str:
    """Return a path as file systems compare it that ignore case and composition, which an output may be moved to."""
    return unicodedata.normalize('NFC', os.path.abspath(path)).casefold()


def _check_outputs(jobs: list[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        if job.target.suffix.lower() not in WRITE_FORMATS:
            allowed = ', '.join(WRITE_FORMATS)
            raise ValueError(f"{job.target}: suffix '{job.target.suffix}' cannot be written, use one of {allowed}")
    copies = {job.copy.resolve() for job in jobs if job.copy is not None and job.copy.resolve() != job.source.resolve()}
    replaced = sorted(({path.resolve() for job in jobs for path in job.outputs} | copies) & sources)
    if replaced:
        names = _join(map(printable, replaced))
        raise ValueError(f'{names} is an input and would be replaced; choose another -o or a --suffix')


def _join(lines) -> str:
    lines = list(lines)
    more = len(lines) - _NAMED_AT_MOST
    return '\n  '.join([*lines[:_NAMED_AT_MOST], *([f'... and {more} more'] if more > 0 else [])])
