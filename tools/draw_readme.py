"""Draw the picture on top of the README: gray photographs and what the packaged weights make of them.

Without arguments, two photographs inside installed packages that are in the public domain: a rocket on its pad (SpaceX,
CC0) and Grace Hopper (U.S. Navy).
"""

import sys
from pathlib import Path

import cv2
import matplotlib.cbook
import numpy as np
from PIL import Image, ImageOps

from colorization import Colorizer
from colorization.samples import packaged_color_photos
from dualattn.io.files import write_whole

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / 'docs' / 'images' / 'before_after.jpg'
HEIGHT = 300  # pixels of each picture
GAP = 8


def main() -> int:
    """Draw and write the picture."""
    colorize = Colorizer.from_pretrained()
    photos = packaged_color_photos() | {'hopper': matplotlib.cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)}
    rows = []
    for name in sys.argv[1:] or ['rocket', 'hopper']:
        photo = ImageOps.fit(Image.open(photos[name]).convert('RGB'), (HEIGHT * 4 // 3, HEIGHT), centering=(0.5, 0.2))
        gray = cv2.cvtColor(np.asarray(photo), cv2.COLOR_RGB2GRAY)
        rows.append(
            np.hstack([np.repeat(gray[..., None], 3, axis=2), np.full((HEIGHT, GAP, 3), 255, np.uint8), colorize(gray)])
        )
    sheet = np.vstack(rows)
    with write_whole(TARGET) as aside:
        Image.fromarray(sheet).save(aside, quality=88, optimize=True)
    print(f'{TARGET}: {sheet.shape[1]} x {sheet.shape[0]}, {TARGET.stat().st_size // 1000} kB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
