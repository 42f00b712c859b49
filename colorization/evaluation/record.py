"""One JSON file a run: the figures, and everything that one has to know to compare them."""

from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from colorization.evaluation.measures import UNITS
from colorization.evaluation.pairs import Pairing
from colorization.evaluation.protocols import Protocol
from colorization.evaluation.scoring import Figure, Scores
from colorization.metrics.networks import NetworkWeights
from dualattn.io.records import KIND, VERSION, RecordError, describe_versions, hash_lines, read_record, write_record

__all__ = ['RecordError', 'make_record', 'read_record', 'write_record']

_LIBRARIES = (
    'dualattn',
    'torch',
    'torchvision',
    'torch-fidelity',
    'torchmetrics',
    'lpips',
    'scikit-image',
    'kornia',
    'numpy',
    'pillow',
)


def _figures(figures: dict[str, Figure]) -> dict[str, dict]:
    return {name: dict(asdict(figure), unit=UNITS[name][0], better=UNITS[name][1]) for name, figure in figures.items()}


def make_record(
    name: str,
    protocol: Protocol,
    pairing: Pairing,
    scores: Scores,
    weights: dict[str, NetworkWeights],
    not_measured: dict[str, str],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Assemble the record of a run.

    Args:
        name: of the method, the row of a table.
        protocol: what was compared, and how.
        pairing: which pictures belonged together, and which to none.
        scores: what was measured.
        weights: the files of the networks, by kind.
        not_measured: figures that were left out, and why.
        settings: what else has been chosen on the command line.
    """
    measured = scores.measured
    complete = not (pairing.missing or pairing.misnamed or scores.unreadable or scores.misshapen) and (
        protocol.count is None or protocol.count == len(measured)
    )
    return dict(
        kind=KIND,
        version=VERSION,
        name=name,
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        protocol=protocol.to_dict(),
        figures=_figures(scores.figures),
        unverified=_figures(scores.unverified),
        not_measured={**not_measured, **scores.not_measured},
        clips=scores.clips,
        pictures=dict(
            measured=len(measured),
            complete=complete,
            suffixes=dict(scores.suffixes),
            missing=[str(path) for path in pairing.missing],
            extra=[str(path) for path in pairing.extra],
            misnamed=[dict(prediction=str(pred), photograph=str(truth)) for pred, truth in pairing.misnamed],
            misshapen=[dict(prediction=path, reason=reason) for path, reason in scores.misshapen],
            unreadable=[dict(prediction=path, reason=reason) for path, reason in scores.unreadable],
            gray=scores.gray,
        ),
        # names and contents in the protocol's order: two runs with equal hashes saw the same photographs
        data=dict(
            list_sha256=hash_lines([truth.with_suffix('').name for truth, *_ in measured]),
            photographs_sha256=hash_lines([digest for *_, digest, _ in measured]),
            predictions_sha256=hash_lines([digest for *_, digest in measured]),
        ),
        weights={kind: asdict(found) for kind, found in weights.items()},
        settings=settings,
        versions=describe_versions(_LIBRARIES),
    )
