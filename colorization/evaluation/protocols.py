"""Which pictures of a data set are compared, and how they are brought to size: one protocol a data set."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath

from torch import Tensor
from torchvision.transforms import v2

__all__ = ['PROTOCOLS', 'Protocol', 'get_protocol']


@dataclass(frozen=True)
class Protocol:
    """What has to be equal before two numbers can be compared.

    Attributes:
        name: what `--protocol` takes.
        pictures: which pictures of the data set, in words.
        count: how many there are; None for a folder of one's own.
        sort_by: 'path', folder by folder, or 'name', by the file's name alone whatever folder it lies in.
        limit: only the first so many in that order; None takes all.
        resize: 'short side' keeps the aspect, 'squeeze' makes the whole picture a square, 'none' leaves it.
        size: side of the square in pixels; None with resize='none'.
        crop: take the central square after resizing.
        interpolation: filter of the resize.
        antialias: whether that filter widens when a picture shrinks.
    """

    name: str
    pictures: str
    count: int | None = None
    sort_by: str = 'path'
    limit: int | None = None
    resize: str = 'none'
    size: int | None = None
    crop: bool = False
    interpolation: str = 'bilinear'
    antialias: bool = True

    def select(self, names: Sequence[PurePath]) -> list[PurePath]:
        """Choose the pictures that count, in the protocol's order, from paths relative to the data set's folder."""
        key = (lambda path: (path.name, path.parts)) if self.sort_by == 'name' else (lambda path: path.parts)
        return sorted(names, key=key)[: self.limit]

    def prepare(self, rgb: Tensor) -> Tensor:
        """Bring a picture to size: (3, H, W) uint8 to (3, size, size), or to itself with resize='none'.

        A picture that has the size already comes back bit by bit, so that copies that were prepared before may be
        handed in instead of the data set.
        """
        if self.resize == 'none':
            return rgb
        size = self.size if self.resize == 'short side' else (self.size, self.size)
        mode = v2.InterpolationMode(self.interpolation)
        rgb = v2.functional.resize(rgb, size, interpolation=mode, antialias=self.antialias)
        return v2.functional.center_crop(rgb, self.size) if self.crop else rgb

    def transforms(self) -> list[dict]:
        """The same preparation as the `prepare` of a data set's config."""
        if self.resize == 'none':
            return []
        size = self.size if self.resize == 'short side' else (self.size, self.size)
        steps = [dict(type='torchvision/Resize', size=size, antialias=self.antialias)]
        return [*steps, dict(type='torchvision/CenterCrop', size=self.size)] if self.crop else steps

    def describe(self) -> str:
        """Say it in one line, for a log or beneath a table."""
        if self.resize == 'none':
            return f'{self.pictures}, as they are'
        how = f'{self.interpolation}{", antialiased" if self.antialias else ""}'
        if self.resize == 'squeeze':
            return f'{self.pictures}, squeezed to {self.size} x {self.size} ({how})'
        crop = f', centre crop {self.size} x {self.size}' if self.crop else ''
        return f'{self.pictures}, short side resized to {self.size} ({how}){crop}'

    def to_dict(self) -> dict:
        """Everything of it, for a record."""
        return dict(asdict(self), description=self.describe())


# By the author of DDColor, whose rows MPT Table I takes over: val5k is cropped, everything else is squeezed.
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            'imagenet-val5k',
            "the first 5,000 pictures by name of ImageNet's validation set",
            count=5000,
            sort_by='name',
            limit=5000,
            resize='short side',
            size=256,
            crop=True,
        ),
        Protocol(
            'imagenet-val50k',
            "all 50,000 pictures of ImageNet's validation set",
            count=50000,
            sort_by='name',
            resize='squeeze',
            size=256,
        ),
        Protocol('coco-stuff', "the 5,000 pictures of COCO's val2017", count=5000, resize='squeeze', size=256),
        Protocol('ade20k', "the 2,000 pictures of ADE20K's validation set", count=2000, resize='squeeze', size=256),
        Protocol('celeba-hq', 'the 30,000 pictures of CelebA-HQ', count=30000, resize='squeeze', size=256),
        Protocol('folder', 'all pictures of the folder'),
    )
}


def get_protocol(name: str) -> Protocol:
    """Look a protocol up by its name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise ValueError(f'unknown protocol {name!r}; expected one of {", ".join(PROTOCOLS)}')
    return PROTOCOLS[name]
