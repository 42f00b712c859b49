"""What mmengine lacks for colour and recognition training alike; importing this registers it with mmengine."""

from engine.amp import BFloat16OptimWrapper
from engine.checkpoints import WholeCheckpointHook, find_latest_checkpoint
from engine.divergence import StopOnNaNHook, TrainingDivergedError
from engine.loops import ResumableIterTrainLoop
from engine.seeding import SeedIterationHook, mix_seed

__all__ = [
    'BFloat16OptimWrapper',
    'ResumableIterTrainLoop',
    'SeedIterationHook',
    'StopOnNaNHook',
    'TrainingDivergedError',
    'WholeCheckpointHook',
    'find_latest_checkpoint',
    'mix_seed',
]
