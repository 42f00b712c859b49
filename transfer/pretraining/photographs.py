"""Photographs without labels."""

from collections.abc import Sequence

import torch
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from torch.utils.data import Dataset
from torchvision.transforms import v2

from dualattn.engine import DataError
from dualattn.io.files import as_folders, list_files
from dualattn.io.photos import IMAGE_SUFFIXES
from transfer.photographs import read_photograph

__all__ = ['UnlabelledPhotographs']


@DATASETS.register_module()
class UnlabelledPhotographs(Dataset):
    """Random views of all photographs below some folders.

    A file that cannot be read is reported once with its path, and the next one takes its place.

    Args:
        data_root: a folder or several; sub-folders are searched, too.
        size: side in pixels of a view.
        scale: smallest and largest part of a photograph's area that a view shows.

    Raises:
        FileNotFoundError: there is no such folder.
        DataError: there is no photograph in one of them.
    """

    def __init__(self, data_root: str | Sequence[str], size: int, scale: tuple[float, float] = (0.3, 1.0)):
        self.files = []
        for root in as_folders(data_root):
            if not root.is_dir():
                raise FileNotFoundError(f'no photographs at {root}: set train_dataloader.dataset.data_root')
            found = list_files(root, IMAGE_SUFFIXES, recursive=True, follow_links=True)
            if not found:
                raise DataError(f'{root} and its sub-folders hold no photographs')
            self.files += found
        self.augment = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=scale, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
                v2.RandomHorizontalFlip(),
            ]
        )
        # shared with the worker processes, so that a broken file is reported once
        self._unreadable = torch.zeros(len(self.files), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: int | tuple[int, int]) -> dict:
        """Make a view of one photograph.

        Args:
            key: an index, or `(index, draw)` from `ReproducibleSampler`; `draw` seeds the view, which then neither
                reads nor changes the random state of the process.

        Returns:
            `inputs`: (3, size, size) uint8, sRGB in [0, 255]; `path`: its file.

        Raises:
            DataError: none of the photographs can be read.
        """
        index, draw = key if isinstance(key, tuple) else (key, None)
        for step in range(len(self.files)):
            candidate = (index + step) % len(self.files)
            if self._unreadable[candidate]:
                continue
            path = self.files[candidate]
            try:
                pixels = read_photograph(path)
            except DataError as error:
                self._unreadable[candidate] = True
                MMLogger.get_current_instance().warning(f'{error}; the next photograph takes its place')
                continue
            image = torch.tensor(pixels).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W); a copy that torch may write to
            with torch.random.fork_rng(devices=[], enabled=draw is not None):
                if draw is not None:
                    torch.manual_seed(draw)
                image = self.augment(image)
            return dict(inputs=image.contiguous(), path=str(path))
        raise DataError(f'none of the {len(self.files)} photographs can be read, {self.files[0]} for one')
