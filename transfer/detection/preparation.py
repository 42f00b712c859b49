"""COCO folders, checked as a whole before a training asks for them."""

import json
from pathlib import Path

from dualattn.engine import DataError
from transfer.detection.annotations import check_annotations

__all__ = ['prepare_coco']


def prepare_coco(root: Path, classes: list[str] | None = None, with_mask: bool = True) -> list[str]:
    """Check COCO's training and validation annotations against their images, and remember the images' headers.

    Nothing is written below `root`: mmdet reads COCO as it is.

    Args:
        root: holds annotations/instances_{train,val}2017.json, train2017/ and val2017/.
        classes: names of the classes, in order; those of the training annotations if None.
        with_mask: every object needs an outline.

    Returns:
        For each split a sentence with the numbers of images, objects and classes.

    Raises:
        FileNotFoundError: an annotation file is missing.
        DataError: see `check_annotations`, or a split has no annotations; every split is checked, and all faults are
            named.
    """
    summaries, faults = [], []
    for split in ('train2017', 'val2017'):
        path = Path(root, 'annotations', f'instances_{split}.json')
        if not path.is_file():
            raise FileNotFoundError(f'no annotations at {path}: expected annotations/instances_{{train,val}}2017.json')
        try:
            names = classes or _read_names(path)
            check_annotations(path, Path(root, split), names, with_mask, for_test=split == 'val2017')
        except DataError as error:
            faults.append(str(error))
            continue
        classes = names
        content = json.loads(path.read_text(encoding='utf-8-sig'))
        if 'annotations' not in content:
            faults.append(f'{path} has no annotations, by which a validation measures')
            continue
        summaries.append(
            f'{path}: {len(content["images"]):,} images and {len(content["annotations"]):,} objects of '
            f'{len(names)} classes fit'
        )
    if faults:
        raise DataError('; '.join(faults))
    return summaries


def _read_names(path: Path) -> list[str]:
    """Read the classes of an annotation file, in its order."""
    try:
        return [str(category['name']) for category in json.loads(path.read_text(encoding='utf-8-sig'))['categories']]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f'{path} is no COCO annotation file ({error})') from error
