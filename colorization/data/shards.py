"""Data sets as tar shards in WebDataset's layout, for clusters whose disks are slow with a million small files."""

import hashlib
import json
import logging
import random
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from mmengine.registry import DATASETS, TRANSFORMS
from torch.utils.data import IterableDataset, get_worker_info
from torchvision.transforms import v2

from colorization.data.transforms import describe_preparation
from dualattn.engine import DataError
from dualattn.engine.seeding import mix_seed
from dualattn.io.files import write_json
from dualattn.io.photos import MAX_PIXELS, ImageError, list_images, read_rgb
from dualattn.io.photos.messages import collect_messages

__all__ = ['ShardDataset', 'write_shards']

INDEX = 'index.json'
KIND = 'dualattn.shards'


def write_shards(
    folder: Path,
    out: Path,
    shard_size: float = 1e9,
    progress: Callable[[Sequence], Iterable] = lambda items: items,
) -> dict:
    """Pack the photographs of a folder, bytes as they are, into `out/000000.tar`, ... and `out/index.json`.

    A sample is `NUMBER.SUFFIX`, the file, and `NUMBER.txt`, its path below the folder. The index appears last: without
    it the shards are not whole, and a run that was interrupted is given again.

    Args:
        folder: sub-folders are searched.
        out: a folder that is empty, or holds what an interrupted run has left.
        shard_size: bytes from which on the next shard begins.
        progress: wraps the list of files, as tqdm does.

    Returns:
        What the index holds.

    Raises:
        DataError: there are no photographs, or `out` holds a whole set of shards already.
    """
    import webdataset

    if (out / INDEX).exists():
        raise DataError(f'{out} holds shards already ({INDEX}); name another folder')
    try:
        files = list_images([folder], recursive=True)
    except FileNotFoundError as error:
        raise DataError(f'{folder} holds no photograph') from error
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob('[0-9]*.tar'):
        left.unlink()
    counts: dict[str, int] = {}
    digest = hashlib.sha256()
    pattern = str(out / '%06d.tar').replace('%06d', '\0').replace('%', '%%').replace('\0', '%06d')
    with webdataset.ShardWriter(pattern, maxcount=len(files) + 1, maxsize=shard_size, verbose=0) as writer:
        for number, file in enumerate(progress(files)):
            path = file.relative_to(folder).as_posix()
            content = file.read_bytes()
            writer.write({'__key__': f'{number:09d}', file.suffix.lower().lstrip('.'): content, 'txt': path})
            name = Path(writer.fname).name
            counts[name] = counts.get(name, 0) + 1
            digest.update(f'{hashlib.sha256(content).hexdigest()}  {path}\n'.encode())
    index = dict(kind=KIND, version=1, images=len(files), shards=counts, list_sha256=digest.hexdigest())
    write_json(out / INDEX, index)
    return index


def _read_index(folder: Path) -> dict:
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f'no shards in {folder} (looked for {path.resolve()}): make them with `dualattn shard FOLDER {folder}`'
        )
    try:
        index = json.loads(path.read_text(encoding='utf-8'))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f'{path} is no index of shards ({error})') from error
    if not isinstance(index, dict) or index.get('kind') != KIND or index.get('version') != 1:
        raise DataError(f'{path} is no index of shards of version 1')
    missing = [name for name in index['shards'] if not (folder / name).is_file()]
    if missing:
        raise DataError(f'{folder} lacks {len(missing)} of {len(index["shards"])} shards, {missing[0]} for one')
    return index


@DATASETS.register_module()
class ShardDataset(IterableDataset):
    """An endless stream of training images from shards, the same samples as `ColorImageDataset` gives from the folder.

    For training alone: `train_dataloader.sampler=None`. Each pass shuffles the shards, shares them among processes and
    workers, and shuffles what it reads in a buffer; all of it, and each image's augmentation, follows from the seed.
    A training that is resumed begins a new pass, with another order.

    Args:
        data_root: folder with the shards and their index.
        prepare: configs of transforms without randomness.
        augment: configs of transforms that may be random.
        shuffle: images that the buffer holds; 0 keeps the order of shards and images.
        seed: of orders and augmentation.
        repeat: go on for ever; False ends after one pass.
        max_pixels: a larger image cannot be used.
        min_side: nor can one whose shorter side has fewer pixels than this.
        max_aspect: nor can one that is so many times longer than wide.
        decode_min_side: see `PhotoDataset`.

    Attributes:
        start: images that all processes have drawn before a resume; set by the training loop.

    Raises:
        FileNotFoundError: no shards there.
        DataError: the index is broken, or a shard is missing.
    """

    def __init__(
        self,
        data_root: str,
        prepare: Sequence[dict] = (),
        augment: Sequence[dict] = (),
        shuffle: int = 2000,
        seed: int = 0,
        repeat: bool = True,
        max_pixels: int = MAX_PIXELS,
        min_side: int = 16,
        max_aspect: float = 10.0,
        decode_min_side: int | None = None,
    ):
        super().__init__()
        self.folder = Path(data_root)
        self.index = _read_index(self.folder)
        steps = [TRANSFORMS.build(cfg) for cfg in prepare]
        self.prepare = v2.Compose(steps) if steps else torch.nn.Identity()
        self._preparation = describe_preparation(steps)
        self.augment = v2.Compose([TRANSFORMS.build(cfg) for cfg in augment]) if augment else torch.nn.Identity()
        self.shuffle = shuffle
        self.seed = seed
        self.repeat = repeat
        self.max_pixels = max_pixels
        self.min_side = min_side
        self.max_aspect = max_aspect
        self.decode_min_side = decode_min_side
        self.start = 0
        # a loader warns of each batch beyond the length of one pass
        warnings.filterwarnings('ignore', message='Length of IterableDataset')

    @property
    def metainfo(self) -> dict:
        """What mmengine hands to metrics and stores beside the weights: the `protocol`, see `PhotoDataset`."""
        pictures = f'{len(self):,} pictures of the shards of {self.folder.as_posix()}'
        shrunk = '' if self.decode_min_side is None else f', JPEG decoded at {self.decode_min_side} pixels or more'
        return dict(protocol=dict(description=f'{pictures}, {self._preparation}{shrunk}'))

    def _share(self, names: list[str]) -> list[str]:
        """Return the shards of this process and worker.

        Raises:
            DataError: there are fewer shards than readers.
        """
        rank, world_size = get_dist_info()
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        readers = world_size * workers
        if len(names) < readers:
            raise DataError(
                f'{self.folder} has {len(names)} shards for {world_size} processes with {workers} workers each: every '
                'reader needs one; make smaller shards (dualattn shard --shard-mb), or take fewer workers'
            )
        return names[rank * workers + number :: readers]

    def _decode(self, content: bytes, path: str) -> tuple[torch.Tensor, list[str]]:
        """Read one image: (3, H, W) uint8, prepared, and what is said of it."""
        # through a file, so that the one reader of photographs reads it; a closed one, since Windows opens none twice
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder, f'photo{Path(path).suffix}'))
            Path(file).write_bytes(content)
            try:
                with collect_messages() as found:
                    pixels = read_rgb(file, max_pixels=self.max_pixels, min_side=self.decode_min_side)
            except ImageError as error:
                raise ImageError(str(error).replace(file, path)) from error
        height, width, _ = pixels.shape
        if min(height, width) < self.min_side or max(height, width) > self.max_aspect * min(height, width):
            raise ImageError(
                f'{path}: {width} x {height} pixels; expected sides of at least {self.min_side} pixels, one not more '
                f'than {self.max_aspect:g} times the other'
            )
        image = self.prepare(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())  # (H, W, 3) -> (3, H, W)
        return image, [message.replace(file, path) for message in found]

    def __len__(self) -> int:
        """Images in one pass, those that cannot be used included; the stream itself is endless."""
        return self.index['images']

    def __iter__(self) -> Iterator[dict]:
        """Yield `inputs`, (3, H, W) uint8, and `path`, as `ColorImageDataset` does; unusable images are left out."""
        import webdataset

        epoch = 0
        while True:
            names = list(self.index['shards'])
            order = random.Random(mix_seed(self.seed, 5, self.start, epoch))
            if self.shuffle:
                order.shuffle(names)  # the same in all processes
            names = self._share(names)
            rank, _ = get_dist_info()
            buffer = random.Random(mix_seed(self.seed, 6, self.start, epoch, rank, int(names[0].split('.')[0])))
            stages = [
                webdataset.SimpleShardList([str(self.folder / name) for name in names]),
                webdataset.tarfile_to_samples(),
            ]
            if self.shuffle:
                stages.append(webdataset.shuffle(self.shuffle, rng=buffer))
            seen = 0
            for sample in webdataset.DataPipeline(*stages):
                path = sample['txt'].decode()
                (content,) = (value for key, value in sample.items() if key != 'txt' and not key.startswith('__'))
                try:
                    image, said = self._decode(content, path)
                except ImageError as error:
                    image, said = None, [f'{error}; it is left out']
                for message in said if epoch == 0 else ():  # once for each image, not in each pass
                    print_log(message, logger='current', level=logging.WARNING)
                if image is None:
                    continue
                seen += 1
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(mix_seed(self.seed, 7, self.start, epoch, int(sample['__key__'])))
                    image = self.augment(image)
                yield dict(inputs=image.contiguous(), path=path)
            if not seen:
                raise DataError(f'none of the images in {", ".join(names)} of {self.folder} can be used')
            if not self.repeat:
                return
            epoch += 1
