"""What mmengine lacks for colour and recognition training alike; importing this registers it with mmengine."""

import warnings

from dualattn.engine.amp import BFloat16OptimWrapper
from dualattn.engine.checkpoints import WholeCheckpointHook, find_latest_checkpoint
from dualattn.engine.data import DataError
from dualattn.engine.divergence import StopOnNaNHook, TrainingDivergedError
from dualattn.engine.loops import ResumableIterTrainLoop
from dualattn.engine.preemption import PreemptedError, PreemptionHook
from dualattn.engine.reduction import MeanLossHook
from dualattn.engine.runner import OptionError, StrictRunner, check_options
from dualattn.engine.sampler import ReproducibleSampler
from dualattn.engine.seeding import SeedIterationHook, mix_seed, seed_worker
from dualattn.engine.wrappers import unwrap
from dualattn.io.weights import CheckpointError, read_checkpoint

# mmengine asks pkg_resources for every file of a config that stands on another package's, which warns each time
warnings.filterwarnings('ignore', message='pkg_resources is deprecated')

__all__ = [
    'BFloat16OptimWrapper',
    'CheckpointError',
    'DataError',
    'MeanLossHook',
    'OptionError',
    'PreemptedError',
    'PreemptionHook',
    'ReproducibleSampler',
    'ResumableIterTrainLoop',
    'SeedIterationHook',
    'StopOnNaNHook',
    'StrictRunner',
    'TrainingDivergedError',
    'WholeCheckpointHook',
    'check_options',
    'find_latest_checkpoint',
    'mix_seed',
    'read_checkpoint',
    'seed_worker',
    'unwrap',
]
