"""What mmengine lacks for colour and recognition training alike; importing this registers it with mmengine."""

import warnings

from engine.amp import BFloat16OptimWrapper
from engine.checkpoints import (
    CheckpointError,
    WholeCheckpointHook,
    check_weights,
    find_latest_checkpoint,
    read_checkpoint,
)
from engine.data import DataError
from engine.divergence import StopOnNaNHook, TrainingDivergedError
from engine.files import write_aside
from engine.loops import ResumableIterTrainLoop
from engine.reduction import MeanLossHook
from engine.runner import StrictRunner, check_options
from engine.seeding import SeedIterationHook, mix_seed, seed_worker

# mmengine asks pkg_resources for every file of a config that stands on another package's, which warns each time
warnings.filterwarnings('ignore', message='pkg_resources is deprecated')

__all__ = [
    'BFloat16OptimWrapper',
    'CheckpointError',
    'DataError',
    'MeanLossHook',
    'ResumableIterTrainLoop',
    'SeedIterationHook',
    'StopOnNaNHook',
    'StrictRunner',
    'TrainingDivergedError',
    'WholeCheckpointHook',
    'check_options',
    'check_weights',
    'find_latest_checkpoint',
    'mix_seed',
    'read_checkpoint',
    'seed_worker',
    'write_aside',
]
