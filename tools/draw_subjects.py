"""Draw the pictures of docs/subjects.md: what the packaged weights make of skin, sky, foliage, cloth and things.

The photographs lie inside installed packages and may be shown: NASA's astronaut, the U.S. Navy's portrait of Grace
Hopper and SpaceX's rocket (public domain, CC0), the cat and the coffee of scikit-image (CC0), the flower (CC BY) and
the Chinese palace (CC BY) of scikit-learn. None of them took part in the training.
"""

import sys
from pathlib import Path

import matplotlib.cbook
import numpy as np
from PIL import Image

from colorization import Colorizer
from colorization.pictures import open_picture
from colorization.samples import packaged_color_photos
from colorization.sheet import draw_doubt, draw_sheet
from dualattn.io.files import write_whole

FOLDER = Path(__file__).resolve().parents[1] / 'docs' / 'images'
TILE = 256  # pixels
SUBJECTS = {
    'skin': ['hopper', 'astronaut'],
    'sky': ['rocket', 'china'],
    'foliage': ['flower'],
    'things': ['coffee', 'chelsea', 'motorcycle'],
}


def main() -> int:
    """Draw and write a sheet for each subject."""
    colorize = Colorizer.from_pretrained()
    photos = packaged_color_photos() | {'hopper': matplotlib.cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)}
    for subject, names in SUBJECTS.items():
        rows = []
        for name in names:
            truth = Image.open(photos[name]).convert('RGB')
            truth.thumbnail((2 * TILE, 2 * TILE))
            gray = truth.convert('L')
            vivid = Colorizer(colorize.network, vividness=2)
            doubt = draw_doubt(open_picture(gray)[0], colorize.measure_doubt(gray))
            rows.append([gray, colorize(gray), vivid(gray), Image.fromarray(np.asarray(doubt.pixels)), truth])
        sheet = draw_sheet(rows, ['gray', 'default', '--vividness 2', '--doubt', 'photograph'], names, TILE)
        path = FOLDER / f'subject_{subject}.jpg'
        with write_whole(path) as aside:
            sheet.save(aside, format='JPEG', quality=85, optimize=True)
        print(f'{path}: {sheet.width} x {sheet.height}, {path.stat().st_size // 1000} kB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
