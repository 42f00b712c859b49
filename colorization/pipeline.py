"""From a photograph to the same photograph in colour: the one way that tools, libraries and exports share.

l -> predict_ab -> edit_ab -> merge; no step touches a file.
"""

import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, cast, overload

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from colorization.checkpoints import default_weights_path, load_network
from colorization.decoders.palette import has_palette, require_palette
from colorization.draft import Draft
from colorization.hints import Hints
from colorization.luminance import extract_l, join_luminance
from colorization.models import describe_network
from colorization.pictures import OnePicture, Picture, open_picture
from colorization.propagation import REACHES
from colorization.reference import Reference
from dualattn.configs import read_config
from dualattn.io.photos.photo import Photo
from dualattn.matmul import fast_matmul, find_product

STRIDE = 32  # pixels; networks take sides that are multiples of it
DEFAULT_SIZE = 256  # pixels, for networks that name no size of their own
MAX_BATCH = 16  # photographs that go through the network together
MAX_ASPECT = 4  # beyond it a picture is squeezed for the network, which would else see a strip of a few pixels


def network_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Return the height and width in pixels at which a network sees an image.

    The shape of the image is kept (up to `MAX_ASPECT`) on an area of about size x size pixels, with sides that are
    multiples of `STRIDE`.
    """
    root = math.sqrt(min(max(height / width, 1 / MAX_ASPECT), MAX_ASPECT))
    return max(1, round(size * root / STRIDE)) * STRIDE, max(1, round(size / root / STRIDE)) * STRIDE


def resize_l(l: Tensor, size: int) -> Tensor:
    """Scale l (B, 1, H, W) in [0, 100], of any size, to what a network sees of it; see `network_size`."""
    height, width = l.shape[2:]
    shape = network_size(height, width, size)
    return F.interpolate(l, shape, mode='bicubic', antialias=True, align_corners=False).clamp(0, 100)


def read_network_config(path: str | os.PathLike) -> dict[str, Any]:
    """Return a network's description from the training config of its run, as `Colorizer.from_pretrained` takes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read as a config, or has no model.generator.
    """
    try:
        config = read_config(path, import_modules=False)
    except ImportError as error:  # colorizing without a config does without mmengine
        raise ValueError(f"{path}: reading a config needs mmengine: pip install 'dualattn[train]'") from error
    except OSError:  # says itself that there is no such file, or that it is none of a config
        raise
    except Exception as error:  # a config is Python code, which can raise anything
        raise ValueError(f'{path}: cannot be read as a config: {type(error).__name__}: {error}') from error
    generator = config.to_dict().get('model', {}).get('generator')
    if not generator:
        raise ValueError(f'{path}: has no model.generator, so it does not describe a colorization network')
    return describe_network(generator)


class Colorizer:
    """Predict colours at the network's size and lay them over the full-resolution luminance of a photograph.

    The luminance of the input is kept; colours that sRGB cannot show at that luminance are made paler until it can. An
    input that has colours already loses them: just its luminance is used. On a CPU the network runs inside
    `dualattn.fast_matmul`.

    >>> rgb = Colorizer.from_pretrained()(gray)  # (H, W) or (H, W, 3) uint8 -> (H, W, 3) uint8

    Args:
        network: maps l (B, 1, H, W) in [0, 100] to ab (B, 2, H, W) in Lab units. It is moved and set to eval mode.
        size: side of the square, in pixels, whose area the network sees; see `network_size`. None takes the network's
            own `inference_size`, or 256 where it has none.
        device: where the network and the colour conversions run.
        dtype: floating type of the network; None keeps its own.
        chroma: factor on the predicted ab; below 1 is paler, above 1 stronger.
        vividness: by how much the network decides for the most plausible colour instead of mixing all that are; 1 is
            its own measure, less is paler, more is stronger. Other than `chroma` it does not overdo what is sure.
        hints: colours that the user gives, for every photograph whose call brings none of its own.
        reach: how far a hint tells: 'adaptive', 'object' or 'scene', see `HintField.spread`.
        like: a photograph in colour of the same scene or kind, whose colours are followed.

    Raises:
        ValueError: size is below 32, chroma is negative or not finite, vividness is not a number above 0, the
            network has no palette and so nothing to decide, or there is no such reach.
        ReferencePictureError: `like` is gray.
    """

    def __init__(
        self,
        network: nn.Module,
        size: int | None = None,
        device: str | torch.device = 'cpu',
        dtype: torch.dtype | None = None,
        chroma: float = 1.0,
        vividness: float = 1.0,
        hints: Hints | None = None,
        reach: str = 'adaptive',
        like: Picture | None = None,
    ):
        size = getattr(network, 'inference_size', DEFAULT_SIZE) if size is None else size
        if size < STRIDE:
            raise ValueError(f'size must be at least {STRIDE} pixels, got {size}')
        if not (math.isfinite(chroma) and chroma >= 0):
            raise ValueError(f'chroma must be 0 or more, got {chroma}')
        if not (math.isfinite(vividness) and vividness > 0):
            raise ValueError(f'vividness must be a number above 0, got {vividness}')
        if vividness != 1 and not has_palette(network):
            raise ValueError(f'vividness {vividness} needs a network with a palette head; for others there is chroma')
        self.network = network.to(device=device, dtype=dtype).eval()
        self.size = size
        self.device = torch.device(device)
        self.dtype = next((p.dtype for p in network.parameters()), torch.float32) if dtype is None else dtype
        self.chroma = chroma
        self.vividness = vividness
        if reach not in REACHES:
            raise ValueError(f'reach {reach!r}: expected one of {", ".join(REACHES)}')
        self.hints = hints
        self.reach = reach
        self._product = find_product(self.network, size)
        self.reference = None if like is None else Reference(self, open_picture(like)[0])

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike | None = None,
        config: dict[str, Any] | None = None,
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **kwargs: Any,
    ) -> 'Colorizer':
        """Load weights; without a path those that ship with the package.

        Args:
            path: a weights file or a folder, see `colorization.checkpoints.load_network`; or 'organization/name' of a
                repository in Hugging Face's form, which is fetched into huggingface_hub's cache.
            config: the network's description, for files that hold none.
            revision: a branch, tag or commit of a repository.
            cache_dir: another cache than huggingface_hub's.
            local_files_only: take a repository from the cache alone.
            token: of huggingface_hub; None takes the one that it has, False none.
            kwargs: size, device, dtype, chroma, vividness, hints, reach and like of the class.

        Raises:
            FileNotFoundError: there is no such file.
            HubError: the repository cannot be fetched, and is not in the cache.
            CheckpointError: the file cannot be used.
            ValueError: what belongs to repositories was given with a file.
        """
        from colorization.hub import fetch, is_repository

        options: dict[str, Any] = dict(
            revision=revision, cache_dir=cache_dir, local_files_only=local_files_only, token=token
        )
        if path is not None and is_repository(path):
            path = fetch(os.fspath(path), **options)
        elif given := [name for name, value in options.items() if value not in (None, False)]:
            raise ValueError(f'{", ".join(given)} belongs to a repository on the hub; {path or "the default"} is none')
        return cls(load_network(default_weights_path() if path is None else path, config), **kwargs)

    def save_pretrained(self, folder: str | os.PathLike, **options: Any) -> None:
        """Write the network as a folder in Hugging Face's form, which `from_pretrained` reads.

        Args:
            folder: where `model.safetensors`, `config.json` and a card, README.md, go.
            options: half, records, card_license and notes of `colorization.hub.save_folder`, which says what is raised.
        """
        from colorization.hub import save_folder

        save_folder(self.network, folder, **options)

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Write the network into a repository, 'organization/name', and return the address of the commit.

        Args:
            repository: is made where there is none.
            options: private, token, commit_message, half, records, card_license and notes of `colorization.hub.push`,
                which says what is raised.
        """
        from colorization.hub import push

        return push(self.network, repository, **options)

    @overload
    def __call__(self, image: OnePicture, hints: Hints | None = None) -> OnePicture: ...
    @overload
    def __call__(self, image: Sequence[Photo], hints: Hints | None = None) -> list[Photo]: ...
    @overload
    def __call__(self, image: Sequence[np.ndarray], hints: Hints | None = None) -> list[np.ndarray]: ...
    @overload
    def __call__(self, image: Sequence[Image.Image], hints: Hints | None = None) -> list[Image.Image]: ...
    @overload
    def __call__(self, image: Sequence[Tensor], hints: Hints | None = None) -> list[Tensor]: ...
    @overload
    def __call__(self, image: Sequence[Picture], hints: Hints | None = None) -> list[Picture]: ...
    def __call__(self, image: Picture | Sequence[Picture], hints: Hints | None = None) -> Any:
        """Colorize one photograph or several; the result is of the same kind.

        Args:
            image: a `Photo`, an array, a PIL image or a tensor, see `open_picture`, or a list of them. Those of a list
                that the network sees at the same size go through it together.
            hints: colours that the user gives, in place of the colorizer's own; none are the automatic result.

        Returns:
            What was given, in colour; for a list a list.

        Raises:
            TypeError: another kind of picture.
            ValueError: a shape or range that is wrong.
            HintError: the hints are for a picture of another shape.
        """
        if isinstance(image, (list, tuple)):
            opened = [open_picture(picture) for picture in image]
            colored = self.colorize_photos([photo for photo, _ in opened], hints)
            return [back(photo) for photo, (_, back) in zip(colored, opened, strict=True)]
        photo, back = open_picture(cast(Picture, image))
        return back(self.colorize_photo(photo, hints))

    def colorize_photo(self, photo: Photo, hints: Hints | None = None) -> Photo:
        """Return the photograph in colour, with the size, bit depth, alpha, metadata and profile of the input."""
        return self.colorize_photos([photo], hints)[0]

    def colorize_photos(self, photos: Sequence[Photo], hints: Hints | None = None) -> list[Photo]:
        """Return photographs in colour; those that the network sees at the same size go through it together."""
        hints = self.hints if hints is None else hints
        if hints is not None or self.reference is not None:  # needs each one's maps
            return [Draft(self, photo, hints, self.reach).finish() for photo in photos]
        lightness = [extract_l(photo.pixels) for photo in photos]
        groups: dict[tuple[int, int], list[int]] = {}
        for index, l in enumerate(lightness):
            height, width = l.shape
            groups.setdefault(network_size(height, width, self.size), []).append(index)
        colors: dict[int, Tensor] = {}
        for group in groups.values():
            for chunk in (group[start : start + MAX_BATCH] for start in range(0, len(group), MAX_BATCH)):
                small = torch.cat([resize_l(lightness[index][None, None], self.size) for index in chunk])
                colors.update(zip(chunk, self._answer(small), strict=True))
        return [
            replace(photo, pixels=self.merge(l, self.edit_ab(colors[index]), photo.pixels.dtype))
            for index, (photo, l) in enumerate(zip(photos, lightness, strict=True))
        ]

    def draft(self, picture: Picture, hints: Hints | None = None) -> Draft:
        """Run the network once on a photograph whose hints come later, one by one; see `Draft`."""
        return Draft(self, open_picture(picture)[0], self.hints if hints is None else hints, self.reach)

    def draw_variants(self, image: OnePicture, count: int, seed: int = 0) -> list[OnePicture]:
        """Colorize one photograph in other plausible ways, each coherent by region; see `alternatives.draw_variants`.

        Args:
            image: as for a call.
            count: number of versions.
            seed: the same seed gives the same versions, and the first ones do not depend on `count`.

        Returns:
            Versions of the kind of the image.

        Raises:
            TypeError: the network has no palette, so that it knows one version alone; or another kind of picture.
            ValueError: count is below 1, or a shape is wrong.
        """
        photo, back = open_picture(image)
        same_kind: Any = back
        require_palette(self.network)  # refused before the network runs
        return [same_kind(version) for version in self.draft(photo).draw_variants(count, seed)]

    def measure_doubt(self, image: Picture) -> np.ndarray:
        """Return where the network is unsure, (H, W) float32 in [0, 1]; see `alternatives.measure_doubt`.

        Raises:
            TypeError: the network has no palette, so that it tells no doubt; or another kind of picture.
        """
        require_palette(self.network)  # refused before the network runs
        return Draft(self, open_picture(image)[0]).measure_doubt()

    def edit_ab(self, ab: Tensor) -> Tensor:
        """Change predicted colours as the user wishes: the one place between `predict_ab` and `merge`.

        Args:
            ab: (2, h, w) in Lab units, as the network gives them.

        Returns:
            (2, h, w) in Lab units, scaled by `chroma`.
        """
        return ab * self.chroma

    @torch.inference_mode()
    def predict_ab(self, l: Tensor) -> Tensor:
        """Predict colours at the network's size.

        Args:
            l: (B, 1, H, W) float in [0, 100], any size.

        Returns:
            (B, 2, h, w) float32 in Lab units on the device, with (h, w) of `network_size`.

        Raises:
            FloatingPointError: the network answers with NaN or infinite values.
        """
        return self._answer(resize_l(l, self.size))

    @torch.inference_mode()
    def _answer(self, small: Tensor) -> Tensor:
        """Let the network answer to l (B, 1, h, w) as it sees it; resizing twice could round to another size."""
        options = (
            {} if self.vividness == 1 else dict(temperature=require_palette(self.network).temperature / self.vividness)
        )
        with self._fast_matmul():
            return self._check_finite(self.network(small.to(self.device, self.dtype), **options).float())

    def _check_finite(self, ab: Tensor) -> Tensor:
        if not bool(ab.isfinite().all()):
            raise FloatingPointError(
                f'the network answers with NaN or infinite colours in {self.dtype}; use float32 or other weights'
            )
        return ab

    @torch.inference_mode()
    def predict_scores(self, l: Tensor) -> Tensor:
        """Score the colours of the palette at the network's size.

        Args:
            l: (B, 1, H, W) float in [0, 100], any size.

        Returns:
            (B, K, h / 4, w / 4) float32 on the device, with (h, w) of `network_size`; z of `PaletteHead`.

        Raises:
            TypeError: the network has no palette.
        """
        require_palette(self.network)
        network: Any = self.network  # an MPT, since it has such a head
        with self._fast_matmul():
            return network.forward_scores(resize_l(l, self.size).to(self.device, self.dtype))

    @torch.inference_mode()
    def mix_scores(self, scores: Tensor) -> Tensor:
        """Return the colours of scores, as `predict_ab` would with this vividness.

        Args:
            scores: (B, K, h / 4, w / 4), what `predict_scores` gives.

        Returns:
            (B, 2, h, w) float32 in Lab units on the device.

        Raises:
            TypeError: the network has no palette.
            FloatingPointError: the scores are NaN or infinite.
        """
        temperature = require_palette(self.network).temperature / self.vividness
        with self._fast_matmul():
            network: Any = self.network
            return self._check_finite(network.mix_scores(scores, temperature).float())

    def _fast_matmul(self) -> AbstractContextManager[bool]:
        if self.dtype != torch.float32:
            return nullcontext(False)
        return fast_matmul(self._product, device=self.device)

    def merge(self, l: Tensor, ab: Tensor, dtype: np.dtype) -> np.ndarray:
        """Enlarge predicted colours smoothly and join them to a luminance; see `join_luminance`.

        Args:
            l: (H, W) in [0, 100].
            ab: (2, h, w) in Lab units.
            dtype: integer type of the result.

        Returns:
            sRGB (H, W, 3).
        """
        return join_luminance(l, ab.to(self.device), dtype)
