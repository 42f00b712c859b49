"""Training loops that mmengine lacks."""

import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dist import get_world_size
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop

__all__ = ['ResumableIterTrainLoop', 'left_out_of_log']


@contextmanager
def left_out_of_log(logger: logging.Logger, *parts: str) -> Iterator[None]:
    """Leave messages of mmengine that hold one of these parts out of the log, where something else is said instead."""

    def is_kept(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not any(part in message for part in parts)

    logger.addFilter(is_kept)
    try:
        yield
    finally:
        logger.removeFilter(is_kept)


@LOOPS.register_module()
class ResumableIterTrainLoop(IterBasedTrainLoop):
    """Iteration based training that goes on with the batch after the last trained one, without loading what was seen.

    mmengine resumes at iteration i by loading i batches and throwing them away: hours for a long run. A sampler with an
    attribute `start`, the number of images that all processes have drawn together, is told to begin there instead; so
    is a data set that is a stream and has that attribute. Any other sampler gets mmengine's own treatment.

    Takes the arguments of `mmengine.runner.IterBasedTrainLoop`.
    """

    def run(self):
        """Train until `max_iters`; returns the model."""
        loader = self.dataloader
        # a stream has no sampler
        source = loader.dataset if loader.batch_sampler is None else loader.batch_sampler.sampler
        if self._iter > 0 and hasattr(source, 'start'):
            batch_size = loader.batch_size if loader.batch_sampler is None else loader.batch_sampler.batch_size
            source.start = self._iter * batch_size * get_world_size()
            # The iterator that the constructor made is older than the resumed iteration number, and may hold batches
            # that its workers loaded ahead. The base class then throws `iter` items away: these cost nothing.
            self.dataloader_iterator = itertools.chain(itertools.repeat(None, self._iter), iter(self.dataloader))
            with left_out_of_log(self.runner.logger, 'Advance dataloader'):  # which nothing has to do here
                return super().run()
        return super().run()
