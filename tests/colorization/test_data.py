"""Data sets and sampler against plain Pillow, NumPy and DataLoader."""

import itertools
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, TRANSFORMS
from mmengine.runner import Runner
from PIL import Image

from colorization.data import dataset as dataset_module
from colorization.evaluation.protocols import PROTOCOLS, Protocol
from colorization.samples import packaged_color_photos

PREPARE = [dict(type='torchvision/Resize', size=40)]
AUGMENT = [
    dict(type='torchvision/RandomCrop', size=32),
    dict(type='torchvision/RandomHorizontalFlip'),
    dict(type='ColorEnhance', factor=1.2, prob=0.5),
]


def write_photo(path, seed, size=(48, 64), **options):
    """Write a smooth random colour image of `size` (H, W) and return its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
    image.save(path, **options)
    return np.asarray(image)


@pytest.fixture
def folder(tmp_path):
    """Twelve photographs in class folders, as PNG so that the pixels are known."""
    root = tmp_path / 'photos'
    for index in range(12):
        write_photo(root / f'class_{index // 6}' / f'{index:02d}.png', index)
    return root


def build(root, **kwargs):
    return DATASETS.build(dict(type='ColorImageDataset', data_root=str(root), **kwargs))


def build_loader(dataset, num_workers=0, start=0, batch_size=4, seed=3):
    return Runner.build_dataloader(
        dict(
            dataset=dataset,
            sampler=dict(type='ReproducibleSampler', start=start),
            batch_size=batch_size,
            num_workers=num_workers,
        ),
        seed=seed,
    )


def batches(dataset, *args, **kwargs):
    return iter(build_loader(dataset, *args, **kwargs))


def take(stream, count):
    return list(itertools.islice(stream, count))


def assert_same(batch, other):
    assert batch['path'] == other['path']
    assert len(batch['inputs']) == len(other['inputs'])
    for image, other_image in zip(batch['inputs'], other['inputs'], strict=True):
        assert torch.equal(image, other_image)


@pytest.fixture
def log(tmp_path):
    """Read what mmengine's logger has been told since the last call, by this process and its workers."""
    handler = logging.FileHandler(tmp_path / 'log.txt')
    handler.setFormatter(logging.Formatter('%(levelname)s %(message)s'))
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    seen = 0

    def news():
        nonlocal seen
        text = (tmp_path / 'log.txt').read_text()
        text, seen = text[seen:], len(text)
        return text

    yield news
    logger.removeHandler(handler)
    handler.close()


# --- data sets ---


def test_a_plain_folder_gives_the_pixels_of_the_files_in_sorted_order(folder):
    dataset = build(folder)
    files = sorted(folder.rglob('*.png'))
    assert [Path(dataset[index]['path']) for index in range(len(dataset))] == files
    for index, file in enumerate(files):
        item = dataset[index]
        assert set(item) == {'inputs', 'path'} and item['inputs'].dtype == torch.uint8
        np.testing.assert_array_equal(item['inputs'].numpy().transpose(1, 2, 0), np.asarray(Image.open(file)))


def test_class_folders_come_in_order_of_their_names_not_of_the_joined_path(tmp_path):
    for name in ('a-b/1.png', 'a/1.png', 'a/2.PNG', 'b.png', 'ä ö/ü.png'):
        write_photo(tmp_path / name, 0)
    dataset = build(tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in dataset.files] == [
        'a/1.png',
        'a/2.PNG',
        'a-b/1.png',
        'b.png',
        'ä ö/ü.png',
    ]


def test_hidden_files_and_other_suffixes_are_left_out(folder):
    (folder / '._00.png').write_bytes(b'resource fork of a Mac')
    (folder / 'labels.csv').write_text('a,b')
    assert len(build(folder)) == 12


def test_linked_folders_are_followed_and_circles_end(folder, tmp_path):
    subset = tmp_path / 'subset'
    subset.mkdir()
    (subset / 'class_1').symlink_to(folder / 'class_1', target_is_directory=True)
    (subset / 'again').symlink_to(subset, target_is_directory=True)
    assert [file.name for file in build(subset).files] == [f'{index:02d}.png' for index in range(6, 12)]


def test_several_folders_and_limit(folder):
    dataset = DATASETS.build(
        dict(type='ColorImageDataset', data_root=[str(folder / 'class_1'), str(folder / 'class_0')], limit=7)
    )
    assert [file.name for file in dataset.files] == [
        '06.png',
        '07.png',
        '08.png',
        '09.png',
        '10.png',
        '11.png',
        '00.png',
    ]


def test_list_file_decides_files_and_order(folder, tmp_path):
    names = tmp_path / 'list.txt'
    names.write_text('class_1/11.png\n\nclass_0/00.png\n')
    assert [file.name for file in build(folder, list_file=str(names)).files] == ['11.png', '00.png']
    assert [file.name for file in build(folder, list_file=str(names), limit=1).files] == ['11.png']


def test_the_first_by_name_do_not_depend_on_folders(folder):
    (folder / 'class_0' / '02.png').rename(folder / 'class_1' / '00_a.png')
    names = [file.name for file in build(folder, sort_by='name', limit=3).files]
    assert names == ['00.png', '00_a.png', '01.png']
    assert '00_a.png' not in [file.name for file in build(folder, limit=3).files]
    with pytest.raises(ValueError, match="sorts by 'path' or 'name', got 'size'"):
        build(folder, sort_by='size')
    with pytest.raises(ValueError, match='leave out sort_by'):
        build(folder, sort_by='name', list_file='list.txt')


def test_a_list_with_a_missing_file_says_which(folder, tmp_path):
    names = tmp_path / 'list.txt'
    names.write_text('class_1/11.png\nclass_1/99.png\n')
    with pytest.raises(FileNotFoundError, match=r'1 of the 2 images .*99\.png'):
        build(folder, list_file=str(names))
    names.write_text('\n')
    with pytest.raises(ValueError, match='names no image'):
        build(folder, list_file=str(names))
    with pytest.raises(FileNotFoundError, match='does not exist'):
        build(folder, list_file=str(tmp_path / 'nowhere.txt'))
    with pytest.raises(ValueError, match='one data_root'):
        DATASETS.build(dict(type='ColorImageDataset', data_root=[str(folder)] * 2, list_file=str(names)))


def test_a_missing_root_says_where_to_put_what_and_names_the_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        build('data/imagenet')
    message = str(error.value)
    assert str(tmp_path / 'data' / 'imagenet') in message
    assert 'configs/colorize/mpt_demo.py' in message and 'data_root=' in message


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / 'notes.txt').write_text('no image')
    with pytest.raises(ValueError, match=r'no image in .*\.jpg'):
        build(tmp_path)


def test_a_folder_of_broken_images_is_an_error(tmp_path):
    (tmp_path / 'text.jpg').write_text('this is text')
    (tmp_path / 'empty.jpg').touch()
    with pytest.raises(ValueError, match='none of the 2 image files can be used'):
        build(tmp_path)


def test_a_protocol_selects_and_prepares(folder, monkeypatch):
    protocol = Protocol('test', 'the first three by name', count=3, sort_by='name', limit=3, resize='squeeze', size=24)
    monkeypatch.setitem(PROTOCOLS, 'test', protocol)
    dataset = build(folder, protocol='test')
    assert [file.name for file in dataset.files] == [file.name for file in build(folder, sort_by='name', limit=3).files]
    assert {tuple(dataset[i]['inputs'].shape) for i in range(3)} == {(3, 24, 24)}
    assert dataset.metainfo['protocol'] == protocol.to_dict()
    plain = build(folder, prepare=PREPARE, decode_min_side=99)
    assert plain.metainfo['protocol']['description'] == (
        f'{len(plain)} pictures of {folder.as_posix()}, '
        'short side resized to 40 (bilinear, antialiased), JPEG decoded at 99 pixels or more'
    )
    with pytest.raises(ValueError, match='unknown protocol'):
        build(folder, protocol='imagenet')
    for other in (dict(limit=2), dict(sort_by='name'), dict(prepare=PREPARE), dict(decode_min_side=9)):
        with pytest.raises(ValueError, match=f'decides {next(iter(other))}'):
            build(folder, protocol='test', **other)


@pytest.mark.parametrize('wrong', [dict(data_rot='x'), dict(transforms=[]), dict(limit=0), dict(data_root=[])])
def test_wrong_arguments_raise(folder, wrong):
    with pytest.raises((TypeError, ValueError)):
        DATASETS.build(dict(dict(type='ColorImageDataset', data_root=str(folder)), **wrong))


def test_an_unknown_transform_raises(folder):
    with pytest.raises(KeyError, match='torchvision/Resise'):
        build(folder, prepare=[dict(type='torchvision/Resise', size=4)])


@pytest.fixture
def damaged(folder):
    """The folder with four files that cannot be used, of which three lie side by side."""
    photo = folder / 'class_0' / '02.jpg'
    write_photo(photo, 2, size=(256, 256), quality=95)
    photo.write_bytes(photo.read_bytes()[:900])
    (folder / 'class_0' / '02.png').unlink()
    (folder / 'class_0' / '03.png').write_text('not an image')
    (folder / 'class_0' / '04.png').write_bytes(b'')
    Image.new('RGB', (4000, 1), 'red').save(folder / 'class_1' / '11.png')
    return folder


BROKEN = ('02.jpg', '03.png', '04.png', '11.png')


@pytest.mark.parametrize('cache', [False, True])
def test_a_broken_file_is_reported_once_and_the_next_takes_its_place(damaged, log, cache):
    dataset = build(damaged, cache=cache)
    for _ in range(3):
        names = [Path(dataset[index]['path']).name for index in range(len(dataset))]
    taken = [0, 1, 5, 5, 5, 5, 6, 7, 8, 9, 10, 0]
    assert names == [f'{index:02d}.png' for index in taken]
    report = log()
    for name in BROKEN:
        assert report.count(name) == 1, report
    assert 'WARNING' in report and '4000 x 1 pixels' in report


def test_two_workers_report_a_broken_file_once_and_agree(damaged, log):
    alone = [batch['path'] for batch in take(batches(build(damaged), batch_size=1), 24)]
    log()
    loader = build_loader(dict(type='ColorImageDataset', data_root=str(damaged)), num_workers=2, batch_size=1)
    assert [batch['path'] for batch in take(loader, 24)] == alone
    report = log()
    # Both workers may be at the same file at the same moment, hence two reports at most, and none later on.
    assert all(1 <= report.count(name) <= 2 for name in BROKEN), report
    assert [batch['path'] for batch in take(loader, 24)] == alone
    assert 'WARNING' not in log()


def test_an_image_above_max_pixels_is_not_used(folder, log):
    write_photo(folder / 'class_0' / '00.png', 0, size=(100, 100))
    dataset = build(folder, max_pixels=48 * 64)
    assert Path(dataset[0]['path']).name == '01.png'
    assert '00.png' in log()


def test_large_jpegs_are_decoded_small(tmp_path):
    write_photo(tmp_path / 'photo.jpg', 0, size=(800, 1200), quality=95)
    full = build(tmp_path)[0]['inputs']
    small = build(tmp_path, decode_min_side=150)[0]['inputs']
    assert full.shape == (3, 800, 1200) and small.shape == (3, 200, 300)
    resize = TRANSFORMS.build(dict(type='torchvision/Resize', size=(40, 60)))
    assert (resize(full).int() - resize(small).int()).abs().float().mean() < 2


def test_the_cache_holds_the_prepared_images_and_files_are_read_once(folder, monkeypatch):
    reads = []
    read_rgb = dataset_module.read_rgb
    monkeypatch.setattr(
        dataset_module, 'read_rgb', lambda path, **kwargs: (reads.append(path), read_rgb(path, **kwargs))[1]
    )
    cached, plain = (
        build(folder, prepare=PREPARE, augment=AUGMENT, cache=True),
        build(folder, prepare=PREPARE, augment=AUGMENT),
    )
    reads.clear()
    items = [cached[index, 100 + index] for index in range(12)]
    assert not reads
    others = [plain[index, 100 + index] for index in range(12)]
    assert len(reads) == 12
    for item, other in zip(items, others, strict=True):
        assert item['path'] == other['path'] and torch.equal(item['inputs'], other['inputs'])
        assert item['inputs'].shape == (3, 32, 32)


def test_an_augmentation_never_changes_the_cached_image(folder):
    dataset = build(folder, prepare=PREPARE, cache=True, augment=[dict(type='ColorEnhance', factor=2.0)])
    first = dataset[0, 1]['inputs']
    assert torch.equal(dataset[0, 2]['inputs'], first)
    assert torch.equal(dataset[0]['inputs'], first)


def test_the_draw_decides_the_augmentation_and_leaves_the_random_state_alone(folder):
    dataset = build(folder, prepare=PREPARE, augment=AUGMENT)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = dataset[0, 11]['inputs']
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(dataset[0, 11]['inputs'], first)
    assert any(not torch.equal(dataset[0, draw]['inputs'], first) for draw in range(12, 20))


def test_the_packaged_photographs_are_there_and_colourful():
    photos = packaged_color_photos()
    assert len(photos) == 7 and all(file.is_file() for file in photos.values())
    dataset = DATASETS.build(dict(type='PackagedPhotos'))
    assert len(dataset) == 7
    for index in range(7):
        rgb = dataset[index]['inputs'].float()
        assert rgb.shape[0] == 3 and min(rgb.shape[1:]) >= 300
        assert (rgb.amax(dim=0) - rgb.amin(dim=0)).mean() > 20
    assert [file.stem for file in DATASETS.build(dict(type='PackagedPhotos', names=['flower', 'china'])).files] == [
        'flower',
        'china',
    ]
    for names in (['flour'], []):
        with pytest.raises(ValueError, match='knows astronaut'):
            DATASETS.build(dict(type='PackagedPhotos', names=names))


def test_real_photographs(data_root):
    dataset = build(data_root / 'photos' / 'val', prepare=PREPARE, decode_min_side=40)
    assert len(dataset) == 96
    assert all(min(dataset[index]['inputs'].shape[1:]) == 40 for index in range(0, 96, 8))


# --- sampler ---


def test_batches_do_not_depend_on_the_number_of_workers(folder):
    dataset = build(folder, prepare=PREPARE, augment=AUGMENT)
    torch.manual_seed(0)
    alone = take(batches(dataset), 8)
    torch.manual_seed(1)
    for batch, other in zip(alone, take(batches(dataset, num_workers=2), 8), strict=True):
        assert_same(batch, other)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_later_start_gives_the_later_batches(folder, num_workers):
    dataset = build(folder, prepare=PREPARE, augment=AUGMENT, cache=True)
    alone = take(batches(dataset), 8)
    for batch, other in zip(alone[5:], take(batches(dataset, num_workers, start=20), 3), strict=True):
        assert_same(batch, other)


def _two_processes(rank, folder, port, queue):
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE='2')
    torch.distributed.init_process_group('gloo', rank=rank, world_size=2)
    dataset = build(folder, prepare=PREPARE, augment=AUGMENT)
    taken = take(batches(dataset, batch_size=2), 6)
    queue.put((rank, [(batch['path'], [image.numpy() for image in batch['inputs']]) for batch in taken]))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_real_processes_draw_the_batches_of_one(folder, free_port):
    context = torch.multiprocessing.get_context('spawn')
    queue = context.Queue()
    processes = [context.Process(target=_two_processes, args=(rank, folder, free_port, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    parts = dict(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    alone = take(batches(build(folder, prepare=PREPARE, augment=AUGMENT), batch_size=4), 6)
    for batch, first, second in zip(alone, parts[0], parts[1], strict=True):
        together = dict(zip(first[0] + second[0], first[1] + second[1], strict=True))
        assert sorted(together) == sorted(batch['path'])
        for path, image in zip(batch['path'], batch['inputs'], strict=True):
            np.testing.assert_array_equal(image.numpy(), together[path])


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize('name', ['1920', 'Rome,1920', 'Rome, 1920', '~/photos'])
def test_folders_with_names_that_a_command_line_takes_apart(tmp_path, name, monkeypatch):
    from mmengine.config import Config, DictAction

    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for index in range(3):
        write_photo(Path(name.replace('~', str(tmp_path))) / f'{index}.png', index)
    config = Config(dict(dataset=dict(type='ColorImageDataset', data_root='x')))
    parsed = DictAction._parse_iterable(name)  # what --cfg-options makes of it
    config.merge_from_dict({'dataset.data_root': parsed})
    assert len(DATASETS.build(config.dataset)) == 3


def test_linked_folders_are_followed_as_in_colorizing(tmp_path):
    from dualattn.io.photos import list_images

    write_photo(tmp_path / 'elsewhere' / 'a.png', 0)
    (tmp_path / 'root').mkdir()
    (tmp_path / 'root' / 'link').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere' / 'circle').symlink_to(tmp_path / 'root')
    assert len(build(tmp_path / 'root')) == len(list_images([tmp_path / 'root'], recursive=True)) == 1


def test_black_and_white_photographs_are_said_once_or_left_out(tmp_path, log):
    for index in range(3):
        write_photo(tmp_path / f'{index}.png', index)
    pixels = write_photo(tmp_path / 'sepia.png', 5)
    tone = (pixels.mean(axis=-1, keepdims=True) / 255) ** [0.8, 1.1, 1.6]
    Image.fromarray(np.rint(255 * tone).astype(np.uint8)).save(tmp_path / 'sepia.png')
    for gray, count in (('keep', 0), ('warn', 1), ('leave', 1)):
        log()
        dataset = build(tmp_path, gray=gray)
        paths = {Path(dataset[index % 4]['path']).name for index in range(8)}
        assert ('sepia.png' in paths) == (gray != 'leave')
        assert len([line for line in log().splitlines() if 'sepia.png' in line and 'black and white' in line]) == count
    with pytest.raises(ValueError, match="'keep', 'warn' or 'leave'"):
        build(tmp_path, gray='drop')
