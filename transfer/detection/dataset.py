"""mmdet's COCO data set, with its annotations checked before the first image is read."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from dualattn.engine import DataError

__all__ = ['CheckedCocoDataset', 'check_annotations']


@DATASETS.register_module()
class CheckedCocoDataset(CocoDataset):
    """mmdet's CocoDataset, which refuses annotations that mmdet would skip in silence or stumble over hours later.

    Takes the arguments of `mmdet.datasets.CocoDataset`, for local files.

    Args:
        with_mask: every object needs an outline.

    Raises:
        FileNotFoundError: see `check_annotations`.
        DataError: see `check_annotations`.
    """

    def __init__(self, *args, with_mask: bool = True, **kwargs):
        self.with_mask = with_mask
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Check the annotations, then read them as mmdet does."""
        check_annotations(
            self.ann_file, self.data_prefix['img'], self.metainfo['classes'], self.with_mask, self.test_mode
        )
        return super().load_data_list()


def check_annotations(
    path, image_folder, classes: Sequence[str], with_mask: bool = True, for_test: bool = False
) -> None:
    """Check a COCO annotation file against its images and the classes of a model.

    Images without objects are in order, as are boxes of no height or width and boxes that stick out by a hundredth of
    the image's side: COCO itself has them, and mmdet skips or clips them.

    Args:
        path: the annotation file.
        image_folder: where the images lie that it names.
        classes: names of the model's classes.
        with_mask: every object needs an outline.
        for_test: the file may leave out the annotations, as that of COCO's test-dev does.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: images are missing; boxes lie outside or are no boxes; outlines are empty; objects refer to unknown
            images or categories; classes have no category; or nothing is annotated at all. Every fault is named at
            once, with the number of entries and the first ids.
    """
    content = _read(path, for_test)
    images, annotations = content['images'], content.get('annotations')
    sizes = {image['id']: (image['width'], image['height']) for image in images}
    category_ids = {category['id'] for category in content['categories']}
    names = {category['name'] for category in content['categories']}
    objects = [annotation for annotation in annotations or () if not annotation.get('ignore')]
    faults = [
        *_list(
            f'images are not in {image_folder}',
            (
                f'{image["id"]} ({image["file_name"]})'
                for image in images
                if not Path(image_folder, image['file_name']).is_file()
            ),
        ),
        *_list(
            'annotations belong to no image',
            (f'{one["id"]} (image {one["image_id"]})' for one in objects if one['image_id'] not in sizes),
        ),
        *_list(
            'annotations have a category id that is not among the categories',
            (
                f'{one["id"]} (category {one["category_id"]})'
                for one in objects
                if one['category_id'] not in category_ids
            ),
        ),
        *_list(
            'annotations have a box outside of their image, or none',
            (
                f'{one["id"]} ({one.get("bbox")} in {sizes[one["image_id"]][0]} x {sizes[one["image_id"]][1]})'
                for one in objects
                if one['image_id'] in sizes and not _is_inside(one.get('bbox'), *sizes[one['image_id']])
            ),
        ),
        *_list(
            'annotations have an empty outline',
            (str(one['id']) for one in objects if with_mask and not one.get('segmentation')),
        ),
        *_list(
            "of the model's classes have no category of that name; set metainfo.classes of the data sets to yours",
            (name for name in classes if name not in names),
        ),
    ]
    if not objects and annotations is not None:
        faults.append('there are no annotations at all')
    if faults:
        raise DataError(f'{path} cannot be used: ' + '; '.join(faults))


def _read(path, for_test: bool) -> dict:
    """Read the file and check that the parts are there that the rest relies on."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'no annotations at {path}: set data_root and ann_file of the data set, and ann_file of the evaluator'
        )
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise DataError(f'{path} is no JSON file ({error})') from error
    needed = dict(
        images=('id', 'file_name', 'width', 'height'),
        annotations=('id', 'image_id', 'category_id'),
        categories=('id', 'name'),
    )
    if for_test and isinstance(content, dict) and 'annotations' not in content:
        del needed['annotations']
    for section, keys in needed.items():
        entries = content.get(section) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise DataError(f'{path} is no COCO annotation file: it has no list of {section}')
        for key in keys:
            lacking = [entry.get('id', f'number {i}') for i, entry in enumerate(entries) if key not in entry]
            if lacking:
                raise DataError(f'{path}: {len(lacking)} {section} have no {key!r}: {_shorten(map(str, lacking))}')
        doubled = len(entries) - len({entry['id'] for entry in entries})
        if doubled:
            raise DataError(f'{path}: {doubled} ids of {section} occur more than once')
    return content


def _is_inside(box, width: float, height: float) -> bool:
    if not (isinstance(box, list) and len(box) == 4 and all(math.isfinite(value) for value in box)):
        return False
    x, y, w, h = box
    slack_x, slack_y = max(2, width / 100), max(2, height / 100)
    return (
        w >= 0 and h >= 0 and x >= -slack_x and y >= -slack_y and x + w <= width + slack_x and y + h <= height + slack_y
    )


def _list(fault: str, entries: Iterable[str]) -> list[str]:
    """Put a fault into words, if it has any entries."""
    entries = list(entries)
    return [f'{len(entries)} {fault}: {_shorten(entries)}'] if entries else []


def _shorten(entries: Iterable[str]) -> str:
    entries = list(entries)
    return ', '.join(entries[:5]) + (', ...' if len(entries) > 5 else '')
