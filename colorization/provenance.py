"""What was made by a network says so, in the terms of the IPTC, for archives and for those who look."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from dualattn import __version__
from dualattn.io.photos import Photo, xmp

# IPTC NewsCodes, digital source types: a photograph to which a trained network has added
SOURCE_TYPE = 'http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia'


def hash_weights(path: str | os.PathLike) -> str | None:
    """Return the SHA-256 of a weights file; None for a folder, whose files are hashed by whom they come from."""
    path = Path(path)
    if not path.is_file():
        return None
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest() if hasattr(hashlib, 'file_digest') else _hash(file)


def _hash(file) -> str:  # Python 3.10
    digest = hashlib.sha256()
    while part := file.read(1 << 20):
        digest.update(part)
    return digest.hexdigest()


def mark(photo: Photo, weights: str | None) -> Photo:
    """Return a colorized photograph whose XMP says what it is, by what and with which weights it was made.

    Args:
        photo: an XMP packet that nothing can be added to is replaced.
        weights: their SHA-256.
    """
    properties = {'Iptc4xmpExt:DigitalSourceType': SOURCE_TYPE, 'xmp:CreatorTool': f'dualattn {__version__}'}
    if weights is not None:
        properties['dualattn:WeightsSHA256'] = weights
    packet = photo.xmp if xmp.can_hold(photo.xmp) else None
    return replace(photo, xmp=xmp.add(packet, properties, replace=True))
