"""One table's grid of trainings under a budget of time, in rounds of equally many iterations for every row."""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colorization.evaluation.papers import PaperTable
from dualattn.io.files import write_json

__all__ = [
    'TOO_SHORT',
    'AblationError',
    'AblationStopped',
    'Plan',
    'Run',
    'read_curve',
    'run_grid',
    'summarize',
    'to_markdown',
]

_TERMINATED = 128 + signal.SIGTERM  # exit code of a training that SIGTERM has ended, see PreemptionHook
TOO_SHORT = 1500  # iterations below which a row says nothing
_STYLES = ('-', '--', ':', '-.')  # of the seeds' lines
METRICS = {'PSNR': 'color/PSNR', 'CF': 'color/CF_abs', 'ΔCF': 'color/CF_abs_delta'}


class AblationError(ValueError):
    """A grid that cannot be run or gone on with."""


class AblationStopped(AblationError):
    """A grid that was told to end by SIGTERM; its training has kept a checkpoint, and the same command goes on."""


@dataclass(frozen=True)
class Run:
    """One row of a table with one seed.

    Attributes:
        row: name of the row.
        config: its config.
        seed: of weights, order and augmentation.
        work_dir: of its training.
        options: `--cfg-options` of this row alone.
    """

    row: str
    config: str
    seed: int
    work_dir: Path
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What makes two calls the same grid; kept in the work dir, so that a later call goes on with it or is refused.

    Attributes:
        table: name of the paper's table.
        seeds: of each row.
        round: iterations of a round.
        options: `--cfg-options` of every training.
    """

    table: str
    seeds: tuple[int, ...]
    round: int
    options: tuple[str, ...]

    def runs(self, paper: PaperTable, configs: Path, work_dir: Path) -> list[Run]:
        """List the trainings: seed by seed, so that a short budget has every row with the first seed."""
        return [
            Run(row, str(configs / Path(config).relative_to('configs')), seed, work_dir / _slug(row) / f'seed_{seed}')
            for seed in self.seeds
            for row, config in paper.configs.items()
        ]

    def keep(self, work_dir: Path) -> None:
        """Write the plan, or compare it with the one that is there.

        Raises:
            AblationError: another plan is there.
        """
        path = work_dir / 'plan.json'
        mine = dict(table=self.table, seeds=list(self.seeds), round=self.round, options=list(self.options))
        if path.exists():
            try:
                theirs = json.loads(path.read_text(encoding='utf-8'))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise AblationError(f'{path} is broken ({error}); name another --work-dir') from error
            if theirs != mine:
                different = [name for name in mine if theirs.get(name) != mine[name]]
                raise AblationError(
                    f'{work_dir} holds another grid, with other {", ".join(different)} ({path}); name another '
                    '--work-dir, or give the same arguments to go on'
                )
        else:
            work_dir.mkdir(parents=True, exist_ok=True)
            write_json(path, mine)


def _slug(name: str) -> str:
    return ''.join(letter if letter.isalnum() else '_' for letter in name).strip('_').lower()


def read_curve(work_dir: Path) -> dict[int, dict[str, float]]:
    """Read what validation measured: iteration -> metric -> value, over all starts of a training, the last one ruling.

    Lines that a kill has cut are left out.
    """
    curve: dict[int, dict[str, float]] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if METRICS['PSNR'] in entry and 'step' in entry:
                curve[int(entry['step'])] = {name: float(entry[key]) for name, key in METRICS.items() if key in entry}
    return curve


def _train(run: Run, iterations: int, plan: Plan) -> int:
    """Train in a process of its own, which a SIGTERM to this one is handed on to; returns its exit code."""
    command = [
        *(sys.executable, '-m', 'dualattn', 'train', run.config),
        *('--work-dir', str(run.work_dir), '--resume', '--cfg-options'),
        *(f'train_cfg.max_iters={iterations}', f'train_cfg.val_interval={plan.round}'),
        *(
            f'default_hooks.checkpoint.interval={plan.round}',
            f'randomness.seed={run.seed}',
            *plan.options,
            *run.options,
        ),
    ]
    run.work_dir.mkdir(parents=True, exist_ok=True)
    children: list[subprocess.Popen] = []
    told_to_end = []

    def hand_on(signum: int, frame: object) -> None:
        told_to_end.append(signum)
        for child in children:
            child.terminate()

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        with (
            open(run.work_dir / 'train.log', 'a', encoding='utf-8') as log,
            subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process,
        ):
            children.append(process)
            if told_to_end:  # before there was a child
                process.terminate()
            return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def run_grid(
    plan: Plan,
    runs: Sequence[Run],
    budget: float,
    tell: Callable[[str], None],
    train: Callable[[Run, int, Plan], int] = _train,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Train in rounds until the budget is spent; every row of the grid ends with the same number of iterations.

    A training begins only if the longest one of its round so far still fits. The first round is always begun.

    Args:
        plan: of the grid.
        runs: its trainings.
        budget: seconds.
        tell: takes a line for the user.
        train: trains one to a number of iterations, returns the exit code.
        clock: seconds.

    Returns:
        The iterations that all trainings have.

    Raises:
        AblationStopped: this process was told to end.
        AblationError: a training failed; names its log.
    """
    start = clock()
    longest = 0.0
    number = min(max(read_curve(run.work_dir), default=0) for run in runs) // plan.round
    while True:
        target = (number + 1) * plan.round
        for run in runs:
            if max(read_curve(run.work_dir), default=0) >= target:
                continue  # a former call ended in the midst of this round
            left = budget - (clock() - start)
            if left <= 0 or longest > left:
                tell(f'the budget ends in round {number + 1}: all rows have {number * plan.round} iterations')
                return number * plan.round
            began = clock()
            code = train(run, target, plan)
            longest = max(longest, clock() - began)
            if code in (_TERMINATED, -signal.SIGTERM):  # the latter before its hook was there
                raise AblationStopped(f'stopped in {run.row}, seed {run.seed}; the same command goes on from there')
            if code:
                raise AblationError(
                    f'{run.row}, seed {run.seed}: the training ended with code {code}, see {run.work_dir}/train.log'
                )
            reached = max(read_curve(run.work_dir), default=0)
            if reached < target:
                raise AblationError(f'{run.row}, seed {run.seed}: validated at {reached}, expected {target}')
            tell(f'{run.row}, seed {run.seed}: {target} iterations, {clock() - began:.0f} s')
        number += 1


@dataclass(frozen=True)
class Row:
    """What a row came to: per metric the mean over seeds and the spread, (max - min) / 2; None with one seed."""

    name: str
    means: dict[str, float]
    spreads: dict[str, float | None]
    ranks: dict[str, str]


def summarize(plan: Plan, runs: Sequence[Run], iterations: int) -> list[Row]:
    """Average the seeds of each row at a number of iterations, and rank what can be ranked.

    Two rows are apart where their means differ by more than the sum of their spreads. A row's rank is the range of
    places that this leaves it; a row that is too short, or has one seed, has none.

    Raises:
        AblationError: a training was not validated at that iteration.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        at = read_curve(run.work_dir).get(iterations)
        if at is None:
            raise AblationError(f'{run.row}, seed {run.seed}: no validation at iteration {iterations}')
        for metric, value in at.items():
            values.setdefault(run.row, {}).setdefault(metric, []).append(value)
    means = {
        row: {metric: float(np.mean(found)) for metric, found in columns.items()} for row, columns in values.items()
    }
    several = len(plan.seeds) > 1
    spreads = {
        row: {metric: (max(found) - min(found)) / 2 for metric, found in columns.items()}
        for row, columns in values.items()
    }
    may_rank = several and iterations >= TOO_SHORT
    rows = []
    for row in values:
        ranks = {}
        for metric, sign in (('PSNR', 1), ('ΔCF', -1)) if may_rank else ():
            gaps = [
                (sign * (means[other][metric] - means[row][metric]), spreads[other][metric] + spreads[row][metric])
                for other in values
                if other != row
            ]
            first = 1 + sum(gap > spread for gap, spread in gaps)
            last = len(values) - sum(-gap > spread for gap, spread in gaps)
            ranks[metric] = str(first) if first == last else f'{first} to {last}'
        rows.append(Row(row, means[row], {**spreads[row]} if several else dict.fromkeys(spreads[row]), ranks))
    return rows


def to_markdown(plan: Plan, paper: PaperTable, rows: Sequence[Row], iterations: int) -> str:
    """Write the table: the paper's numbers, ours with spread and rank, and what has to be said beneath them."""
    protocol = paper.protocols[0]
    heads = [f'paper {name}' for name in paper.columns] + ['PSNR', 'CF', 'ΔCF', 'rank by PSNR', 'rank by ΔCF', '']
    lines = [f'| row | {" | ".join(heads)} |', f'|---|{"---:|" * len(heads)}']
    found = {row.name: row for row in rows}
    for name, groups in paper.rows.items():
        numbers = ['-' if number is None else f'{number:g}' for number in groups[protocol]]
        if name in found:
            row = found[name]
            ours = []
            for metric in METRICS:
                spread = row.spreads[metric]
                ours.append(f'{row.means[metric]:.2f}' + ('' if spread is None else f' ± {spread:.2f}'))
            ours += [row.ranks.get(metric, '-') for metric in ('PSNR', 'ΔCF')]
            ours.append('too short' if iterations < TOO_SHORT else '')
        else:
            ours = ['-'] * 5 + ['not built']
        lines.append(f'| {name} | {" | ".join([*numbers, *ours])} |')
    notes = [
        f'{iterations:,} iterations, seeds {", ".join(map(str, plan.seeds))}; '
        f'options: {" ".join(plan.options) or "none"}.',
    ]
    if paper.columns:
        notes.append("The paper's rows are full trainings on ImageNet, ours are not: compare differences, not numbers.")
    if len(plan.seeds) > 1:
        notes.append('± is half the range over seeds; rows whose means differ by no more than both share ranks.')
    else:
        notes.append('One seed has no spread: nothing is ranked.')
    if iterations < TOO_SHORT:
        notes.append(f'Below {TOO_SHORT:,} iterations a row says nothing: nothing is ranked.')
    notes += [f'{name}: not built. {reason}.' for name, reason in paper.refused.items()]
    body = '\n'.join(lines)
    return f'**{paper.title}**\n\n{body}\n\n' + '\n'.join(f'- {note}' for note in notes) + '\n'


def draw_curves(runs: Sequence[Run], path: Path) -> None:
    """Draw PSNR and ΔCF over iterations: a colour a row, a line a seed, solid, dashed, dotted, dash-dotted in turn."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout='constrained')
    axes = figure.subplots(1, 2)
    rows = list(dict.fromkeys(run.row for run in runs))
    seeds = list(dict.fromkeys(run.seed for run in runs))
    for run in runs:
        style = dict(color=f'C{rows.index(run.row) % 10}', ls=_STYLES[seeds.index(run.seed) % len(_STYLES)], lw=1)
        curve = sorted(read_curve(run.work_dir).items())
        for axis, metric in zip(axes, ('PSNR', 'ΔCF'), strict=True):
            label = run.row if run.seed == runs[0].seed and metric == 'PSNR' else None
            points = [(step, values[metric]) for step, values in curve if math.isfinite(values.get(metric, math.nan))]
            if points:
                # a dot for each validation: a row that has one alone is seen, too
                axis.plot(*zip(*points, strict=True), marker='.', label=label, **style)
            axis.set(xlabel='iterations', ylabel=f'{metric}{" in dB" if metric == "PSNR" else ""}')
    title = f'seeds {", ".join(map(str, seeds))}' if len(seeds) > 1 else f'seed {seeds[0]}'
    figure.legend(loc='outside right upper', fontsize=8, title=title)
    figure.savefig(path, dpi=120)
