"""Colour photographs as training and validation data: a folder, a list file, or what the dependencies ship."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS, TRANSFORMS
from torch.utils.data import Dataset
from torchvision.transforms import v2

from colorization.data.transforms import describe_preparation
from colorization.evaluation.protocols import get_protocol
from colorization.samples import packaged_color_photos
from colorization.tone import is_in_color
from dualattn.engine.seeding import mix_seed
from dualattn.io.files import as_folders, hash_file, list_files
from dualattn.io.photos import IMAGE_SUFFIXES, MAX_PIXELS, ImageError, read_rgb
from dualattn.io.photos.messages import collect_messages
from dualattn.io.records import hash_lines

HELD_OUT_EVERY = 100  # of the sorted files, the first of so many


class PhotoDataset(Dataset):
    """Colour photographs from a given list of files; the two classes below say where the files come from.

    A file that cannot be used is reported once with its path, and the next usable one takes its place.

    Args:
        files: the image files, in the order of their indices.
        prepare: configs of registered transforms without randomness (resize, centre crop); their result is what `cache`
            keeps.
        augment: configs of registered transforms that may be random.
        degrade: configs of registered transforms that make the gray picture that the network is shown from the
            augmented one (`OldPhoto`); without them the network is shown its lightness.
        cache: read and prepare all images now, and keep them in memory as 8-bit tensors; worker processes share them.
        max_pixels: a larger image cannot be used.
        min_side: nor can one whose shorter side has fewer pixels than this.
        max_aspect: nor can one that is so many times longer than wide: resized by its shorter side, a strip of
            1 x 4000 pixels would fill the memory.
        decode_min_side: lets JPEG decoding shrink by 2, 4 or 8 as long as both sides stay at least this long; much
            faster for large photographs that are resized anyway. None decodes at full size.
        gray: what to do about photographs in black and white, which teach that everything is gray: 'keep' them unseen,
            'warn' of each once, or 'leave' them out. Sepia and other tones count as black and white.

    Raises:
        ValueError: there are no files, or none of them can be used.
    """

    def __init__(
        self,
        files: Iterable[Path],
        prepare: Sequence[dict] = (),
        augment: Sequence[dict] = (),
        degrade: Sequence[dict] = (),
        cache: bool = False,
        max_pixels: int = MAX_PIXELS,
        min_side: int = 16,
        max_aspect: float = 10.0,
        decode_min_side: int | None = None,
        gray: str = 'warn',
    ):
        if gray not in ('keep', 'warn', 'leave'):
            raise ValueError(f"gray must be 'keep', 'warn' or 'leave', got {gray!r}.")
        self.files = [Path(file) for file in files]
        if not self.files:
            raise ValueError('no image files are left to learn from; expected at least one')
        steps = [TRANSFORMS.build(cfg) for cfg in prepare]
        self.prepare = v2.Compose(steps) if steps else torch.nn.Identity()
        self._preparation = describe_preparation(steps)
        self.augment = v2.Compose([TRANSFORMS.build(cfg) for cfg in augment]) if augment else torch.nn.Identity()
        self.degrade = v2.Compose([TRANSFORMS.build(cfg) for cfg in degrade]) if degrade else None
        self.max_pixels = max_pixels
        self.min_side = min_side
        self.max_aspect = max_aspect
        self.decode_min_side = decode_min_side
        self.gray = gray
        self._seen = torch.zeros(len(self.files), dtype=torch.bool).share_memory_()
        # Shared with the worker processes, so that a broken file is read and reported once, not once per worker.
        self._unusable = torch.zeros(len(self.files), dtype=torch.bool).share_memory_()
        self._cache: list[torch.Tensor | None] | None = None
        if cache:
            self._cache = [self._read(index) for index in range(len(self.files))]
            size = sum(image.nbytes for image in self._cache if image is not None) / 2**20
            message = f'{len(self.files)} images are held in memory, {size:.0f} MiB'
            print_log(message, logger='current', level=logging.INFO)
        self._usable(0)  # raises now rather than in a worker when there is nothing to learn from

    @property
    def pictures(self) -> str:
        """Which pictures these are, in words."""
        return f'{len(self.files):,} files'

    @property
    def metainfo(self) -> dict:
        """What mmengine hands to metrics and stores beside the weights: `protocol`, whose `description` is one line.

        A number that was measured on these images means something only together with it.
        """
        shrunk = '' if self.decode_min_side is None else f', JPEG decoded at {self.decode_min_side} pixels or more'
        return dict(protocol=dict(description=f'{self.pictures}, {self._preparation}{shrunk}'))

    @property
    def wanted(self) -> int | None:
        """How many pictures the protocol has; None where it does not say."""
        return None

    def describe_data(self) -> dict:
        """Say what a number was measured on: `protocol`, `pictures` and `data` of a record.

        Hashes are those of `dualattn evaluate`: equal ones mean the same photographs. Files that could not be used, and
        whose places others took, make it incomplete.
        """
        unusable = [file.name for file, bad in zip(self.files, self._unusable.tolist(), strict=True) if bad]
        return dict(
            protocol=dict(dict(name=None), **self.metainfo['protocol']),
            pictures=dict(
                measured=len(self.files) - len(unusable),
                complete=not unusable and self.wanted in (None, len(self.files)),
                unreadable=unusable,
            ),
            data=dict(
                list_sha256=hash_lines(file.with_suffix('').name for file in self.files),
                photographs_sha256=hash_lines(map(hash_file, self.files)),
            ),
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: int | tuple[int, int]) -> dict:
        """Read one image.

        Args:
            key: an index, or `(index, draw)` from `ReproducibleSampler`; `draw` seeds the random transforms, which then
                neither read nor change the random state of the process. Without it `degrade` is seeded by the index:
                a validation sees the same pictures each time.

        Returns:
            `inputs`: (3, H, W) uint8, RGB in [0, 255]; `path`: the file that was read; with `degrade` also `gray`:
            (1, H, W) uint8 in [0, 255].

        Raises:
            IndexError: there is no such index, by which a loop over the data set ends.
        """
        index, draw = key if isinstance(key, tuple) else (key, None)
        if not -len(self.files) <= index < len(self.files):
            raise IndexError(f'image {index} of {len(self.files)}')
        index, image = self._usable(index)
        if draw is None:
            image = self.augment(image)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(draw)
                image = self.augment(image)
        sample = dict(inputs=image.contiguous(), path=str(self.files[index]))
        if self.degrade is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(mix_seed(index if draw is None else draw, 5))
                sample['gray'] = self.degrade(image).contiguous()
        return sample

    def _usable(self, index: int) -> tuple[int, torch.Tensor]:
        """Return the first image that can be used from `index` on, around the end if need be, and its index."""
        for step in range(len(self.files)):
            candidate = (index + step) % len(self.files)
            image = self._read(candidate) if self._cache is None else self._cache[candidate]
            if image is not None:
                return candidate, image
        raise ValueError(f'none of the {len(self.files)} image files can be used, {self.files[0]} for one.')

    def _read(self, index: int) -> torch.Tensor | None:
        """Read and prepare one file: (3, H, W) uint8, or None (reported once) if it cannot be used."""
        if self._unusable[index]:
            return None
        file = self.files[index]
        try:
            with collect_messages() as found:
                pixels = read_rgb(file, max_pixels=self.max_pixels, min_side=self.decode_min_side)
            height, width, _ = pixels.shape
            if min(height, width) < self.min_side or max(height, width) > self.max_aspect * min(height, width):
                raise ImageError(
                    f'{file}: {width} x {height} pixels; expected sides of at least {self.min_side} pixels, one not '
                    f'more than {self.max_aspect:g} times the other'
                )
            if not self._seen[index]:  # what is said of a file is said once, not at every draw
                self._seen[index] = True
                for message in found:
                    print_log(message, logger='current', level=logging.WARNING)
                self._check_color(file, pixels)
        except ImageError as error:
            self._unusable[index] = True
            message = f'{error}; the next usable image of the data set takes its place'
            print_log(message, logger='current', level=logging.WARNING)
            return None
        pixels = np.require(pixels, requirements='W')  # torch warns of arrays that it could not write to
        return self.prepare(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())  # (H, W, 3) -> (3, H, W)

    def _check_color(self, file: Path, pixels: np.ndarray) -> None:
        """Say it where a photograph is in black and white, or refuse it."""
        if self.gray == 'keep' or is_in_color(pixels):
            return
        if self.gray == 'leave':
            raise ImageError(f'{file}: is in black and white or toned, nothing to learn colours from')
        message = f"{file}: is in black and white or toned; gray='leave' leaves such photographs out of a training"
        print_log(message, logger='current', level=logging.WARNING)


@DATASETS.register_module()
class ColorImageDataset(PhotoDataset):
    """All colour images below a folder: class folders (ImageNet), sub-folders, or one flat folder.

    Only colour photographs are needed: the gray input is made from them.

    Args:
        data_root: a folder or several; see `dualattn.io.files.as_folders`.
        list_file: a text file with one path per line, relative to the one `data_root`; only these are used, in the
            order of the list.
        sort_by: 'path', folder by folder, or 'name', the name of the file alone, whatever folders the files lie in.
        limit: use only the first so many. With `sort_by='name'` the first 5,000 of ImageNet's validation set are the
            papers' "val5k"; by path they would be those of the first 100 classes.
        protocol: name of a protocol of `colorization.evaluation.protocols`, which selects, orders and prepares the
            images, as `dualattn evaluate` does with the same name.
        held_out: 'leave' leaves one in a hundred files out of a training, 'take' takes those alone, for a test that
            the training has not seen; 'keep' makes no difference between them.
        kwargs: see `PhotoDataset`.

    Raises:
        FileNotFoundError: a folder, the list file, or a file that it names is missing.
        ValueError: a folder without a usable image, an empty list, a list with several folders or with an order,
            another `sort_by` or `held_out`, an unknown protocol, or one together with what it decides.
    """

    def __init__(
        self,
        data_root: str | Sequence[str],
        list_file: str | None = None,
        sort_by: str = 'path',
        limit: int | None = None,
        protocol: str | None = None,
        held_out: str = 'keep',
        **kwargs,
    ):
        if held_out not in ('keep', 'leave', 'take'):
            raise ValueError(f"ColorImageDataset needs held_out 'keep', 'leave' or 'take', got {held_out!r}.")
        roots = as_folders(data_root)
        if not roots:
            raise ValueError('ColorImageDataset needs at least one folder in data_root, got none.')
        if limit is not None and limit < 1:
            raise ValueError(f'ColorImageDataset needs limit >= 1, got {limit}.')
        if sort_by not in ('path', 'name'):
            raise ValueError(f"ColorImageDataset sorts by 'path' or 'name', got {sort_by!r}.")
        for root in roots:
            if not root.is_dir():
                raise FileNotFoundError(
                    f'the image folder {str(root)!r} does not exist (looked for {root.resolve()}). Put colour '
                    'photographs there (sub-folders are searched too), or name another folder with '
                    '--cfg-options train_dataloader.dataset.data_root=FOLDER (val_dataloader, test_dataloader '
                    'likewise). configs/colorize/mpt_demo.py runs without any data of your own.'
                )
        if list_file is not None:
            if len(roots) > 1:
                raise ValueError(f'a list_file goes with one data_root, got {len(roots)} folders.')
            if sort_by != 'path':
                raise ValueError('the list_file tells the order: leave out sort_by.')
            files = _listed_files(Path(list_file), roots[0])
        else:
            files = [file for root in roots for file in _folder_files(root)]
            if sort_by == 'name':
                files.sort(key=lambda file: file.name)
        if held_out != 'keep':
            places = set(range(0, len(files), HELD_OUT_EVERY))
            files = [file for place, file in enumerate(files) if (place in places) == (held_out == 'take')]
        self.protocol = None
        self.roots = roots
        if protocol is not None:
            self.protocol = get_protocol(protocol)
            decided = [name for name in ('prepare', 'decode_min_side') if kwargs.get(name)]
            decided += ['limit'] if limit is not None else []
            decided += ['sort_by'] if sort_by != 'path' else []
            decided += ['several folders in data_root'] if len(roots) > 1 else []
            if decided:
                raise ValueError(f'the protocol {protocol} decides {", ".join(decided)}: leave that out.')
            if list_file is None:
                files = [roots[0] / path for path in self.protocol.select([f.relative_to(roots[0]) for f in files])]
            kwargs['prepare'] = self.protocol.transforms()
            if self.protocol.count not in (None, len(files)):
                message = (
                    f'{protocol} has {self.protocol.count:,} images, {str(roots[0])!r} gives {len(files):,}: what is '
                    'measured on them is not that protocol'
                )
                print_log(message, logger='current', level=logging.WARNING)
        super().__init__(files[:limit], **kwargs)

    @property
    def pictures(self) -> str:
        """How many pictures of which folders these are."""
        return f'{len(self.files):,} pictures of {" and ".join(root.as_posix() for root in self.roots)}'

    @property
    def wanted(self) -> int | None:
        """How many pictures the protocol has; None without one, or where it does not say."""
        return None if self.protocol is None else self.protocol.count

    @property
    def metainfo(self) -> dict:
        """The protocol under which the images were chosen and prepared, its name included where it has one."""
        return super().metainfo if self.protocol is None else dict(protocol=self.protocol.to_dict())


def _folder_files(root: Path) -> list[Path]:
    """Return the image files below `root`; hidden ones, and those of hidden folders, are left out."""
    # linked folders are followed, since subsets of ImageNet are often made of links
    files = list_files(root, IMAGE_SUFFIXES, recursive=True, follow_links=True)
    if not files:
        known = ', '.join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f'no image in {str(root)!r} or its sub-folders; looked for files that end with {known}.')
    return files


def _listed_files(list_file: Path, root: Path) -> list[Path]:
    """Return the files that `list_file` names below `root`, in its order."""
    if not list_file.is_file():
        raise FileNotFoundError(f'list_file {str(list_file)!r} does not exist (looked for {list_file.resolve()}).')
    names = [line.strip() for line in list_file.read_text(encoding='utf-8').splitlines()]
    files = [root / name for name in names if name]
    if not files:
        raise ValueError(f'list_file {str(list_file)!r} names no image; it should hold one relative path per line.')
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of the {len(files)} images that {str(list_file)!r} names are not below {str(root)!r}, '
            f'the first is {str(missing[0])!r}.'
        )
    return files


@DATASETS.register_module()
class PackagedPhotos(PhotoDataset):
    """The colour photographs that scikit-image and scikit-learn ship inside their wheels: data for a demo, offline.

    Args:
        names: which of `packaged_color_photos`, in this order; None takes all.
        kwargs: see `PhotoDataset`.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: a package is not installed, or does not ship the file.
    """

    def __init__(self, names: Sequence[str] | None = None, **kwargs):
        photos = packaged_color_photos()
        names = list(photos) if names is None else list(names)
        unknown = [name for name in names if name not in photos]
        if unknown or not names:
            raise ValueError(f'PackagedPhotos knows {", ".join(photos)}; got {names}.')
        super().__init__([photos[name] for name in names], **kwargs)
        self.names = names

    @property
    def pictures(self) -> str:
        """Which of the packaged photographs these are."""
        return f'the packaged photographs {", ".join(self.names)}'


def open_training_photos(cfg: Config, size: int | tuple[int, int], data_root: str | None = None) -> PhotoDataset:
    """Build the photographs that a config trains on as they are: resized, neither augmented nor degraded.

    Args:
        cfg: the config.
        size: as torchvision's Resize takes it, the shorter side or height and width in pixels.
        data_root: another folder than the config's.

    Raises:
        ValueError: the config names no photographs to train on, or streams them from shards.
        FileNotFoundError: they are not there.
    """
    photos = dict(cfg.get('train_dataloader', {}).get('dataset', {}))
    if not photos:
        raise ValueError(f'{cfg.filename}: has no train_dataloader.dataset, which names the photographs')
    if photos.get('type') == 'ShardDataset':
        raise ValueError(
            f'{cfg.filename}: streams its photographs from shards; name a config that reads a folder of them'
        )
    photos.pop('protocol', None)  # it decides the size
    photos.update(prepare=[dict(type='torchvision/Resize', size=size, antialias=True)])
    photos.update(augment=[], degrade=[], cache=False)
    if data_root is not None:
        photos.update(data_root=data_root)
    return DATASETS.build(photos)
