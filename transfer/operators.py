"""Whether the compiled operators of mmcv and spconv were built for the GPU at hand."""

import importlib.util
import logging

import torch

__all__ = ['warn_of_missing_operators']

logger = logging.getLogger(__name__)


def warn_of_missing_operators() -> list[str]:
    """Say so where there is a GPU, but a library that detectors need has no CUDA operators; returns their names."""
    if not torch.cuda.is_available():
        return []
    lacking = []
    from mmcv.ops import get_compiling_cuda_version

    if get_compiling_cuda_version() == 'not available':
        lacking.append('mmcv')
    if importlib.util.find_spec('spconv') is not None:
        from spconv.cppconstants import CPU_ONLY_BUILD

        if CPU_ONLY_BUILD:
            lacking.append('spconv')
    if lacking:
        logger.warning(
            'no CUDA operators in %s: detectors cannot use the GPU. Run FORCE_CUDA=1 sh requirements/install.sh '
            'transfer, or hide the GPU by CUDA_VISIBLE_DEVICES=',
            ' and '.join(lacking),
        )
    return lacking
