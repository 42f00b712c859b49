"""Score a folder of predictions: read, measure, compare features, and say what was left out."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from colorization.evaluation.measures import SSIM_WINDOW, color_distribution_consistency, is_gray, measure_pair
from colorization.evaluation.pairs import Pairing
from colorization.evaluation.protocols import Protocol
from colorization.evaluation.statistics import bootstrap_means, frechet_distance, frechet_interval, full_rank_count
from colorization.metrics.networks import DINOv2, Inception, LPIPSDistance
from dualattn.io.files import hash_file
from dualattn.io.photos import ImageError, read_rgb

__all__ = ['Figure', 'Scores', 'score_pairs']

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % bootstrap interval, None where none was asked for."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass
class Scores:
    """What was measured, and on which pictures.

    Attributes:
        figures: by their names, see `colorization.evaluation.measures.UNITS`.
        unverified: likewise, but made with weights that nobody has published: no scores.
        measured: (photograph, prediction, sha256 of each) of the pictures that the figures are about.
        unreadable: (path, reason).
        misshapen: (prediction, reason).
        gray: predictions without colour; they count.
        not_measured: figures that so few pictures have not, and why.
        suffixes: how many predictions there are of each kind of file.
        clips: per clip, the film's figures.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    unverified: dict[str, Figure] = field(default_factory=dict)
    measured: list[tuple[PurePath, PurePath, str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    misshapen: list[tuple[str, str]] = field(default_factory=list)
    gray: list[str] = field(default_factory=list)
    not_measured: dict[str, str] = field(default_factory=dict)
    suffixes: Counter = field(default_factory=Counter)
    clips: dict[str, dict[str, float]] = field(default_factory=dict)


class _Pairs(Dataset):
    """Reads and measures one pair at a time, in a worker process."""

    def __init__(self, pred: Path, truth: Path, pairs: Sequence[tuple[PurePath, PurePath]], protocol: Protocol):
        self.pred, self.truth, self.pairs, self.protocol = pred, truth, pairs, protocol

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict:
        photograph, prediction = self.pairs[index]
        result = dict(index=index)
        pictures = []
        for path in (self.pred / prediction, self.truth / photograph):
            try:
                pictures.append(torch.from_numpy(read_rgb(path)).permute(2, 0, 1))  # (H, W, 3) -> (3, H, W)
            except ImageError as error:
                return dict(result, unreadable=str(error))
        pred, original = pictures
        truth = self.protocol.prepare(original)
        if pred.shape == original.shape:
            pred = self.protocol.prepare(pred)
        elif pred.shape != truth.shape:
            wanted = ' or '.join(dict.fromkeys(f'{shape[2]} x {shape[1]}' for shape in (original.shape, truth.shape)))
            return dict(result, misshapen=f'{pred.shape[2]} x {pred.shape[1]} pixels, expected {wanted}')
        if min(truth.shape[1:]) < SSIM_WINDOW:
            size = f'{truth.shape[2]} x {truth.shape[1]} pixels'
            return dict(result, misshapen=f'{size}; SSIM needs at least {SSIM_WINDOW} on each side')
        return dict(
            result,
            numbers=measure_pair(pred, truth),
            gray=is_gray(pred),
            pred=pred,
            truth=truth,
            hashes=(hash_file(self.truth / photograph), hash_file(self.pred / prediction)),
        )


def _keep(items: list) -> list:
    return items


class _FeatureBank:
    """Features of predictions and photographs, picture by picture."""

    def __init__(self, network: Inception | DINOv2, device: torch.device):
        self.network = network.to(device).eval()
        self.device = device
        self.pred: list[Tensor] = []
        self.truth: list[Tensor] = []

    def add(self, pred: Tensor, truth: Tensor) -> None:
        self.pred.append(self.network(pred.to(self.device)).cpu())
        self.truth.append(self.network(truth.to(self.device)).cpu())

    def figure(self, resamples: int, seed: int, progress: Callable) -> Figure:
        pred, truth = torch.cat(self.pred), torch.cat(self.truth)
        enough = full_rank_count(self.network.dim)
        if len(pred) < enough:
            logger.warning(
                '%s of %d pictures: the covariance of %d features has its full rank from %d pictures on; below it the '
                'number is too high and depends on the count (the papers take 5,000 and 50,000)',
                self.network.figure,
                len(pred),
                self.network.dim,
                enough,
            )
        value = frechet_distance(pred, truth)
        if not resamples:
            return Figure(value)
        label = f'{self.network.figure} interval'
        low, high = frechet_interval(pred, truth, resamples, seed, lambda draws: progress(draws, label))
        return Figure(value, low, high)


def _deviate(name: str, draws: dict[str, np.ndarray]) -> np.ndarray:
    """Return the mean over predictions less that over photographs, in every draw of a bootstrap."""
    return draws[name] - draws[f'{name}_truth']


def _fold(low: float, high: float) -> tuple[float, float]:
    """Return the interval of |d| from that of d.

    Quantiles of |d| itself would lie above it where d is near 0: every draw is off to one side or the other.
    """
    ends = sorted((abs(low), abs(high)))
    return (0.0 if low <= 0 <= high else ends[0]), ends[1]


def _no_progress(items: Iterable, label: str) -> Iterable:
    return items


def score_pairs(
    pred: Path,
    truth: Path,
    pairing: Pairing,
    protocol: Protocol,
    feature_networks: Sequence[Inception | DINOv2] = (),
    distances: Sequence[LPIPSDistance] = (),
    resamples: int = 1000,
    frechet_resamples: int = 50,
    seed: int = 0,
    workers: int = 0,
    batch_size: int = 16,
    device: str = 'cpu',
    clips: bool = False,
    progress: Callable[[Iterable, str], Iterable] = _no_progress,
) -> Scores:
    """Score the paired pictures of two folders; a picture that cannot be used is named and left out.

    Args:
        pred: folder of the predictions.
        truth: folder of the photographs.
        pairing: which belong together.
        protocol: brings photographs to size. A prediction has the size of the photograph, and is prepared likewise, or
            the size that the photograph has after that.
        feature_networks: for Frechet distances.
        distances: for LPIPS.
        resamples: draws of the bootstrap of means; 0 leaves the intervals out.
        frechet_resamples: draws of the bootstrap of each Frechet distance; 0 leaves its interval out.
        seed: of the draws.
        workers: processes that read and measure.
        batch_size: pictures that go through a network together.
        device: where the networks run.
        clips: the sub-folders hold the frames of one film each; measure how much their colours flicker.
        progress: wraps an iterable under a label, as tqdm does.

    Raises:
        ValueError: no pair could be used.
    """
    dataset = _Pairs(pred, truth, pairing.pairs, protocol)
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers, collate_fn=_keep)
    banks = [_FeatureBank(network, torch.device(device)) for network in feature_networks]
    distances = [network.to(device) for network in distances]
    scores = Scores()
    numbers: list[dict[str, float]] = []
    film = _Film() if clips else None
    for batch in progress(loader, 'pictures'):
        usable = []
        for item in batch:
            photograph, prediction = pairing.pairs[item['index']]
            if 'unreadable' in item:
                scores.unreadable.append((str(prediction), item['unreadable']))
            elif 'misshapen' in item:
                scores.misshapen.append((str(prediction), item['misshapen']))
            else:
                usable.append(item)
                scores.measured.append((photograph, prediction, *item['hashes']))
                scores.suffixes[prediction.suffix.lower()] += 1
                if item['gray']:
                    scores.gray.append(str(prediction))
                if film is not None:
                    film.add(prediction, item)
        # pictures of one size go through a network together; runs of neighbours, so that the order stays
        for _, neighbours in groupby(usable, key=lambda item: item['pred'].shape):
            group = list(neighbours)
            pair = [torch.stack([item[key] for item in group]) for key in ('pred', 'truth')]
            for bank in banks:
                bank.add(*pair)
            for network in distances:
                for item, value in zip(group, network(*(x.to(device) for x in pair)).tolist(), strict=True):
                    item['numbers'][network.figure] = value
        numbers += [item['numbers'] for item in usable]
    if not numbers:
        reasons = [f'{name}: {reason}' for name, reason in (*scores.unreadable, *scores.misshapen)]
        raise ValueError(f'none of the {len(pairing.pairs)} pairs can be compared; {reasons[0]}')

    unverified = {network.figure for network in (*feature_networks, *distances) if not network.weights.published}
    columns = {name: np.array([row[name] for row in numbers]) for name in numbers[0]}
    means = {name: Figure(float(column.mean())) for name, column in columns.items()}
    for name in ('CF', 'CF_abs'):
        means[f'{name}_delta'] = Figure(abs(means[name].value - means[f'{name}_truth'].value))
    if resamples:
        interval = bootstrap_means(columns, resamples, seed)
        for name in columns:
            means[name] = Figure(means[name].value, *interval(itemgetter(name)))
        for name in ('CF', 'CF_abs'):
            means[f'{name}_delta'] = Figure(
                means[f'{name}_delta'].value,
                *_fold(*interval(partial(_deviate, name))),
            )
    for bank in banks:
        if len(numbers) < 2:
            scores.not_measured[bank.network.figure] = 'needs at least 2 pictures'
            continue
        means[bank.network.figure] = bank.figure(frechet_resamples, seed, progress)
    for name, figure in means.items():
        (scores.unverified if name in unverified else scores.figures)[name] = figure
    if film is not None:
        scores.clips = film.measure()
    return scores


class _Film:
    """The frames of clips as they come, with little memory: what a folder holds is measured when the next begins."""

    def __init__(self):
        self.frames: dict[str, list[dict]] = {}
        self.measured: dict[str, dict[str, float]] = {}

    def add(self, prediction: PurePath, item: dict) -> None:
        clip = prediction.parent.as_posix()
        if clip not in self.frames:
            self.measured |= self._measure_all()
            self.frames[clip] = []
        self.frames[clip].append(item)

    def _measure_all(self) -> dict[str, dict[str, float]]:
        measured = {}
        for clip, items in self.frames.items():
            if len(items) < 2:
                logger.warning('%s: one frame is no film', clip)
                continue
            measured[clip] = dict(
                CDC_ab=color_distribution_consistency([item['pred'] for item in items]),
                CDC_ab_truth=color_distribution_consistency([item['truth'] for item in items]),
                CF=float(np.mean([item['numbers']['CF'] for item in items])),
                CF_truth=float(np.mean([item['numbers']['CF_truth'] for item in items])),
                frames=len(items),
            )
        self.frames = {}
        return measured

    def measure(self) -> dict[str, dict[str, float]]:
        return self.measured | self._measure_all()
