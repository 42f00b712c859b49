"""COCO annotations against themselves, the classes, and the files of the images: what is refused, and what is not."""

import copy
import json
import logging
import warnings

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmdet')
from mmengine.logging import MMLogger
from pycocotools import mask as codes

from dualattn.engine import DataError
from transfer.detection import headers
from transfer.detection.annotations import check_annotations
from transfer.detection.outlines import OutlineError, count_runs, measure_outline

pytestmark = pytest.mark.mm
CLASSES = ('red', 'blue')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A folder for remembered headers that is not the user's."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'dualattn' / 'headers'


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """Let pytest hear what goes to mmengine's log."""
    monkeypatch.setattr(MMLogger, 'get_current_instance', lambda: logging.getLogger('heard'))


@pytest.fixture
def check(coco):
    """Function that changes the stand-in of COCO, content or files, and checks it."""
    root, original = coco

    def check(change=None, classes=CLASSES, **options):
        content = copy.deepcopy(original)
        if change is not None:
            content = change(content) or content
        path = root / 'annotations' / 'changed.json'
        path.write_text(json.dumps(content))
        check_annotations(path, root / 'train2017', classes, **options)

    check.folder = root / 'train2017'
    return check


def set_all(section, **values):
    def change(content):
        for entry in content[section]:
            entry.update(values)

    return change


def set_one(index, **values):
    return lambda content: content['annotations'][index].update(values)


# --- files


@pytest.mark.parametrize(
    ('size', 'message'),
    [
        (
            (48, 32),
            r'3 images have another size than their file: 1 \(0.png: 96 x 64, file 48 x 32\), .*scaled \(by 0.5',
        ),
        ((288, 192), r'file 288 x 192\).*scaled \(by 3 to 3\)'),
        ((64, 96), r'file 64 x 96\).*width and height seem to be exchanged'),
        ((96, 96), r'file 96 x 96\).*take the files that were annotated'),
        ((97, 64), r'file 97 x 64\)'),
    ],
)
def test_other_sizes(check, size, message):
    for path in check.folder.iterdir():
        Image.new('RGB', size).save(path)
    with pytest.raises(DataError, match=message) as caught:
        check()
    assert '\n' not in str(caught.value)


def test_one_file_of_another_size_is_named_alone(check):
    Image.new('RGB', (96, 63)).save(check.folder / '1.png')
    with pytest.raises(DataError, match=r'1 images have another size .*: 2 \(1.png: 96 x 64, file 96 x 63\)'):
        check()


def save_jpeg(folder, size, orientation):
    """Write the three images as JPEGs under their names, with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in folder.iterdir():
        Image.new('RGB', size).save(path, 'jpeg', exif=exif)


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_files_that_exif_turns(check, orientation):
    save_jpeg(check.folder, (96, 64), orientation)
    with pytest.raises(DataError, match=r'file 64 x 96\).*EXIF orientation turns these files'):
        check()
    save_jpeg(check.folder, (64, 96), orientation)  # annotated as they are seen
    check()


@pytest.mark.parametrize('orientation', [2, 3, 4])
def test_turns_that_keep_the_size_are_doubtful(check, orientation, caplog):
    save_jpeg(check.folder, (96, 64), orientation)
    check()
    assert '3 images carry an EXIF orientation' in caplog.text


def test_headers_agree_with_what_is_read(tmp_path):
    from transfer.photographs import read_photograph

    for name, size in (('a.jpg', (40, 30)), ('b.tif', (40, 30)), ('c.png', (31, 20)), ('d.webp', (24, 50))):
        for orientation in (1, 3, 6, 8):
            exif = Image.Exif()
            exif[0x0112] = orientation
            Image.new('RGB', size).save(tmp_path / name, exif=exif)
            header = headers.read_header(tmp_path / name)
            assert header.size == read_photograph(tmp_path / name).shape[1::-1], (name, orientation)


@pytest.mark.parametrize('content', [b'', b'no image', b'\xff\xd8\xff\xe0'])
def test_broken_images_are_named(check, content):
    (check.folder / '2.png').write_bytes(content)
    with pytest.raises(DataError, match=r'1 images cannot be read: 3 \(2.png: '):
        check()


def test_a_file_that_stands_there_twice(check):
    with pytest.raises(
        DataError, match=r'2 images name a file that another one names as well: 1 \(0.png\), 2 \(0.png\)'
    ):
        check(lambda content: content['images'][1].update(file_name='0.png'))


def test_warnings_about_headers_are_silent_and_others_are_not(tmp_path, monkeypatch, recwarn):
    """Threads that each changed the warnings of the process would put back each other's."""
    for i in range(64):
        Image.new('RGB', (4, 4)).save(tmp_path / f'{i:02d}.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)  # Pillow warns of more, and refuses twice as many
    before = list(warnings.filters)
    found = headers.read_headers(sorted(tmp_path.glob('*.png')))
    assert [header.size for header in found] == [(4, 4)] * 64
    assert not recwarn.list and warnings.filters == before


def test_headers_are_read_once(check, cache, monkeypatch):
    check()
    (stored,) = cache.iterdir()
    monkeypatch.setattr(headers, 'read_header', lambda path: pytest.fail(f'{path} was read again'))
    check()
    monkeypatch.undo()
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache.parents[1]))
    Image.new('RGB', (10, 10)).save(check.folder / '0.png')  # whatever changes is seen
    with pytest.raises(DataError, match='file 10 x 10'):
        check()
    stored.write_text('[[1, 2]]')  # what is no memory is none
    Image.new('RGB', (96, 64)).save(check.folder / '0.png')
    check()


# --- boxes


def as_corners(content):
    for one in content['annotations']:
        x, y, w, h = one['bbox']
        one['bbox'] = [x, y, x + w, y + h]


def as_parts(content):
    for one in content['annotations']:
        one['bbox'] = [value / 96 for value in one['bbox']]


def as_centers(content):
    for one in content['annotations']:
        x, y, w, h = one['bbox']
        one['bbox'] = [x + w / 2, y + h / 2, w, h]


def triple(content):
    content['annotations'] = [
        dict(one, id=one['id'] + 100 * copy) for copy in range(3) for one in content['annotations']
    ]


def drop_area(content):
    del content['annotations'][2]['area']


def drop_outlines(change):
    def drop(content):
        change(content)
        for one in content['annotations']:
            del one['segmentation']

    return drop


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (as_parts, '6 annotations have a box of less than a pixel'),
        (drop_outlines(as_corners), 'outside of their image.*two corners'),
        (set_one(0, bbox=['6', '8', '30', '26']), r'1 annotations have a box outside .* or none: 10'),
        (set_one(0, bbox=[6, 8, 30, None]), '1 annotations have a box outside'),
        (set_one(0, bbox=[6, 8, float('nan'), 3]), '1 annotations have a box outside'),
        (set_one(0, bbox=dict(x=1)), '1 annotations have a box outside'),
        (set_one(3, bbox=[9, 13, 30, 26]), r'1 annotations have a box far from their outline: 21 \(\[9, 13, 30, 26'),
        (as_centers, r'annotations have a box far from their outline: .*center and size'),
        (triple, '12 annotations repeat another one'),
    ],
)
def test_boxes_that_are_refused(check, change, message):
    with pytest.raises(DataError, match=message):
        check(change, with_mask='segmentation' in message or 'outline' in message)


def test_boxes_scaled_without_their_outlines(check):
    def scale(content):
        for one in content['annotations']:
            one['bbox'] = [value * 0.5 for value in one['bbox']]

    with pytest.raises(DataError, match='6 annotations have a box far from their outline'):
        check(scale)


def test_outlines_scaled_a_little_without_their_boxes(check):
    """Each box by itself could be that of a hidden part; all of them together cannot."""

    def scale(content):
        for one in content['annotations']:
            one['segmentation'] = [[value * 0.9 for value in one['segmentation'][0]]]

    with pytest.raises(DataError, match='6 annotations have a box far from their outline'):
        check(scale)


# --- outlines


SQUARE = [10, 10, 20, 10, 20, 20, 10, 20]


@pytest.mark.parametrize(
    ('outline', 'message'),
    [
        ([[]], 'has no, one or two points: 10$'),
        ([[5, 5]], 'has no, one or two points: 10$'),
        ([[6, 8, 36, 34]], 'has no, one or two points: 10$'),
        ([[6, 8, 36, 8, 36, 34, 6]], 'odd number of coordinates: 10$'),
        ([6, 8, 36, 8, 36, 34], 'put it into another list: 10$'),
        ([[[6, 8], [36, 8], [36, 34]]], 'something else than numbers'),
        ([['6', '8', '36', '8', '36', '34']], 'something else than numbers'),
        ([[6, 8, 36, None, 36, 34]], 'something else than numbers'),
        ([[6, 8, 36, float('inf'), 36, 34]], 'NaN or infinite'),
        ('6 8 36 8', 'neither a list of polygons nor a run-length code'),
        (dict(size=[96, 64], counts=[6144]), r'another size than the image \(height comes first\)'),
        (dict(size=[32, 48], counts=[1536]), 'another size than the image: 10'),
        (dict(size=[64, 96], counts=[100, 20]), 'does not fill the image'),
        (dict(size=[64, 96], counts=[6144]), 'without a pixel'),
        (dict(size=[64, 96], counts=[7000, -856]), 'does not fill the image'),
        (dict(size=[64, 96], counts='!!'), 'broken run-length code'),
        (dict(size=[64, 96]), "without its 'size' or 'counts'"),
        (dict(counts=[1]), "without its 'size' or 'counts'"),
        (None, 'empty outline: 10$'),
    ],
)
def test_outlines_that_are_refused(check, outline, message):
    with pytest.raises(DataError, match=message):
        check(set_one(0, segmentation=outline))
    check(set_one(0, segmentation=outline), with_mask=False)


def test_outlines_that_are_not(check):
    check(set_one(0, segmentation=[[6, 8, 36, 8, 36, 34, 6, 34], [1, 2]]))  # a point beside a good polygon
    mask = np.zeros((64, 96), np.uint8, order='F')
    mask[8:34, 6:36] = 1
    code = codes.encode(mask)
    check(set_one(0, segmentation=dict(size=[64, 96], counts=code['counts'].decode()), iscrowd=1))


def test_run_length_codes_are_those_of_pycocotools():
    random = np.random.default_rng(0)
    for _ in range(40):
        height, width = random.integers(1, 60, 2).tolist()
        mask = (random.random((height, width)) < random.choice([0.02, 0.5, 0.98])).astype(np.uint8)
        mask[random.integers(height), random.integers(width)] = 1
        code = codes.encode(np.asfortranarray(mask))
        runs = count_runs(code['counts'].decode())
        assert np.array_equal(np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T, mask)
        box = tuple(codes.toBbox(code).tolist())
        for counts in (runs.tolist(), code['counts'].decode()):
            assert measure_outline(dict(size=[height, width], counts=counts), height, width) == box


def test_codes_of_chance_never_reach_pycocotools():
    random = np.random.default_rng(0)
    for _ in range(300):
        counts = ''.join(chr(c) for c in random.integers(32, 127, random.integers(0, 30)))
        with pytest.raises(OutlineError):
            measure_outline(dict(size=[20, 30], counts=counts), 20, 30)


# --- areas, ids, categories


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (drop_area, "1 annotations have no 'area', .*: 20$"),
        (set_one(2, area='780'), r"1 annotations have an 'area' that is no number: 20 \('780'\)$"),
        (set_one(2, area=None), "'area' that is no number: 20"),
        (set_all('annotations', area=0), "6 annotations have an 'area' of 0 or less"),
        (set_one(2, area=-1), "1 annotations have an 'area' of 0 or less"),
        (set_one(2, iscrowd='0'), r"1 annotations have an 'iscrowd' that is neither 0 nor 1, .*: 20 \('0'\)"),
        (set_all('annotations', iscrowd=1), "6 annotations, all there are, have 'iscrowd' 1"),
        (set_one(0, id=1.5), "1 annotations have a 'id' that is not a whole number or a text: number 0"),
        (set_one(0, id=[1]), "1 annotations have a 'id'"),
        (set_one(1, image_id='1'), 'numbers in one place and texts in the other'),
        (set_one(1, image_id=None), "1 annotations have a 'image_id'"),
        (lambda c: c['images'][0].update(width='96'), r"1 images have a 'width' that is not a whole .*: 1 \('96'\)"),
        (lambda c: c['images'][0].update(height=0), "1 images have a 'height'"),
        (lambda c: c['images'][0].update(height=64.0), "1 images have a 'height'"),
        (lambda c: c['images'][0].update(file_name=3), "1 images have a 'file_name' that is not a text"),
        (lambda c: c['images'].append(7), '1 images are no objects with names: number 3'),
        (lambda c: [c], 'no list of images'),
        (lambda c: c['categories'].append(dict(id=9, name='red')), '1 names stand for several categories.*: red$'),
        (lambda c: c['categories'].reverse(), r"another order than the classes.*\('blue', 'red'\)"),
        (lambda c: c['categories'][0].update(name='Red '), r"yours: red \('red' is 'Red ' there\)"),
    ],
)  # fmt: skip
def test_entries_that_are_refused(check, change, message):
    with pytest.raises(DataError, match=message):
        check(change)


@pytest.mark.parametrize(('classes', 'message'), [('red', r"write \('red',\)"), (('red', 'red'), 'named twice: red')])
def test_classes_that_are_refused(check, classes, message):
    with pytest.raises(DataError, match=message):
        check(classes=classes)


def test_an_id_of_0_is_for_training_alone(check):
    check(set_one(0, id=0))
    with pytest.raises(DataError, match='1 annotations have the id 0'):
        check(set_one(0, id=0), for_test=True)


def test_what_is_left_out_is_told(check, caplog):
    check(lambda c: c['annotations'].append(dict(c['annotations'][0], id=99, category_id=9)) or
          c['categories'].append(dict(id=9, name='green')), classes=('red', 'blue'))  # fmt: skip
    assert '1 categories are none of the classes; left out are green (1)' in caplog.text
    check(lambda c: c['categories'].append(dict(id=9, name='green')), classes=('red', 'blue', 'green'))
    assert '1 of 3 classes have no object: green' in caplog.text
