"""Pictures about pictures: sheets of photographs with their names, before beside after."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dualattn.io.files import write_whole
from dualattn.io.photos import Photo
from dualattn.io.photos.photo import to_8_bit
from dualattn.io.photos.writing import JPEG_SIDE

GAP = 4
GRID_SIDE = 640  # pixels
BACKGROUND = 'white'
INK = 'black'
# Doubt of a 20th of the places in photographs is below, of as many above: a whole palette is never ruled out, and the
# picture is to show differences.
SURE, UNSURE = 0.45, 0.92


def draw_sheet(
    rows: Sequence[Sequence[Image.Image]], headers: Sequence[str], captions: Sequence[str], tile: int = 192
) -> Image.Image:
    """Draw a table of images.

    Args:
        rows: the images of each row, all rows as long as `headers`.
        headers: what stands above each column.
        captions: what stands below each row.
        tile: images are scaled down or up to fit a square of this many pixels, with their proportions kept.

    Raises:
        ValueError: no row, or rows, headers and captions do not go together.
    """
    if not rows or len(captions) != len(rows) or any(len(row) != len(headers) for row in rows):
        raise ValueError(
            f'a sheet needs rows of {len(headers)} images, one for each header, and a caption for each row; '
            f'got rows of {[len(row) for row in rows]} images and {len(captions)} captions.'
        )
    font = ImageFont.load_default(size=max(10, tile // 14))
    line = round(font.getbbox('Ág')[3]) + GAP
    scaled = [[_fit(image, tile) for image in row] for row in rows]
    heights = [max(image.height for image in row) + line + GAP for row in scaled]
    sheet = Image.new('RGB', (GAP + (tile + GAP) * len(headers), GAP + line + sum(heights)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    lefts = [GAP + (tile + GAP) * column for column in range(len(headers))]
    for left, header in zip(lefts, headers, strict=True):
        draw.text((left, GAP), header, fill=INK, font=font)
    top = GAP + line
    for row, caption, height in zip(scaled, captions, heights, strict=True):
        for left, image in zip(lefts, row, strict=True):
            sheet.paste(image, (left + (tile - image.width) // 2, top))
        draw.text((GAP, top + height - line - GAP), caption, fill=INK, font=font)
        top += height
    return sheet


def save_sheet(sheet: Image.Image, path: str | Path) -> None:
    """Write a sheet as PNG, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as aside:
        sheet.save(aside, format='PNG')


def to_picture(rgb: torch.Tensor) -> Image.Image:
    """Turn an image (3, H, W) float, RGB in [0, 1], into a Pillow image."""
    levels = (255 * rgb.detach().cpu().float()).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())  # (3, H, W) -> (H, W, 3)


def _fit(image: Image.Image, tile: int) -> Image.Image:
    scale = tile / max(image.size)
    width, height = (max(1, round(scale * side)) for side in image.size)
    return image.convert('RGB').resize((width, height), Image.Resampling.LANCZOS)


def join_pair(before: Photo, after: Photo) -> Photo:
    """Put two photographs of one size side by side, made smaller where that is too wide for a JPEG."""
    pixels = np.concatenate([before.rgb, after.rgb], axis=1)
    scale = JPEG_SIDE / max(pixels.shape[:2])
    if scale < 1:
        size = [max(1, int(scale * side)) for side in pixels.shape[1::-1]]
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return Photo(pixels)


def join_grid(photos: Sequence[Photo], columns: int = 3) -> Photo:
    """Put photographs of one size into a grid, each at most `GRID_SIDE` pixels wide and high; the first is top left."""
    scale = min(1.0, GRID_SIDE / max(photos[0].pixels.shape[:2]))
    size = [max(1, int(scale * side)) for side in photos[0].pixels.shape[1::-1]]
    tiles = [cv2.resize(photo.rgb, size, interpolation=cv2.INTER_AREA) for photo in photos]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    blank = np.full_like(tiles[0], np.iinfo(photos[0].pixels.dtype).max)
    tiles += [blank] * (rows * columns - len(tiles))
    return Photo(np.vstack([np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)]))


def draw_doubt(photo: Photo, doubt: np.ndarray) -> Photo:
    """Lay a map of doubt over a photograph: where it is sure it stays gray, where not it glows from violet to yellow.

    Args:
        photo: the photograph, H x W pixels.
        doubt: (H, W) float in [0, 1]; `SURE` and less is gray, `UNSURE` and more yellow.
    """
    doubt = np.clip((doubt - SURE) / (UNSURE - SURE), 0, 1)
    gray = cv2.cvtColor(to_8_bit(photo.rgb), cv2.COLOR_RGB2GRAY)
    glow = cv2.applyColorMap((doubt * 255).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return Photo((gray[..., None] * (1 - doubt[..., None]) + glow * doubt[..., None]).round().astype(np.uint8))
