"""KITTI's text files, read strictly: labels and calibrations."""

import math
from pathlib import Path

import numpy as np

from dualattn.engine import DataError

__all__ = ['DONT_CARE', 'KITTI_CLASSES', 'check_calibration', 'read_labels']

KITTI_CLASSES = ('Pedestrian', 'Cyclist', 'Car', 'Van', 'Truck', 'Person_sitting', 'Tram', 'Misc')
DONT_CARE = 'DontCare'
_CALIBRATION = {
    'P0': 12,
    'P1': 12,
    'P2': 12,
    'P3': 12,
    'R0_rect': 9,
    'Tr_velo_to_cam': 12,
    'Tr_imu_to_velo': 12,
}
_FORMAT = (
    'a line is: class truncated occluded alpha, left top right bottom of the box in the image, height width length, '
    'x y z of the bottom in the camera frame, rotation_y and, if it is a prediction, its score'
)


def read_labels(path: str | Path) -> dict[str, np.ndarray]:
    """Read a label file, as `get_label_anno` of mmdet3d's converter does.

    Empty lines and repeated spaces are passed over. Areas that nobody labelled, `DontCare`, come last, which mmdet3d
    takes for granted.

    Returns:
        For N lines `name` (N,), `truncated`, `occluded`, `alpha`, `rotation_y`, `score` (N,), `bbox` (N, 4) in pixels,
        `dimensions` (N, 3), length, height and width in metres, `location` (N, 3) in metres, `index`, the number among
        the objects or -1, and `group_ids` (N,).

    Raises:
        DataError: a line is malformed; names the file, the line and the fault.
    """
    rows = []
    try:
        text = Path(path).read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise DataError(f'{path} is no text file ({error})') from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            rows.append(_read_line(line.split(), f'{path}, line {number}'))
    rows.sort(key=lambda row: row[0] == DONT_CARE)
    values = np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, 15)
    objects = sum(row[0] != DONT_CARE for row in rows)
    return dict(
        name=np.array([row[0] for row in rows], dtype=str),
        truncated=values[:, 0],
        occluded=values[:, 1].astype(np.int64),
        alpha=values[:, 2],
        bbox=values[:, 3:7],
        dimensions=values[:, [9, 7, 8]],
        location=values[:, 10:13],
        rotation_y=values[:, 13],
        score=values[:, 14],
        index=np.array([*range(objects), *[-1] * (len(rows) - objects)], dtype=np.int32),
        group_ids=np.arange(len(rows), dtype=np.int32),
    )


def _read_line(words: list[str], place: str) -> tuple[str, list[float]]:
    if len(words) not in (15, 16):
        raise DataError(f'{place} has {len(words)} entries instead of 15 or 16; {_FORMAT}')
    name, *numbers = words
    try:
        values = [float(number) for number in numbers]
    except ValueError as error:
        raise DataError(f'{place}: {error}; {_FORMAT}') from error
    if not all(map(math.isfinite, values)):
        raise DataError(f'{place} has a NaN or an infinite number')
    if values[1] != int(values[1]):
        raise DataError(f'{place}: occluded is {numbers[1]}, not a whole number; {_FORMAT}')
    if name != DONT_CARE:
        if min(values[7:10]) <= 0:
            raise DataError(f'{place}: height, width and length are {" ".join(numbers[7:10])}, and have to be above 0')
        if values[3] > values[5] or values[4] > values[6]:
            raise DataError(f'{place}: left top right bottom are {" ".join(numbers[3:7])}, in another order')
    return name, [*values, 0.0][:15]


def check_calibration(path: str | Path) -> list[str]:
    """Tell what is wrong with a calibration file, which mmdet3d's converter reads by the number of the line."""
    lines = Path(path).read_text(encoding='utf-8', errors='replace').splitlines()
    names = [line.split(':')[0].strip() for line in lines]
    lacking = [name for name in _CALIBRATION if name not in names]
    if lacking:
        return [f'{path} has no {", ".join(lacking)}']
    if tuple(names[: len(_CALIBRATION)]) != tuple(_CALIBRATION):
        return [f'{path}: its lines have to be {", ".join(_CALIBRATION)}, in this order; got {", ".join(names[:7])}']
    faults = []
    for line, (name, count) in zip(lines, _CALIBRATION.items(), strict=False):
        words = line.split(' ')[1 : 1 + count]
        try:
            right = len(words) == count and all(math.isfinite(float(word)) for word in words)
        except ValueError:
            right = False
        if not right:
            faults.append(f'{path}: {name} is not followed by {count} numbers with a space before each')
    return faults
