"""A record of what became of each photograph, one line of JSON each, that a later run goes on from."""

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

from colorization.batch import COPIED, DONE, IN_COLOR, Outcome
from colorization.jobs import Job
from dualattn.io.files import hash_file
from dualattn.io.photos.messages import printable


class Manifest:
    """A file of JSON lines: input, outputs, sha256, state, seconds, weights, messages, and doubt where it was measured.

    Several runs may write to one file: each line is added in one piece.

    Args:
        path: the file; it is made, or added to.
        weights: SHA-256 of the weights of this run.

    Raises:
        ValueError: a line of the file is no record; one may be cut, by a run that was ended.
    """

    def __init__(self, path: Path, weights: str | None):
        self.path = path
        self.weights = weights
        self._before = ''
        self._done: dict[tuple, set[str]] = {}  # by key and state, the outputs
        if path.exists():
            self._read()
        with open(path, 'ab+') as file:  # refused now rather than after the first photograph
            if file.tell():
                file.seek(-1, os.SEEK_END)
                file.write(b'' if file.read() == b'\n' else b'\n')  # the next line stands alone

    def _read(self) -> None:
        text = self.path.read_text(encoding='utf-8', errors='surrogateescape')
        for number, line in enumerate(text.split('\n'), start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                key = (entry['input'], entry.get('page'), entry['size'], entry['mtime_ns'], entry['weights'])
                state, outputs = entry['state'], set(entry['outputs'])
            except (ValueError, KeyError, TypeError) as error:
                if line.startswith('{'):
                    continue  # cut by the end of a run: its photograph is done again
                raise ValueError(f'{self.path}: line {number} is no record of a photograph') from error
            if state in (DONE, COPIED, IN_COLOR):
                self._done.setdefault((key, state), set()).update(outputs)

    def has_done(self, job: Job, if_color: str = 'skip') -> bool:
        """Tell whether a photograph, unchanged since, was done with these weights; its outputs are not looked at.

        Args:
            job: the photograph; one that became other files than it is to become now is not done.
            if_color: see `batch.Settings`: one that was found to be in colour is done if that is what it is left for.
        """
        key = self._key(job)
        if self._done.get((key, DONE), set()) >= set(map(_absolute, job.outputs)):
            return True
        if job.is_named or if_color == 'redo':  # which is colorized also if it is in colour
            return False
        if if_color == 'copy':
            return (key, COPIED) in self._done and _absolute(job.copied_to) in self._done[key, COPIED]
        return (key, IN_COLOR) in self._done

    def add(self, outcome: Outcome) -> None:
        """Add the record of a photograph.

        Raises:
            OSError: the file cannot be written.
        """
        job = outcome.job
        source, page, size, mtime, weights = self._key(job)
        outputs = (*job.outputs, job.copied_to) if outcome.state == COPIED else job.outputs
        hashes = {_absolute(path): hash_file(path) for path in outputs if path.exists()}
        entry: dict[str, Any] = dict(
            input=source,
            page=page,
            size=size,
            mtime_ns=mtime,
            outputs=list(hashes),
            sha256=hashes,
            state=outcome.state,
            seconds=round(outcome.seconds, 3),
            weights=weights,
            messages=outcome.messages,
        )
        if outcome.doubt is not None:
            entry['doubt'] = outcome.doubt
        if outcome.reason:
            entry['reason'] = outcome.reason
        line = (self._before + json.dumps(entry) + '\n').encode()
        with open(self.path, 'ab', buffering=0) as file:
            written = file.write(line)
        self._before = '' if written == len(line) else '\n'  # behind a cut line the next one stands alone
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(self.path))

    def _key(self, job: Job) -> tuple:
        size = mtime = None
        with contextlib.suppress(OSError):  # it has vanished, which is its outcome
            status = os.stat(job.source)
            size, mtime = status.st_size, status.st_mtime_ns
        return _absolute(job.source), job.page, size, mtime, self.weights


def _absolute(path: Path) -> str:
    return printable(os.path.abspath(path))
