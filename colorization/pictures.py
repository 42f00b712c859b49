"""The kinds of pictures that people hold, arrays, PIL images and tensors, as photographs and back."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dualattn.io.photos.photo import Photo

__all__ = ['OnePicture', 'Picture', 'open_picture']

Picture = Photo | np.ndarray | Image.Image | Tensor
OnePicture = TypeVar('OnePicture', Photo, np.ndarray, Image.Image, Tensor)  # what goes in comes out


def open_picture(picture: Picture) -> tuple[Photo, Callable[[Photo], Picture]]:
    """Return a picture as a photograph, and the function that gives a photograph the kind of the picture again.

    Args:
        picture: one of

            - a `Photo`;
            - an array of uint8 or uint16 sRGB: (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA;
            - a PIL image of any mode; the result is RGB, with the alpha of the input RGBA, and keeps 8 bits alone;
            - a tensor (1, H, W) gray or (3, H, W) RGB on any device: uint8 in [0, 255], or float in [0, 1], which goes
              through 16 bits; the result is (3, H, W) of the same type on the same device.

    Raises:
        TypeError: another kind, or a type of numbers that is not listed.
        ValueError: another shape, or a float tensor outside of [0, 1].
    """
    if isinstance(picture, Photo):
        return picture, lambda photo: photo
    if isinstance(picture, np.ndarray):
        return _open_array(picture)
    if isinstance(picture, Image.Image):
        return _open_image(picture)
    if isinstance(picture, Tensor):
        return _open_tensor(picture)
    raise TypeError(
        f'expected a Photo, a numpy array, a PIL image or a torch tensor, got {type(picture).__name__}; '
        'dualattn.io.photos.read_photo reads files'
    )


def _open_array(array: np.ndarray) -> tuple[Photo, Callable[[Photo], np.ndarray]]:
    if array.shape[2:] == (4,):
        photo = Photo(array[..., :3], alpha=array[..., 3])
        return photo, lambda photo: np.dstack([photo.pixels, photo.alpha])
    return Photo(array), lambda photo: photo.pixels


def _open_image(image: Image.Image) -> tuple[Photo, Callable[[Photo], Image.Image]]:
    if image.mode in ('I', 'F'):
        raise TypeError(
            f"PIL's mode {image.mode} has no fixed range; give its numbers as an array of uint8 or uint16, or read the "
            'file with dualattn.io.photos.read_photo'
        )
    if image.mode.startswith('I;16'):
        return Photo(np.asarray(image).astype(np.uint16)), _to_image
    has_alpha = image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa') or 'transparency' in image.info
    if not has_alpha:
        gray = image.mode in ('1', 'L')
        return Photo(np.asarray(image.convert('L' if gray else 'RGB'))), _to_image
    if image.mode == 'La':  # the one mode that Pillow turns into no colour
        image = image.convert('LA')
    rgba = np.asarray(image.convert('RGBA'))
    return Photo(rgba[..., :3], alpha=rgba[..., 3]), _to_image


def _to_image(photo: Photo) -> Image.Image:
    pixels = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    if pixels.dtype == np.uint16:
        pixels = (pixels.astype(np.uint32) * 255 + 32767) // 65535  # PIL has no colour of 16 bits
    return Image.fromarray(pixels.astype(np.uint8))


def _open_tensor(tensor: Tensor) -> tuple[Photo, Callable[[Photo], Tensor]]:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        raise ValueError(
            f'a tensor has to be (1, H, W) or (3, H, W), got {tuple(tensor.shape)}; give several as a list: '
            'list(batch) of a (B, C, H, W) tensor'
        )
    if tensor.is_floating_point():
        if not bool(((tensor >= 0) & (tensor <= 1)).all()):
            raise ValueError('a float tensor has to lie in [0, 1]; divide by 255 what counts to 255')
        levels, kind = 65535, np.uint16
    elif tensor.dtype == torch.uint8:
        levels, kind = 1, np.uint8
    else:
        raise TypeError(f'a tensor has to be uint8 or floating point, got {tensor.dtype}')
    values = tensor.detach().cpu()
    values = (values.double() * levels).round() if tensor.is_floating_point() else values
    pixels = values.permute(1, 2, 0).numpy().astype(kind)  # (C, H, W) -> (H, W, C)
    photo = Photo(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))

    def back(photo: Photo) -> Tensor:
        result = torch.from_numpy(photo.rgb.astype(np.int32)).permute(2, 0, 1)  # (H, W, C) -> (C, H, W)
        if tensor.is_floating_point():
            result = result.double() / levels
        return result.contiguous().to(tensor.device, tensor.dtype)

    return photo, back
