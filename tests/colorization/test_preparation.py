"""`dualattn data prepare` and `dualattn shard` as a user meets them."""

import errno
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from mmengine.registry import DATASETS
from PIL import Image

import colorization.data  # noqa: F401  registers the data sets
from colorization.commands import prepare, shard
from colorization.data.imagenet import read_validation_synsets, sort_validation
from colorization.evaluation.protocols import PROTOCOLS, Protocol
from dualattn.commands import data
from dualattn.engine import DataError


@pytest.fixture
def small_protocols(monkeypatch):
    """The data sets' protocols for six photographs and 32 pixels."""
    for name, limit in (('imagenet-val5k', 2), ('imagenet-val50k', None), ('coco-stuff', None), ('ade20k', None)):
        monkeypatch.setitem(
            PROTOCOLS,
            name,
            Protocol(
                name,
                'six',
                count=limit or 6,
                sort_by='name' if 'imagenet' in name else 'path',
                limit=limit,
                resize='short side' if limit else 'squeeze',
                size=32,
                crop=limit is not None,
            ),
        )


def read(path):
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def test_lists_hashes_and_copies(tmp_path, make_photos, small_protocols, capsys):
    photos = make_photos(tmp_path / 'val2017', 6)
    assert prepare.main(['coco-stuff', str(tmp_path)]) == 0
    names = (tmp_path / 'lists' / 'coco-stuff.txt').read_text().split()
    assert names == [f'{i:02d}.png' for i in range(6)]
    done = subprocess.run(
        ['sha256sum', '--check', '--strict', tmp_path / 'lists' / 'coco-stuff.sha256'],
        cwd=photos,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for name in names:
        expected = PROTOCOLS['coco-stuff'].prepare(read(photos / name))
        assert torch.equal(read(tmp_path / 'coco-stuff' / name), expected)
    manifest = json.loads((tmp_path / 'lists' / 'coco-stuff.json').read_text())
    assert manifest['complete'] and manifest['readable'] == 6
    sums = (tmp_path / 'lists' / 'coco-stuff.sha256').read_bytes()
    assert manifest['list_sha256'] == hashlib.sha256(sums).hexdigest()
    assert '6 copies made, 0 were there' in capsys.readouterr().out


def test_imagenet_has_two_protocols_in_the_order_of_names(tmp_path, make_photos, small_protocols):
    make_photos(tmp_path / 'val' / 'n00000002', 3)
    for i, path in enumerate(sorted(make_photos(tmp_path / 'val' / 'n00000001', 3).iterdir())):
        path.rename(path.with_name(f'0{i + 3}.png'))
    assert prepare.main(['imagenet', str(tmp_path), '--out', str(tmp_path / 'out')]) == 0
    first = (tmp_path / 'out' / 'lists' / 'imagenet-val5k.txt').read_text().split()
    assert first == ['n00000002/00.png', 'n00000002/01.png']  # by name: by path the other folder would come first
    assert len(list((tmp_path / 'out' / 'imagenet-val50k').glob('*.png'))) == 6
    assert Image.open(tmp_path / 'out' / 'imagenet-val5k' / '00.png').size == (32, 32)


def test_a_second_run_goes_on(tmp_path, make_photos, small_protocols, capsys, monkeypatch):
    """The disk is full after two copies; then there is room."""
    make_photos(tmp_path / 'val2017', 6)
    save = Image.Image.save
    calls = []

    def fail_at_third(self, path, **options):
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b'half')
            raise OSError(errno.ENOSPC, 'No space left on device')
        save(self, path, **options)

    monkeypatch.setattr(Image.Image, 'save', fail_at_third)
    assert prepare.main(['coco-stuff', str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert 'is full after 2 of 6 photographs' in told and 'same command again' in told
    assert sorted(path.name for path in (tmp_path / 'coco-stuff').iterdir()) == ['00.png', '01.png']
    assert list((tmp_path / 'lists').iterdir()) == []
    assert prepare.main(['coco-stuff', str(tmp_path)]) == 0
    assert '4 copies made, 2 were there' in capsys.readouterr().out
    make_photos(tmp_path / 'val2017', 7)  # written anew, so newer than the copies
    assert prepare.main(['coco-stuff', str(tmp_path)]) == 1
    assert '7 copies made' in capsys.readouterr().out


def test_what_cannot_be_used_is_named(tmp_path, make_photos, small_protocols, capsys):
    make_photos(tmp_path / 'images' / 'validation', 6)
    (tmp_path / 'images' / 'validation' / '03.png').write_bytes(b'broken')
    assert prepare.main(['ade20k', str(tmp_path)]) == 1
    assert '03.png cannot be used' in capsys.readouterr().err
    manifest = json.loads((tmp_path / 'lists' / 'ade20k.json').read_text())
    assert not manifest['complete'] and manifest['readable'] == 5
    assert [entry['file'] for entry in manifest['unreadable']] == ['03.png']
    assert '03.png' not in (tmp_path / 'lists' / 'ade20k.txt').read_text()


def test_too_few_and_none(tmp_path, make_photos, capsys):
    make_photos(tmp_path / 'val2017', 1)
    assert prepare.main(['coco-stuff', str(tmp_path), '--no-copies']) == 1
    assert 'coco-stuff has 5,000 photographs' in capsys.readouterr().err
    assert not (tmp_path / 'coco-stuff').exists()
    assert prepare.main(['ade20k', str(tmp_path)]) == 2
    assert 'ADEChallengeData2016.zip' in capsys.readouterr().err
    for name in prepare.NAMES:
        assert prepare.main([name, str(tmp_path / 'nowhere')]) == 2
        assert f'ROOT {tmp_path / "nowhere"} does not exist, expected a folder' in capsys.readouterr().err
    make_photos(tmp_path / 'faces', 1)
    assert prepare.main(['celeba-hq', str(tmp_path / 'faces')]) == 2  # its copies would become photographs
    assert 'name another folder with --out' in capsys.readouterr().err


@pytest.mark.slow
def test_processes_do_what_one_does(tmp_path, make_photos, small_protocols):
    make_photos(tmp_path / 'images' / 'validation', 6)
    assert prepare.main(['ade20k', str(tmp_path), '--out', str(tmp_path / 'one'), '--no-copies']) == 0
    assert prepare.main(['ade20k', str(tmp_path), '--out', str(tmp_path / 'two'), '--no-copies', '--workers', '2']) == 0
    for name in ('ade20k.txt', 'ade20k.sha256'):
        assert (tmp_path / 'one' / 'lists' / name).read_bytes() == (tmp_path / 'two' / 'lists' / name).read_bytes()


# --- the synsets of ImageNet's validation set


@pytest.fixture
def devkit(tmp_path):
    """A devkit of three images and two synsets, as a folder."""
    folder = tmp_path / 'devkit' / 'data'
    folder.mkdir(parents=True)
    synsets = np.zeros(2, dtype=[('ILSVRC2012_ID', 'O'), ('WNID', 'O')])
    synsets['ILSVRC2012_ID'], synsets['WNID'] = [1, 2], ['n00000011', 'n00000022']
    scipy.io.savemat(folder / 'meta.mat', dict(synsets=synsets))
    (folder / 'ILSVRC2012_validation_ground_truth.txt').write_text('2\n1\n2\n')
    return folder.parent


EXPECTED = {
    'ILSVRC2012_val_00000001': 'n00000022',
    'ILSVRC2012_val_00000002': 'n00000011',
    'ILSVRC2012_val_00000003': 'n00000022',
}


def test_ground_truth_in_all_forms(tmp_path, devkit):
    assert read_validation_synsets(devkit) == EXPECTED
    archive = tmp_path / 'devkit.tar.gz'
    with tarfile.open(archive, 'w:gz') as tar:
        tar.add(devkit, 'ILSVRC2012_devkit_t12')
    assert read_validation_synsets(archive) == EXPECTED
    table = tmp_path / 'LOC_val_solution.csv'
    rows = ''.join(f'{name},{synset} 1 2 3 4 \n' for name, synset in EXPECTED.items())
    table.write_text(f'ImageId,PredictionString\n{rows}')
    assert read_validation_synsets(table) == EXPECTED


def test_sorting_goes_on_and_moves_nothing_unknown(tmp_path, devkit, caplog):
    val = tmp_path / 'val'
    val.mkdir()
    for name in [*EXPECTED, 'ILSVRC2012_val_00000009']:
        (val / f'{name}.JPEG').write_bytes(name.encode())
    with pytest.raises(DataError, match=r'does not know 1 images.*00000009'):
        sort_validation(val, devkit)
    assert len(list(val.glob('*.JPEG'))) == 4
    (val / 'ILSVRC2012_val_00000009.JPEG').unlink()
    (val / 'n00000022').mkdir()
    (val / 'ILSVRC2012_val_00000001.JPEG').rename(val / 'n00000022' / 'ILSVRC2012_val_00000001.JPEG')
    assert sort_validation(val, devkit) == (2, 1)
    assert {path.stem: path.parent.name for path in val.glob('*/*')} == EXPECTED
    assert sort_validation(val, devkit) == (0, 3)
    assert "tells the synsets of 3 images, ImageNet's validation set has 50,000" in caplog.text
    (val / 'n00000099').mkdir()
    (val / EXPECTED['ILSVRC2012_val_00000002'] / 'ILSVRC2012_val_00000002.JPEG').rename(
        val / 'n00000099' / 'ILSVRC2012_val_00000002.JPEG'
    )
    with pytest.raises(DataError, match='1 images lie in the folder of another synset'):
        sort_validation(val, devkit)


def test_other_ground_truths_are_refused(tmp_path, devkit):
    (tmp_path / 'a.csv').write_text('a,b\n')
    (tmp_path / 'a.tar').write_bytes(b'no archive')
    (devkit / 'data' / 'ILSVRC2012_validation_ground_truth.txt').write_text('7\n')
    (tmp_path / 'b.csv').write_bytes(bytes(range(256)))
    for path, message in (
        (tmp_path / 'a.csv', 'does not tell'),
        (tmp_path / 'b.csv', 'b.csv is no table of text'),
        (tmp_path / 'a.tar', r'no readable archive \([^\n]+\)$'),
        (devkit, "'7'"),
    ):
        with pytest.raises(DataError, match=message):
            read_validation_synsets(path)
    with pytest.raises(FileNotFoundError):
        read_validation_synsets(tmp_path / 'none')


# --- the verb


def test_data_knows_the_preparers_that_packages_declare(capsys, monkeypatch):
    class Entry:
        def __init__(self, name):
            self.name = name

        def load(self):
            return lambda argv: print('called', *argv) or 0

    monkeypatch.setattr(data, 'entry_points', lambda group: [Entry('imagenet'), Entry('kitti')])
    assert data.main(['prepare', 'kitti', 'ROOT', '--same-frames']) == 0
    assert 'called kitti ROOT --same-frames' in capsys.readouterr().out
    assert data.main(['prepare', 'imagenett']) == 2
    assert 'did you mean imagenet?' in capsys.readouterr().err
    assert data.main(['prepar', 'imagenet']) == 2
    assert data.main(['prepare']) == 2
    assert data.main(['--help']) == 0
    assert 'data sets: imagenet, kitti' in capsys.readouterr().out


def test_wrong_arguments_of_a_preparer(capsys):
    for options, message in (
        (['coco-stuff', 'x', '--ground-truth', 'y'], 'has no synsets'),
        (['coco-stuff', 'x', '--workers', '0'], 'at least 1'),
    ):
        with pytest.raises(SystemExit) as error:
            prepare.main(options)
        assert error.value.code == 2 and message in capsys.readouterr().err


# --- shards


@pytest.fixture
def shards(tmp_path, make_photos):
    """Twelve photographs, one of them broken, in a few shards."""
    for name in ('a', 'b.c'):
        make_photos(tmp_path / 'photos' / name, 6)
    (tmp_path / 'photos' / 'a' / '02.png').write_bytes(b'broken')
    assert shard.main([str(tmp_path / 'photos'), str(tmp_path / 'shards'), '--shard-mb', '0.008']) == 0
    return tmp_path


def stream(root, **options):
    return DATASETS.build(
        dict(type='ShardDataset', data_root=str(root / 'shards'), repeat=False, prepare=[RESIZE], **options)
    )


RESIZE = dict(type='torchvision/Resize', size=24, antialias=True)


def test_a_stream_has_the_samples_of_the_folder(shards):
    index = json.loads((shards / 'shards' / 'index.json').read_text())
    assert index['images'] == 12 and len(index['shards']) > 2
    folder = DATASETS.build(dict(type='ColorImageDataset', data_root=str(shards / 'photos'), prepare=[RESIZE]))
    expected = {
        Path(folder.files[i]).relative_to(shards / 'photos').as_posix(): folder[i]['inputs']
        for i in range(12)
        if i != 2
    }
    for shuffle in (0, 100):
        found = {sample['path']: sample['inputs'] for sample in stream(shards, shuffle=shuffle)}
        assert set(found) == set(expected)
        assert all(torch.equal(found[path], image) for path, image in expected.items())


def test_the_order_follows_from_the_seed_and_changes_with_the_pass(shards):
    def paths(**options):
        return [sample['path'] for sample in stream(shards, **options)]

    assert paths(seed=1) == paths(seed=1) != paths(seed=2)
    assert sorted(paths(seed=1)) == sorted(paths(seed=2)) == sorted(paths(shuffle=0))
    resumed = stream(shards, seed=1)
    resumed.start = 64
    assert [sample['path'] for sample in resumed] != paths(seed=1)
    endless = DATASETS.build(dict(type='ShardDataset', data_root=str(shards / 'shards'), seed=1))
    two = [sample['path'] for sample, _ in zip(endless, range(22))]  # noqa: B905
    assert two[:11] == paths(seed=1) and sorted(two[11:]) == sorted(two[:11]) and two[11:] != two[:11]


@pytest.mark.slow
def test_workers_and_processes_share_the_shards(shards, monkeypatch):
    from colorization.data import shards as module

    names = []
    for rank in range(2):
        monkeypatch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, 2))
        names += [sample['path'] for sample in stream(shards)]
    assert len(names) == len(set(names)) == 11
    loader = torch.utils.data.DataLoader(stream(shards), batch_size=None, num_workers=99)
    monkeypatch.setattr(module, 'get_dist_info', lambda: (0, 99))
    with pytest.raises(DataError, match='shards for 99 processes'):
        next(iter(stream(shards)))
    del loader


def test_shards_that_are_not_whole_are_refused(shards, capsys, tmp_path):
    assert shard.main([str(shards / 'photos'), str(shards / 'shards')]) == 2
    assert 'holds shards already' in capsys.readouterr().err
    (shards / 'shards' / '000001.tar').unlink()
    with pytest.raises(DataError, match=r'lacks 1 of .* 000001\.tar'):
        stream(shards)
    (shards / 'shards' / 'index.json').unlink()
    with pytest.raises(FileNotFoundError, match='dualattn shard FOLDER'):
        stream(shards)
    assert shard.main([str(shards / 'photos'), str(shards / 'shards'), '--shard-mb', '1']) == 0  # goes on from there
    assert [path.name for path in sorted((shards / 'shards').iterdir())] == ['000000.tar', 'index.json']


def test_shards_are_plain_tar_files_of_the_bytes(shards):
    with tarfile.open(shards / 'shards' / '000000.tar') as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}
    assert members['000000000.txt'] == b'a/00.png'
    assert members['000000000.png'] == (shards / 'photos' / 'a' / '00.png').read_bytes()
    assert Image.open(io.BytesIO(members['000000000.png'])).size == (48, 40)
