"""Many photographs at once: which file becomes which, and what is done already. Names only; nothing is read here."""

import glob
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dualattn.io.photos import WRITE_FORMATS, list_images

_NAMED_AT_MOST = 10
# What can be written beside a colorized photograph, and how it ends; None as the photograph itself does. A version of
# its own is 'variant1', 'variant2', ...
BESIDE = {'compare': '.jpg', 'variants': '.jpg', 'doubt': '.jpg', 'variant': None}


@dataclass(frozen=True)
class Job:
    """One photograph to colorize.

    Attributes:
        source: the photograph.
        target: its colorized copy.
        beside: further pictures by what they show, see `BESIDE`.
    """

    source: Path
    target: Path
    beside: Mapping[str, Path] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that the job writes."""
        return (self.target, *self.beside.values())

    @property
    def is_done(self) -> bool:
        """Tell whether all outputs exist."""
        return all(path.exists() for path in self.outputs)


def plan_jobs(
    inputs: Sequence[str | os.PathLike],
    out: Path,
    recursive: bool = False,
    suffix: str = '',
    file_format: str | None = None,
    beside: Sequence[str] = (),
    overwrite: bool = False,
) -> tuple[list[Job], list[Path]]:
    """Give each photograph its outputs; any doubt about the names is an error before work starts.

    Args:
        inputs: photographs, folders and glob patterns; see `dualattn.io.photos.list_images`.
        out: a file, for one photograph, or a folder. A searched folder keeps its structure there.
        recursive: search folders with their subfolders.
        suffix: added to the name of each output.
        file_format: suffix of the outputs without its dot; None keeps that of the input, or takes png.
        beside: what else each job writes, NAME_compare.jpg and the like beside its target; see `BESIDE`.
        overwrite: allow outputs that exist, of one named photograph; of several they count as done.

    Returns:
        The jobs, and the files that were found but are outputs of an earlier run.

    Raises:
        FileNotFoundError: an input names nothing.
        FileExistsError: what a single named photograph becomes exists, and `overwrite` is False.
        ValueError: an output would replace an input, two jobs have one output, or an output cannot be written.
    """
    single = len(inputs) == 1 and os.path.isfile(inputs[0])
    if single and out.suffix and not out.is_dir():
        jobs, earlier = [_make_job(Path(inputs[0]), out, beside)], []
    elif out.suffix.lower() in WRITE_FORMATS and not out.is_dir():
        raise ValueError(f'{out} looks like a file, but several photographs may come: name a folder with -o')
    else:
        jobs, earlier = _plan_folder(inputs, out, recursive, suffix, file_format, beside, overwrite)
    _check_outputs(jobs)
    if single and not overwrite:
        for job in jobs:
            there = [path for path in job.outputs if path.exists()]
            # pictures may be added beside a target; without it, those that exist are somebody's
            if there and (job.is_done or job.target not in there):
                raise FileExistsError(f'{there[-1]} exists; use --overwrite to replace it')
    return jobs, earlier


def _make_job(source: Path, target: Path, beside: Sequence[str]) -> Job:
    endings = {kind: BESIDE[kind.rstrip('0123456789')] or target.suffix for kind in beside}
    return Job(
        source, target, {kind: target.with_name(f'{target.stem}_{kind}{ending}') for kind, ending in endings.items()}
    )


def _plan_folder(inputs, out, recursive, suffix, file_format, beside, overwrite) -> tuple[list[Job], list[Path]]:
    found: dict[Path, tuple[Job, str]] = {}  # by absolute path: a job, and the input that led to it
    for name in map(os.fspath, inputs):
        for source in list_images([name], recursive):
            inside = source.relative_to(name).parent if os.path.isdir(name) else Path()
            kept = source.suffix if source.suffix.lower() in WRITE_FORMATS else '.png'
            target = out / inside / f'{source.stem}{suffix}{f".{file_format}" if file_format else kept}'
            found.setdefault(source.parent.resolve() / source.name, (_make_job(source, target, beside), name))
    # without their suffixes, as another --format may have been chosen then
    makers = defaultdict(set)
    for path, (job, _) in found.items():
        for stem in (job.target.stem, *(f'{job.target.stem}_{kind}' for kind in (*BESIDE, *job.beside))):
            makers[job.target.parent.resolve() / stem].add(path)

    def is_output(path: Path, name: str) -> bool:
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
    return jobs, [job.source for path, (job, name) in found.items() if is_output(path, name)]


def _fixed_part(pattern: str) -> Path:
    """Return the folder in which a pattern starts to search."""
    parts = Path(pattern).parts
    return Path(*parts[: next(index for index, part in enumerate(parts) if glob.has_magic(part))])


def _check_outputs(jobs: list[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    makers: dict[Path, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.target.suffix.lower() not in WRITE_FORMATS:
            allowed = ', '.join(WRITE_FORMATS)
            raise ValueError(f"{job.target}: suffix '{job.target.suffix}' cannot be written, use {allowed}")
        for path in job.outputs:
            makers[path].append(job)
    clashes = [
        f'{" and ".join(str(job.source) for job in group)} would both become {path}'
        for path, group in makers.items()
        if len(group) > 1
    ]
    if clashes:
        raise ValueError(f'{_join(clashes)}; colorize them apart')
    replaced = sorted({path.resolve() for path in makers} & sources)
    if replaced:
        names = _join(map(str, replaced))
        raise ValueError(f'{names} is an input and would be replaced; choose another -o or a --suffix')


def _join(lines) -> str:
    lines = list(lines)
    more = len(lines) - _NAMED_AT_MOST
    return '\n  '.join([*lines[:_NAMED_AT_MOST], *([f'... and {more} more'] if more > 0 else [])])
