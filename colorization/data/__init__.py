"""Training and validation data; importing this registers data sets, sampler and transforms with mmengine."""

from colorization.data.dataset import ColorImageDataset, PackagedPhotos, PhotoDataset
from colorization.data.degradation import OldPhoto
from colorization.data.shards import ShardDataset
from colorization.data.transforms import ColorEnhance
from dualattn.engine import ReproducibleSampler
from dualattn.engine import sampler as sampler  # which scripts of users still ask for here

__all__ = [
    'ColorEnhance',
    'ColorImageDataset',
    'OldPhoto',
    'PackagedPhotos',
    'PhotoDataset',
    'ReproducibleSampler',
    'ShardDataset',
]
