"""What a metric was measured on: the data set states it, the metric says it beside its number."""

import logging
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

__all__ = ['ProtocolMetric', 'describe_protocol']


def describe_protocol(dataset_meta: dict | None) -> str | None:
    """Return what a data set says in its metainfo of its samples and their preparation, None where it says nothing.

    Args:
        dataset_meta: `metainfo` of a data set; the line is `metainfo['protocol']['description']`.
    """
    return ((dataset_meta or {}).get('protocol') or {}).get('description')


class ProtocolMetric(BaseMetric):
    """A metric whose log says once on what its numbers were measured; stands before a metric of another library.

    Takes the arguments of the class behind it.
    """

    _told: tuple[str, int] | None = None

    def tell_protocol(self, count: int) -> None:
        """Log what the data set states, unless it was logged already.

        Args:
            count: how many samples were measured.
        """
        protocol = describe_protocol(self.dataset_meta)
        if protocol is None or (protocol, count) == self._told:
            return
        self._told = protocol, count
        name = type(self).__name__.removeprefix('Checked')
        print_log(f'{name} is measured on {count:,} samples: {protocol}', logger='current', level=logging.INFO)

    def compute_metrics(self, results: list) -> dict[str, Any]:
        """Say what was measured, then measure as the class behind this one does."""
        self.tell_protocol(len(results))
        return super().compute_metrics(results)
