"""Training and validation data; importing this registers data sets, sampler and transforms with mmengine."""

from colorization.data.dataset import ColorImageDataset, PackagedPhotos, PhotoDataset
from colorization.data.degradation import OldPhoto
from colorization.data.sampler import ReproducibleSampler
from colorization.data.shards import ShardDataset
from colorization.data.transforms import ColorEnhance

__all__ = [
    'ColorEnhance',
    'ColorImageDataset',
    'OldPhoto',
    'PackagedPhotos',
    'PhotoDataset',
    'ReproducibleSampler',
    'ShardDataset',
]
