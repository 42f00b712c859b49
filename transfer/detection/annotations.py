"""COCO annotations, checked against themselves, the classes of a model, and the files of the images."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from dualattn.engine import DataError
from transfer.detection.headers import ImageHeader, read_headers
from transfer.detection.outlines import OutlineError, measure_outline

__all__ = ['check_annotations']

# COCO itself has a few of these: above this share of all objects they are a fault of the file
_TOLERATED = 0.01


def check_annotations(
    path, image_folder, classes: Sequence[str], with_mask: bool = True, for_test: bool = False
) -> None:
    """Check a COCO annotation file against its images and the classes of a model.

    Images without objects are in order, as are boxes of no height or width and boxes that stick out by a hundredth of
    the image's side: COCO itself has them, and mmdet skips or clips them. What leaves a doubt is a warning in the log.

    Args:
        path: the annotation file.
        image_folder: where the images lie that it names.
        classes: names of the model's classes, in order.
        with_mask: every object needs an outline.
        for_test: the file may leave out the annotations, as that of COCO's test-dev does.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: images are missing, unreadable, or of another size than the file says; boxes lie outside, are no
            boxes, or are far from their outline; outlines are empty, no outlines, or of another size; areas are
            missing; all objects are crowds; objects refer to unknown images or categories; classes have no category,
            two, or another order;
            or nothing is annotated at all. Every fault is named at once, with the number of entries and the first ids.
    """
    content = _read(path, for_test)
    images, annotations = content['images'], content.get('annotations')
    objects = [annotation for annotation in annotations or () if not annotation.get('ignore')]
    faults = [
        *_check_images(images, image_folder),
        *_check_references(objects, images, content['categories']),
        *_check_boxes(objects, images),
        *_check_outlines(objects, images, with_mask),
        *_check_areas(objects),
        *_check_crowds(objects),
        *_check_repetitions(path, objects),
        *_check_classes(path, objects, content['categories'], classes),
    ]
    if for_test:  # pycocotools takes the id of what a prediction has met for a truth value
        faults += _list(
            'annotations have the id 0, which pycocotools counts as found by nothing; number them from 1',
            ('0' for one in objects if one['id'] == 0),
        )
    if not objects and annotations is not None:
        faults.append('there are no annotations at all')
    if faults:
        raise DataError(f'{path} cannot be used: ' + '; '.join(faults))


def _read(path, for_test: bool) -> dict:
    """Read the file and check that the parts are there that the rest relies on, and are of the right kind."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'no annotations at {path}: set data_root and ann_file of the data set, and ann_file of the evaluator'
        )
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8-sig'))
    except ValueError as error:
        raise DataError(f'{path} is no JSON file ({error})') from error
    except RecursionError as error:
        raise DataError(f'{path} is no COCO annotation file: it is nested too deeply') from error
    needed = dict(
        images=dict(id=_is_id, file_name=_is_name, width=_is_length, height=_is_length),
        annotations=dict(id=_is_id, image_id=_is_id, category_id=_is_id),
        categories=dict(id=_is_id, name=_is_name),
    )
    if for_test and isinstance(content, dict) and 'annotations' not in content:
        del needed['annotations']
    for section, keys in needed.items():
        entries = content.get(section) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise DataError(f'{path} is no COCO annotation file: it has no list of {section}')
        others = [f'number {i}' for i, entry in enumerate(entries) if not isinstance(entry, dict)]
        if others:
            raise DataError(f'{path}: {len(others)} {section} are no objects with names: {_shorten(others)}')
        for key, is_right in keys.items():
            _check_key(path, section, entries, key, is_right)
        counts = Counter(entry['id'] for entry in entries)
        doubled = [str(name) for name, count in counts.items() if count > 1]
        if doubled:
            number = len(entries) - len(counts)
            raise DataError(f'{path}: {number} ids of {section} occur more than once: {_shorten(doubled)}')
    return content


def _check_key(path, section: str, entries: list[dict], key: str, is_right: Callable[[Any], bool]) -> None:
    lacking = [str(entry.get('id', f'number {i}')) for i, entry in enumerate(entries) if key not in entry]
    if lacking:
        raise DataError(f'{path}: {len(lacking)} {section} have no {key!r}: {_shorten(lacking)}')
    wrong = [
        f'{entry.get("id")} ({_quote(entry[key])})' if key != 'id' else f'number {i} ({_quote(entry[key])})'
        for i, entry in enumerate(entries)
        if not is_right(entry[key])
    ]
    if wrong:
        kind = {_is_id: 'a whole number or a text', _is_name: 'a text', _is_length: 'a whole number above 0'}[is_right]
        raise DataError(f'{path}: {len(wrong)} {section} have a {key!r} that is not {kind}: {_shorten(wrong)}')


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ''


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


# --- images


def _check_images(images: list[dict], image_folder) -> list[str]:
    counts = Counter(image['file_name'] for image in images)
    paths = {image['id']: Path(image_folder, image['file_name']) for image in images}
    there = [image for image in images if paths[image['id']].is_file()]
    faults = _list(
        f'images are not in {image_folder}',
        (f'{image["id"]} ({image["file_name"]})' for image in images if not paths[image['id']].is_file()),
    )
    faults += _list(
        'images name a file that another one names as well',
        (f'{image["id"]} ({image["file_name"]})' for image in images if counts[image['file_name']] > 1),
    )
    headers = read_headers([paths[image['id']] for image in there])
    broken, other, turned = [], [], []
    for image, header in zip(there, headers, strict=True):
        name = f'{image["id"]} ({image["file_name"]}'
        if isinstance(header, str):
            broken.append(f'{name}: {header})')
        elif header.size != (image['width'], image['height']):
            width, height = header.size
            other.append((image, header, f'{name}: {image["width"]} x {image["height"]}, file {width} x {height})'))
        elif header.orientation != 1 and (header.orientation < 5 or image['width'] == image['height']):
            turned.append(f'{name})')
    faults += _list('images cannot be read', broken)
    if other:
        (fault,) = _list('images have another size than their file', (entry for *_, entry in other))
        faults.append(fault + _explain_sizes([(image, header) for image, header, _ in other]))
    if turned:
        MMLogger.get_current_instance().warning(
            f'{len(turned)} images carry an EXIF orientation that keeps their size, and are turned or mirrored when '
            f'they are read; boxes have to be those of the picture as it is seen: {_shorten(turned)}'
        )
    return faults


def _explain_sizes(found: list[tuple[dict, ImageHeader]]) -> str:
    """Say what may have happened to the files, if all differ in the same way."""
    swapped = [(image['height'], image['width']) == header.size for image, header in found]
    if all(swapped) and all(header.orientation >= 5 for _, header in found):
        return (
            '; an EXIF orientation turns these files when they are read, but the annotations are of the pixels as '
            'they are stored: turn the annotations, or remove the tag from the files'
        )
    if all(swapped):
        return '; width and height seem to be exchanged in the annotations'
    ratios = [
        (header.size[0] / image['width'], header.size[1] / image['height']) for image, header in found
    ]  # a file's sides are whole numbers, so that its ratios agree within a pixel
    if all(
        abs(x - y) * max(image['width'], image['height']) <= 1.5
        for (x, y), (image, _) in zip(ratios, found, strict=True)
    ):
        return (
            f'; the files seem to be scaled (by {min(x for x, _ in ratios):.4g} to {max(x for x, _ in ratios):.4g}) '
            'since they were annotated: scale width, height, boxes, outlines and areas alike, or take the files that '
            'were annotated'
        )
    return '; take the files that were annotated, or annotate these'


# --- objects


def _check_references(objects: list[dict], images: list[dict], categories: list[dict]) -> list[str]:
    image_ids = {image['id'] for image in images}
    category_ids = {category['id'] for category in categories}
    lost = [one for one in objects if one['image_id'] not in image_ids]
    faults = _list('annotations belong to no image', (f'{one["id"]} (image {one["image_id"]})' for one in lost))
    if lost and {str(one['image_id']) for one in lost} <= {str(name) for name in image_ids}:
        faults[-1] += '; image ids are numbers in one place and texts in the other'
    return faults + _list(
        'annotations have a category id that is not among the categories',
        (f'{one["id"]} (category {one["category_id"]})' for one in objects if one['category_id'] not in category_ids),
    )


def _check_boxes(objects: list[dict], images: list[dict]) -> list[str]:
    sizes = {image['id']: (image['width'], image['height']) for image in images}
    known = [one for one in objects if one['image_id'] in sizes]
    outside = [one for one in known if not _is_inside(one.get('bbox'), *sizes[one['image_id']])]
    faults = _list(
        'annotations have a box outside of their image, or none',
        (
            f'{one["id"]} ({_quote(one.get("bbox"))} in {sizes[one["image_id"]][0]} x {sizes[one["image_id"]][1]})'
            for one in outside
        ),
    )
    if outside and all(_is_corners(one.get('bbox'), *sizes[one['image_id']]) for one in known):
        faults[-1] += '; they seem to be two corners: COCO wants x, y, width, height'
    small = [one for one in known if _is_box(one.get('bbox')) and not _is_used(one)]
    if len(small) > len(known) / 2:
        faults += _list(
            'annotations have a box of less than a pixel, and mmdet would leave them out; boxes are in pixels, not '
            'parts of the image',
            (f'{one["id"]} ({_quote(one["bbox"])})' for one in small),
        )
    return faults


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in box)
        and all(map(math.isfinite, box))
    )


def _is_corners(box: Any, width: float, height: float) -> bool:
    return _is_box(box) and _is_inside([box[0], box[1], box[2] - box[0], box[3] - box[1]], width, height)


def _is_inside(box: Any, width: float, height: float) -> bool:
    if not _is_box(box):
        return False
    x, y, w, h = box
    slack_x, slack_y = max(2, width / 100), max(2, height / 100)
    return (
        w >= 0 and h >= 0 and x >= -slack_x and y >= -slack_y and x + w <= width + slack_x and y + h <= height + slack_y
    )


def _is_used(one: dict) -> bool:
    """Whether mmdet takes a box, or leaves it out in silence, as it does with those of less than a pixel."""
    return _is_box(one.get('bbox')) and one['bbox'][2] >= 1 and one['bbox'][3] >= 1


def _check_outlines(objects: list[dict], images: list[dict], with_mask: bool) -> list[str]:
    sizes = {image['id']: (image['height'], image['width']) for image in images}
    empty, measured = [], []
    wrong: dict[str, list[str]] = {}
    for one in objects:
        outline = one.get('segmentation')
        if not outline:
            empty.append(str(one['id']))
        elif one['image_id'] in sizes:
            height, width = sizes[one['image_id']]
            try:
                bounds = measure_outline(outline, height, width)
            except OutlineError as error:
                wrong.setdefault(str(error), []).append(str(one['id']))
                continue
            if _is_used(one) and _is_inside(one['bbox'], width, height):
                measured.append((one, bounds))
    faults = _list('annotations have an empty outline', empty if with_mask else ())
    for reason, ids in wrong.items() if with_mask else ():
        faults += _list(f'annotations have an outline that {reason}', ids)
    # a box may be that of an object behind another, of which the outline shows a part, but hardly most of them
    apart = [(one, bounds) for one, bounds in measured if _is_apart(one['bbox'], bounds, 0.8)]
    if len(apart) <= len(measured) / 2:
        apart = [(one, bounds) for one, bounds in apart if _is_apart(one['bbox'], bounds, 0.5)]
    if apart:
        faults += _list(
            'annotations have a box far from their outline',
            (f'{one["id"]} ({_quote(one["bbox"])}, outline {_quote(list(bounds))})' for one, bounds in apart),
        )
        if len(apart) > len(measured) / 2:
            faults[-1] += _explain_boxes(apart)
    return faults


def _is_apart(box: Sequence[float], bounds: Sequence[float], least: float = 0.5) -> bool:
    """Whether two boxes (x, y, width, height) share less than a part of what they cover, with a pixel on each side."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = ((x - 1, y - 1, w + 2, h + 2) for x, y, w, h in (box, bounds))
    shared = max(0, min(ax + aw, bx + bw) - max(ax, bx)) * max(0, min(ay + ah, by + bh) - max(ay, by))
    return shared < least * (aw * ah + bw * bh - shared)


def _explain_boxes(apart: list[tuple[dict, tuple[float, ...]]]) -> str:
    """Say what the boxes seem to be, if all differ from their outlines in the same way."""
    readings = {
        'two corners': lambda x, y, u, v: (x, y, u - x, v - y),
        'center and size': lambda x, y, w, h: (x - w / 2, y - h / 2, w, h),
        'y before x': lambda y, x, h, w: (x, y, w, h),
    }
    for name, read in readings.items():
        if not any(_is_apart(read(*one['bbox']), bounds) for one, bounds in apart):
            return f'; they seem to be {name}: COCO wants x, y, width, height'
    return ''


def _check_areas(objects: list[dict]) -> list[str]:
    """Find what mmdet stumbles over, or takes for a reason to leave an object out."""
    used = [one for one in objects if _is_used(one)]
    faults = _list(
        "annotations have no 'area', which mmdet needs: that of the outline, or width times height of the box",
        (str(one['id']) for one in objects if 'area' not in one),
    )
    faults += _list(
        "annotations have an 'area' that is no number",
        (
            f'{one["id"]} ({_quote(one["area"])})'
            for one in objects
            if 'area' in one and not _is_box([one['area'], 0, 0, 0])
        ),
    )
    nil = [one for one in used if _is_box([one.get('area'), 0, 0, 0]) and one['area'] <= 0]
    if len(nil) > _TOLERATED * len(objects):
        faults += _list(
            "annotations have an 'area' of 0 or less, and mmdet would leave them out",
            (f'{one["id"]} ({one["area"]})' for one in nil),
        )
    return faults


def _check_crowds(objects: list[dict]) -> list[str]:
    """Find what mmdet would take for crowds, from which nothing is learned."""
    faults = _list(
        "annotations have an 'iscrowd' that is neither 0 nor 1, and mmdet might leave them out as crowds",
        (f'{one["id"]} ({_quote(one["iscrowd"])})' for one in objects if one.get('iscrowd') not in (0, 1, None)),
    )
    if objects and all(one.get('iscrowd') == 1 for one in objects):
        faults += _list(
            "annotations, all there are, have 'iscrowd' 1: nothing is learned from crowds",
            (str(one['id']) for one in objects),
        )
    return faults


def _check_repetitions(path, objects: list[dict]) -> list[str]:
    counts: Counter[tuple] = Counter()
    repeated = []
    for one in objects:
        if _is_box(one.get('bbox')):
            key = (one['image_id'], one['category_id'], *one['bbox'])
            counts[key] += 1
            if counts[key] > 1:
                repeated.append(str(one['id']))
    faults = _list('annotations repeat another one: the same image, category and box', repeated)
    if len(repeated) > _TOLERATED * len(objects):
        return faults
    for fault in faults:
        MMLogger.get_current_instance().warning(f'{path}: {fault}')
    return []


# --- classes


def _check_classes(path, objects: list[dict], categories: list[dict], classes: Sequence[str]) -> list[str]:
    if isinstance(classes, str):
        return [f'classes are a text, {classes!r}, not a list of names: write ({classes!r},) for a single one']
    names = [category['name'] for category in categories]
    way_out = 'set metainfo.classes of the data sets to yours'
    faults = _list(
        f"of the model's classes have no category of that name; {way_out}",
        (str(name) for name in classes if name not in names),
    )
    near = {name.strip().casefold(): name for name in names}
    alike = [
        f'{name!r} is {near[name.strip().casefold()]!r} there'
        for name in classes
        if name not in names and isinstance(name, str) and name.strip().casefold() in near
    ]
    if alike:
        faults[-1] += f' ({_shorten(alike)})'
    doubled = sorted({name for name in classes if names.count(name) > 1})
    faults += _list('names stand for several categories; name each once', doubled)
    faults += _list(
        "of the model's classes are named twice", sorted({n for n in classes if list(classes).count(n) > 1})
    )
    order = [name for name in names if name in set(classes)]
    if not faults and order != list(classes):
        faults.append(
            'its categories have another order than the classes, and mmdet numbers by the former, which would exchange '
            f'names: set metainfo.classes of every data set to ({", ".join(map(repr, order[:8]))}'
            f'{", ..." if len(order) > 8 else ""})'
        )
    _warn_of_classes(path, objects, categories, classes)
    return faults


def _warn_of_classes(path, objects: list[dict], categories: list[dict], classes: Sequence[str]) -> None:
    names = {category['id']: category['name'] for category in categories}
    counts = Counter(names.get(one['category_id']) for one in objects)
    if not counts:
        return
    left_out = [f'{name} ({count})' for name, count in counts.items() if name is not None and name not in classes]
    lacking = [str(name) for name in classes if not counts[name]]
    logger = MMLogger.get_current_instance()
    if left_out:
        logger.warning(f'{path}: {len(left_out)} categories are none of the classes; left out are {_shorten(left_out)}')
    if lacking:
        logger.warning(f'{path}: {len(lacking)} of {len(classes)} classes have no object: {_shorten(lacking)}')


# --- words


def _list(fault: str, entries: Iterable[str]) -> list[str]:
    """Put a fault into words, if it has any entries."""
    entries = list(entries)
    return [f'{len(entries)} {fault}: {_shorten(entries)}'] if entries else []


def _shorten(entries: Iterable[str]) -> str:
    entries = list(entries)
    return ', '.join(entries[:5]) + (', ...' if len(entries) > 5 else '')


def _quote(value: Any) -> str:
    text = repr(
        [round(item, 2) if isinstance(item, float) else item for item in value] if isinstance(value, list) else value
    )
    return text if len(text) <= 60 else f'{text[:57]}...'
