"""What was made by a network says so, in the terms of the IPTC, for archives and for those who look."""

import os
from dataclasses import replace

from dualattn import __version__
from dualattn.io.files import hash_file
from dualattn.io.photos import Photo, xmp
from dualattn.io.weights import read_weights

# IPTC NewsCodes, digital source types: a photograph to which a trained network has added
SOURCE_TYPE = 'http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia'


def hash_weights(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a weights file; for a folder, of the file in it that its weights are read from.

    Raises:
        FileNotFoundError: there is no such file or folder.
        CheckpointError: the folder holds no weights that can be read.
    """
    return hash_file(read_weights(path).path if os.path.isdir(path) else path)


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
