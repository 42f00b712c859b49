"""From a photograph to the same photograph in colour: the one way that tools, libraries and exports share.

l -> predict_ab -> edit_ab -> merge; no step touches a file.
"""

import math
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorization.checkpoints import default_weights_path, load_network
from colorization.luminance import extract_l, join_luminance
from dualattn.io.photos.photo import Photo
from dualattn.matmul import fast_matmul, find_product

STRIDE = 32  # pixels; networks take sides that are multiples of it
DEFAULT_SIZE = 256  # pixels, for networks that name no size of their own
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
    shape = network_size(*l.shape[2:], size)
    return F.interpolate(l, shape, mode='bicubic', antialias=True, align_corners=False).clamp(0, 100)


def read_network_config(path: str | os.PathLike) -> dict[str, Any]:
    """Return a network's description from the training config of its run, as `Colorizer.from_pretrained` takes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read as a config, or has no model.generator.
    """
    from mmengine.config import Config  # colorizing without a config does without mmengine

    try:
        config = Config.fromfile(path, import_custom_modules=False)
    except OSError:  # says itself that there is no such file, or that it is none of a config
        raise
    except Exception as error:  # a config is Python code, which can raise anything
        raise ValueError(f'{path}: cannot be read as a config: {type(error).__name__}: {error}') from error
    config = config.to_dict().get('model', {}).get('generator')
    if not config:
        raise ValueError(f'{path}: has no model.generator, so it does not describe a colorization network')
    config.pop('encoder_weights', None)  # where training starts from; the weights file holds what it came to
    return config


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

    Raises:
        ValueError: size is below 32 or chroma is negative or not finite.
    """

    def __init__(
        self,
        network: nn.Module,
        size: int | None = None,
        device: str | torch.device = 'cpu',
        dtype: torch.dtype | None = None,
        chroma: float = 1.0,
    ):
        size = getattr(network, 'inference_size', DEFAULT_SIZE) if size is None else size
        if size < STRIDE:
            raise ValueError(f'size must be at least {STRIDE} pixels, got {size}')
        if not (math.isfinite(chroma) and chroma >= 0):
            raise ValueError(f'chroma must be 0 or more, got {chroma}')
        self.network = network.to(device=device, dtype=dtype).eval()
        self.size = size
        self.device = torch.device(device)
        self.dtype = next((p.dtype for p in network.parameters()), torch.float32) if dtype is None else dtype
        self.chroma = chroma
        self._product = find_product(self.network, size)

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike | None = None, config: dict[str, Any] | None = None, **kwargs: Any
    ) -> 'Colorizer':
        """Load weights; without a path those that ship with the package.

        Args:
            path: a weights file, see `colorization.checkpoints.load_network`.
            config: the network's description, for files that hold none.
            kwargs: size, device, dtype and chroma of the class.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: the file cannot be used.
        """
        return cls(load_network(default_weights_path() if path is None else path, config), **kwargs)

    def __call__(self, image: Photo | np.ndarray) -> Photo | np.ndarray:
        """Colorize one photograph; an array gives an array, a `Photo` a `Photo`.

        Args:
            image: a `Photo`, or an array of uint8 or uint16 sRGB: (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA.

        Returns:
            A `Photo`, or an array of the same type: (H, W, 3), or (H, W, 4) with the alpha of the input.

        Raises:
            TypeError: neither a `Photo` nor an array, or an array of another type.
            ValueError: the array has another shape.
        """
        if isinstance(image, Photo):
            return self.colorize_photo(image)
        if not isinstance(image, np.ndarray):
            raise TypeError(f'expected a Photo or a numpy array, got {type(image).__name__}')
        if image.shape[2:] == (4,):
            photo = self.colorize_photo(Photo(image[..., :3], alpha=image[..., 3]))
            return np.dstack([photo.pixels, photo.alpha])
        return self.colorize_photo(Photo(image)).pixels

    def colorize_photo(self, photo: Photo) -> Photo:
        """Return the photograph in colour, with the size, bit depth, alpha, metadata and profile of the input."""
        l = extract_l(photo.pixels)
        ab = self.edit_ab(self.predict_ab(l[None, None])[0])
        return replace(photo, pixels=self.merge(l, ab, photo.pixels.dtype))

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
        with self._fast_matmul():
            ab = self.network(resize_l(l, self.size).to(self.device, self.dtype)).float()
        if not bool(ab.isfinite().all()):
            raise FloatingPointError(
                f'the network answers with NaN or infinite colours in {self.dtype}; use float32 or other weights'
            )
        return ab

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
