"""Draw docs/images/film.jpg: frames of a film, gray, predicted frame by frame, with carried colours, and in truth.

The film is what `dualattn benchmark video` makes of two photographs that may be shown: the cat of scikit-image (CC0)
moves over the Chinese palace of scikit-learn (CC BY).
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from colorization.benchmarks.video import color_clip, make_clip, measure_warp_error
from colorization.pipeline import Colorizer
from colorization.samples import packaged_color_photos
from colorization.sheet import draw_sheet
from dualattn.io.files import write_whole

OUT = Path(__file__).resolve().parents[1] / 'docs' / 'images' / 'film.jpg'
FRAMES, SIDE = 20, 288
SHOWN = range(2, 14, 2)
TILE = 224  # pixels


def main() -> int:
    """Draw and write the picture; says how far the colours of the same thing are apart from frame to frame."""
    photos = packaged_color_photos()
    ground, thing = (np.asarray(Image.open(photos[name]).convert('RGB')) for name in ('china', 'chelsea'))
    clip = make_clip('object over ground', [ground, thing], FRAMES, SIDE, 3)
    colorizer = Colorizer.from_pretrained()
    columns = dict(gray=np.stack([np.asarray(Image.fromarray(frame).convert('L')) for frame in clip.frames]))
    for name, steady in (('frame by frame', False), ('carried', True)):
        columns[name], predictions, _ = color_clip(colorizer, clip, steady)
        print(f'{name}: {predictions} predictions, warp error {measure_warp_error(columns[name], clip):.2f}')
    columns['truth'] = clip.frames
    rows = [[Image.fromarray(frames[number]) for frames in columns.values()] for number in SHOWN]
    sheet = draw_sheet(rows, list(columns), [f'frame {number}' for number in SHOWN], TILE)
    with write_whole(OUT, overwrite=True) as aside:
        sheet.save(aside, format='JPEG', quality=85, optimize=True)
    print(f'{OUT.name}: {sheet.width} x {sheet.height}, {OUT.stat().st_size // 1000} kB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
