"""Images in one folder for each class."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from PIL import Image
from timm.data import ImageNetInfo, create_transform
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from dualattn.engine import DataError
from dualattn.io.records import hash_lines
from transfer.photographs import read_photograph
from transfer.protocol import describe_steps

__all__ = ['ClassFolder', 'read_image']


@DATASETS.register_module()
class ClassFolder(Dataset):
    """Images in `data_root/CLASS/`, augmented and normalised by timm.

    Args:
        data_root: folder of the class folders; images may lie deeper.
        transform: arguments of `timm.data.create_transform`.
        classes: the classes' folders in the order of the model's outputs; 'imagenet-1k' for those of ImageNet; None
            takes the folders that are there, by name.
        others: what to do about folders that are none of `classes`: 'refuse' them, or 'leave' them out.
        skip_unreadable: in the place of a file that cannot be read put the next one, and report it once, with its
            path. For training alone: an accuracy would be that of other images.

    Raises:
        FileNotFoundError: there is no such folder.
        DataError: it has no class folders, one that is not among `classes`, or one without images.
        ValueError: another `others`.
    """

    def __init__(
        self,
        data_root: str,
        transform: dict,
        classes: Sequence[str] | str | None = None,
        others: str = 'refuse',
        skip_unreadable: bool = False,
    ):
        if others not in ('refuse', 'leave'):
            raise ValueError(f"others has to be 'refuse' or 'leave', got {others!r}")
        root = Path(data_root)
        if not root.is_dir():
            raise FileNotFoundError(
                f'no images at {root}: expected a folder with a folder for each class; set '
                'data_root in train_dataloader.dataset, val_dataloader.dataset and '
                'test_dataloader.dataset'
            )
        folders = _list_folders(root)
        if not folders:
            raise DataError(f'{root} has no folders: expected one for each class, with its images')
        self.root = root
        found = self.find_classes(data_root, classes)
        assert found is not None  # the folder is there
        self.classes = found
        doubled = sorted({name for name in self.classes if self.classes.count(name) > 1}) if classes is not None else []
        if doubled:
            raise DataError(f'classes names {", ".join(doubled[:5])} more than once')
        unknown = sorted(set(folders) - set(self.classes))
        if others == 'leave':
            folders = [name for name in folders if name not in unknown]
            if not folders:
                raise DataError(f'{root} has none of the folders {", ".join(self.classes[:5])}')
        elif unknown:
            raise DataError(
                f'{root} has {len(unknown)} folders that are not among the {len(self.classes)} classes: '
                f'{", ".join(unknown[:5])}{", ..." if len(unknown) > 5 else ""}; set classes=None to take '
                "the folders as they are, or others='leave' to leave these out"
            )
        indices = {name: i for i, name in enumerate(self.classes)}
        try:
            self.samples = make_dataset(str(root), {name: indices[name] for name in folders}, IMG_EXTENSIONS)
        except FileNotFoundError as error:
            raise DataError(f'{root}: {error}') from error
        self.transform = create_transform(**transform)
        self.skip_unreadable = skip_unreadable
        # shared with the worker processes, so that a broken file is reported once
        self._unreadable = torch.zeros(len(self.samples), dtype=torch.bool).share_memory_()

    @staticmethod
    def find_classes(data_root: str, classes: Sequence[str] | str | None = None) -> list[str] | None:
        """Tell which classes a data set of these arguments has, without making it; None if its folder is not there.

        Raises:
            ValueError: `classes` is another text than 'imagenet-1k'.
        """
        if isinstance(classes, str):
            if classes != 'imagenet-1k':
                raise ValueError(f"classes has to be a list of names, 'imagenet-1k' or None, got {classes!r}")
            return ImageNetInfo().label_names()
        if classes is not None:
            return list(classes)
        return _list_folders(Path(data_root)) if Path(data_root).is_dir() else None

    @property
    def metainfo(self) -> dict:
        """The names of the classes, and the protocol, which mmengine hands to metrics and stores beside the weights."""
        count = f'{len(self.samples):,} images of {self.root.as_posix()} in {len(self.classes):,} classes'
        return dict(classes=self.classes, protocol=dict(description=f'{count}, {describe_steps(self.transform)}'))

    def describe_data(self) -> dict:
        """Say what an accuracy was measured on: `protocol`, `pictures` and `data` of a record."""
        return dict(
            protocol=dict(name=None, **self.metainfo['protocol']),
            pictures=dict(measured=len(self.samples), complete=not self._unreadable.any().item()),
            data=dict(
                list_sha256=hash_lines(
                    f'{Path(path).relative_to(self.root).as_posix()} {i}' for path, i in self.samples
                )
            ),
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict:
        """Read one image.

        Returns:
            `inputs`: (3, H, W) float, normalised; `label`: index of its class; `path`: its file.

        Raises:
            DataError: the file cannot be read, or none can that could take its place.
        """
        for step in range(len(self.samples)):
            candidate = (index + step) % len(self.samples)
            path, label = self.samples[candidate]
            if self._unreadable[candidate]:
                continue
            try:
                image = read_image(path)
            except DataError as error:
                if not self.skip_unreadable:
                    raise DataError(
                        f'{error}; repair or remove it, or, for training, set skip_unreadable=True of this data set'
                    ) from error
                self._unreadable[candidate] = True
                MMLogger.get_current_instance().warning(f'{error}; the next image takes its place')
                continue
            return dict(inputs=self.transform(image), label=label, path=path)
        raise DataError(f'none of the {len(self.samples)} images can be read, {self.samples[0][0]} for one')


def _list_folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith('.'))


def read_image(path) -> Image.Image:
    """Read an image, see `transfer.photographs.read_photograph`."""
    return Image.fromarray(read_photograph(path))
