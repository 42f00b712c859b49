"""The one door to photographs: `read_photo`, `read_rgb`, `write_photo` and lists of files; inside, all is sRGB."""

from dualattn.io.photos.listing import IMAGE_SUFFIXES, list_images
from dualattn.io.photos.photo import ImageError, Photo
from dualattn.io.photos.reading import MAX_PIXELS, count_pages, read_photo, read_rgb
from dualattn.io.photos.writing import WRITE_FORMATS, write_photo

__all__ = [
    'IMAGE_SUFFIXES',
    'MAX_PIXELS',
    'WRITE_FORMATS',
    'ImageError',
    'Photo',
    'count_pages',
    'list_images',
    'read_photo',
    'read_rgb',
    'write_photo',
]
