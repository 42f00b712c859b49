"""`dualattn evaluate` and `dualattn tables` as a user meets them, with small pictures."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from colorization.commands import evaluate, tables
from colorization.evaluation import protocols
from colorization.evaluation.measures import measure_pair
from colorization.evaluation.papers import PAPER_TABLES
from colorization.evaluation.protocols import Protocol
from colorization.evaluation.record import read_record


def read(path):
    return torch.from_numpy(np.array(Image.open(path).convert('RGB'))).permute(2, 0, 1)


@pytest.fixture
def folders(tmp_path, make_photos, monkeypatch):
    """Six photographs, and predictions with half their colour; the current folder is theirs."""
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / 'truth', 6)
    (tmp_path / 'pred').mkdir()
    for path in sorted((tmp_path / 'truth').iterdir()):
        rgb = np.array(Image.open(path)).astype(float)
        rgb = rgb / 2 + rgb.mean(axis=2, keepdims=True) / 2
        Image.fromarray(rgb.round().astype(np.uint8)).save(tmp_path / 'pred' / path.name)
    return tmp_path


def run(*options):
    return evaluate.main(
        ['--pred', 'pred', '--gt', 'truth', '--workers', '0', '--out', 'record.json', '--overwrite', *options]
    )


def test_the_record_holds_the_means_and_what_they_are_about(folders):
    assert run('--name', 'half') == 0
    record = json.loads((folders / 'record.json').read_text())
    names = [f'{i:02d}.png' for i in range(6)]
    expected = [measure_pair(read(folders / 'pred' / name), read(folders / 'truth' / name)) for name in names]
    for name in expected[0]:
        figure = record['figures'][name]
        assert figure['value'] == pytest.approx(np.mean([row[name] for row in expected]))
        assert figure['low'] <= figure['value'] <= figure['high']
    for name in ('CF', 'CF_abs'):
        delta = record['figures'][name]['value'] - record['figures'][f'{name}_truth']['value']
        assert record['figures'][f'{name}_delta']['value'] == pytest.approx(abs(delta))
        assert delta < -5
    assert record['name'] == 'half' and record['protocol']['name'] == 'folder'
    assert record['pictures']['complete'] and record['pictures']['measured'] == 6
    assert {'torch', 'torch-fidelity', 'lpips', 'scikit-image'} <= set(record['versions'])
    assert set(record['not_measured']) == {'FID', 'FD_DINOv2', 'LPIPS_alex', 'LPIPS_vgg'}
    assert str(folders) not in json.dumps(record)


def test_hashes_tell_other_photographs_and_other_predictions(folders):
    def hashes():
        assert run('--resamples', '0') == 0
        return read_record(folders / 'record.json')['data']

    first = hashes()
    assert hashes() == first
    shutil.copy(folders / 'pred' / '00.png', folders / 'pred' / '01.png')
    second = hashes()
    assert second['photographs_sha256'] == first['photographs_sha256']
    assert second['predictions_sha256'] != first['predictions_sha256']


def test_every_picture_that_is_left_out_is_named(folders, capsys):
    pred = folders / 'pred'
    (pred / '00.png').unlink()
    (pred / '01.png').rename(pred / '01_colorized.png')
    Image.new('RGB', (9, 9)).save(pred / '02.png')
    (pred / '03.png').write_bytes(b'no picture')
    Image.open(pred / '04.png').convert('L').save(pred / '04.png')
    Image.new('RGB', (9, 9)).save(pred / 'stranger.png')
    assert run() == 1
    pictures = read_record(folders / 'record.json')['pictures']
    assert pictures['missing'] == ['00.png'] and pictures['extra'] == ['stranger.png']
    assert pictures['misnamed'] == [dict(prediction='01_colorized.png', photograph='01.png')]
    assert [entry['prediction'] for entry in pictures['misshapen']] == ['02.png']
    assert [entry['prediction'] for entry in pictures['unreadable']] == ['03.png']
    assert pictures['gray'] == ['04.png']
    assert pictures['measured'] == 2 and not pictures['complete']
    told = capsys.readouterr().err
    for name in ('00.png', 'stranger.png', '01_colorized.png', '02.png: 9 x 9 pixels, expected 48 x 40', '03.png'):
        assert name in told


def test_photographs_compared_with_themselves_are_told(folders, capsys):
    names = sorted(path.name for path in (folders / 'truth').iterdir())
    (folders / 'pred' / names[0]).unlink()
    (folders / 'pred' / names[0]).hardlink_to(folders / 'truth' / names[0])
    assert run() == 0
    told = capsys.readouterr().err
    assert '1 predictions are the photographs themselves' in told and names[0] in told and names[1] not in told
    shutil.rmtree(folders / 'pred')
    (folders / 'pred').symlink_to(folders / 'truth', target_is_directory=True)
    assert run() == 0
    assert f'{len(names)} predictions are the photographs themselves' in capsys.readouterr().err


def test_an_unreadable_photograph_is_no_prediction_s_fault(folders):
    (folders / 'truth' / '02.png').write_bytes(b'no picture')
    assert run() == 1
    (entry,) = read_record(folders / 'record.json')['pictures']['unreadable']
    assert 'truth' in entry['reason']


def test_nothing_in_common(folders, capsys):
    for path in (folders / 'pred').iterdir():
        path.rename(path.with_name(f'other{path.name}'))
    assert run() == 2
    assert 'share no name' in capsys.readouterr().err
    assert not (folders / 'record.json').exists()


def test_nothing_of_one_size(folders, capsys):
    for path in (folders / 'pred').iterdir():
        Image.new('RGB', (9, 9)).save(path)
    assert run() == 2
    assert 'none of the 6 pairs can be compared' in capsys.readouterr().err


SQUARES = Protocol('folder', 'all pictures', count=6, resize='squeeze', size=32)


def test_predictions_before_and_after_the_protocol(folders, monkeypatch):
    """A method may hand in pictures as large as the photographs, or as large as the protocol makes them."""
    monkeypatch.setitem(protocols.PROTOCOLS, 'folder', SQUARES)
    assert run() == 0
    first = read_record(folders / 'record.json')['figures']
    for path in (folders / 'pred').iterdir():
        rgb = SQUARES.prepare(read(path))
        Image.fromarray(rgb.permute(1, 2, 0).numpy()).save(path)
    assert run() == 0
    assert read_record(folders / 'record.json')['figures'] == first


def test_too_few_pictures_are_not_that_protocol(folders, capsys):
    assert run('--protocol', 'ade20k') == 1
    assert 'ade20k has 2,000 pictures' in capsys.readouterr().err
    assert tables.main(['record.json', '--beside', 'mpt-1']) == 0
    assert 'incomplete, 6 of 2,000 pictures; not comparable' in capsys.readouterr().out


class Eight(torch.nn.Module):
    """Eight numbers per picture in place of Inception's 2048."""

    kind, figure, dim = 'inception', 'FID', 8

    def __init__(self, path):
        super().__init__()
        from colorization.metrics.networks import NetworkWeights

        self.weights = NetworkWeights('random.pth', '0' * 64, published='published' in str(path))

    def forward(self, rgb):
        return torch.nn.functional.adaptive_avg_pool2d(rgb.float(), (2, 2)).flatten(1)[:, :8]


@pytest.mark.parametrize('published', [True, False])
def test_only_published_weights_make_a_score(folders, monkeypatch, capsys, caplog, published):
    import scipy.linalg

    from colorization.metrics import networks

    monkeypatch.setattr(networks, 'Inception', Eight)
    assert run('--inception', 'published.pth' if published else 'random.pth', '--batch-size', '4') == 0
    record = read_record(folders / 'record.json')
    where, other = ('figures', 'unverified') if published else ('unverified', 'figures')
    assert 'FID' not in record[other]
    features = [
        np.stack([Eight('')(read(path)[None])[0].numpy() for path in sorted((folders / name).iterdir())]).astype(float)
        for name in ('pred', 'truth')
    ]
    covariances = [np.cov(part.T) for part in features]
    difference = features[0].mean(axis=0) - features[1].mean(axis=0)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = difference @ difference + np.trace(sum(covariances) - 2 * root)
    assert record[where]['FID']['value'] == pytest.approx(expected, rel=1e-3)
    assert record[where]['FID']['low'] < expected < record[where]['FID']['high']
    assert 'full rank from 9 pictures on' in caplog.text  # six pictures cannot fill eight dimensions
    assert ('no scores' in capsys.readouterr().out) is not published


@pytest.mark.parametrize(
    'options, message',
    [
        (['--protokol', 'folder'], 'did you mean --protocol'),
        (['--protocol', 'ade'], 'ade20k'),
        (['--batch-size', '0'], 'takes at least 1'),
        (['--frechet-resamples', '1'], 'one draw has no spread'),
        (['--out', 'record.txt'], 'takes a .json file'),
        (['--out', 'none/record.json'], 'no folder none'),
    ],
)
def test_wrong_options(folders, capsys, options, message):
    with pytest.raises(SystemExit) as error:
        run(*options)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_weights_that_are_not_there(folders, capsys):
    assert run('--lpips-vgg', 'none.pth') == 2
    assert 'vgg16-397923af.pth from https://' in capsys.readouterr().err


def test_a_record_is_not_replaced_unasked(folders, capsys):
    assert run() == 0
    with pytest.raises(SystemExit):
        evaluate.main(['--pred', 'pred', '--gt', 'truth', '--out', 'record.json'])
    assert 'use --overwrite' in capsys.readouterr().err


def test_clips(folders, capsys):
    for name in ('pred', 'truth'):
        for film in ('one', 'two'):
            (folders / name / film).mkdir()
            for i in range(3):
                shutil.copy(folders / name / f'0{i}.png', folders / name / film / f'{i}.png')
        for path in (folders / name).glob('*.png'):
            path.unlink()
    assert run('--clips') == 0
    clips = read_record(folders / 'record.json')['clips']
    assert set(clips) == {'one', 'two'} and clips['one'] == clips['two']
    assert clips['one']['frames'] == 3 and 0 < clips['one']['CDC_ab'] < clips['one']['CDC_ab_truth']
    assert 'clip one: CDC on ab' in capsys.readouterr().out


def test_a_small_picture_among_others_stops_nothing(folders, capsys):
    """SSIM has a window of 11 pixels."""
    for name in ('pred', 'truth'):
        Image.new('RGB', (40, 9)).save(folders / name / 'small.png')
    assert run() == 1
    assert 'small.png: 40 x 9 pixels; SSIM needs at least 11' in capsys.readouterr().err
    assert read_record(folders / 'record.json')['pictures']['measured'] == 6


def test_one_picture_has_no_frechet_distance(folders, monkeypatch, capsys):
    from colorization.metrics import networks

    class Means(torch.nn.Module):
        kind, figure, dim = 'inception', 'FID', 3

        def __init__(self, path):
            super().__init__()
            self.weights = networks.NetworkWeights('x', '0' * 64, True)

        def forward(self, rgb):
            return rgb.float().mean(dim=(2, 3))

    monkeypatch.setattr(networks, 'Inception', Means)
    for path in sorted((folders / 'pred').iterdir())[1:]:
        path.unlink()
    assert run('--inception', 'any.pth') == 1
    record = read_record(folders / 'record.json')
    assert 'FID' not in record['figures'] and record['not_measured']['FID'] == 'needs at least 2 pictures'


def test_intervals_hold_their_values(folders):
    """Quantiles of |d| would lie above a d near 0."""
    for index, path in enumerate(sorted((folders / 'truth').iterdir())):
        rgb = np.array(Image.open(path).convert('RGB')).astype(float)
        gray = rgb.mean(axis=2, keepdims=True)
        rgb = gray + (rgb - gray) * (0.9 if index % 2 else 1.1)
        Image.fromarray(rgb.clip(0, 255).round().astype(np.uint8)).save(folders / 'pred' / path.name)
    assert run() == 0
    figures = read_record(folders / 'record.json')['figures']
    for name, figure in figures.items():
        assert figure['low'] <= figure['value'] <= figure['high'], name
    assert figures['CF_delta']['low'] == 0 < figures['CF_delta']['high']


def test_a_record_that_cannot_be_written_costs_no_figures(folders, monkeypatch, capsys):
    from colorization.evaluation import record

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(record, 'write_record', fail)
    assert run() == 2
    told = capsys.readouterr()
    assert 'PSNR_ab' in told.out and 'no record was kept' in told.err and not (folders / 'record.json').exists()


def test_a_device_that_is_not_there(folders, capsys):
    assert run('--device', 'nonsense') == 2
    assert '--device nonsense cannot be used' in capsys.readouterr().err


# --- tables


def test_papers_rows_stand_beside_ours(folders, capsys, monkeypatch):
    monkeypatch.setitem(protocols.PROTOCOLS, 'ade20k', Protocol('ade20k', 'six', count=6, resize='squeeze', size=32))
    assert run('--protocol', 'ade20k', '--name', 'Half & half') == 0
    capsys.readouterr()
    assert tables.main(['record.json', '--beside', 'dd-1']) == 0
    text = capsys.readouterr().out
    assert '| DDColor-large (paper) | 227.9 |' in text and '| Half & half | - |' in text  # pictures tell no size
    assert '| 8.21 | 34.80 | 0.24 | 24.13 |' in text
    figures = read_record(folders / 'record.json')['figures']
    psnr = figures['PSNR']
    ours = next(line for line in text.splitlines() if line.startswith('| Half & half |'))
    assert ours.endswith(f'| {psnr["value"]:.2f} [{psnr["low"]:.2f}, {psnr["high"]:.2f}] |')
    assert f'{figures["CF_abs"]["value"]:.2f} [' in ours  # the papers' variant

    assert tables.main(['record.json', '--beside', 'dd-1', '--format', 'csv', '--out', 'table.csv']) == 0
    rows = list(csv.DictReader(io.StringIO((folders / 'table.csv').read_text())))
    assert rows[-1]['method'] == 'Half & half'
    assert float(rows[-1]['ade20k PSNR low']) == pytest.approx(psnr['low'], abs=0.01)
    assert rows[0]['imagenet-val5k FID'] == '8.72' and rows[0]['ade20k PSNR low'] == ''

    assert tables.main(['record.json', '--beside', 'dd-1', '--format', 'latex']) == 0
    text = capsys.readouterr().out
    assert r'Half \& half' in text and r'\multicolumn{4}{c}{ade20k}' in text and r'$\Delta$CF' in text
    columns = text.split(r'\begin{tabular}{')[1].split('}')[0]
    for line in text.split(r'\midrule')[1].split(r'\bottomrule')[0].strip().splitlines():
        assert line.replace(r'\&', '').count('&') == len(columns) - 1


def test_the_papers_rows_are_whole():
    """Counts of the papers' rows, and a few numbers read from them once more."""
    assert {name: len(table.rows) for name, table in PAPER_TABLES.items()} == {
        'mpt-1': 11,
        'mpt-2': 12,
        'mpt-3': 10,
        'mpt-4': 5,
        'dd-1': 10,
        'dd-2a': 4,
        'dd-2b': 4,
        'dd-2c': 4,
        'dd-3': 5,
    }
    rows = PAPER_TABLES['mpt-1'].rows
    assert rows['MPT']['celeba-hq'] == (5.68, 42.96, 0.21, 25.94)
    assert rows['DDColor']['coco-stuff'] == (7.24, 38.48, 1.63, 23.45)
    assert rows['BigColor']['ade20k'] == (None,) * 4
    assert PAPER_TABLES['mpt-3'].rows['SDA']['imagenet-val50k'] == (3.95, 42.26, 3.17)
    for table in PAPER_TABLES.values():
        for groups in table.rows.values():
            assert set(groups) == set(table.protocols)
            assert all(len(numbers) == len(table.columns) for numbers in groups.values())


def test_records_that_cannot_be_compared(folders, capsys):
    assert run() == 0
    record = json.loads((folders / 'record.json').read_text())
    for change, message in (
        (dict(kind='other'), 'is no record'),
        (dict(version=99), 'of version 99'),
        (dict(protocol=dict(record['protocol'], antialias=False)), 'measure it again'),
    ):
        (folders / 'changed.json').write_text(json.dumps(record | change))
        assert tables.main(['changed.json']) == 2
        assert message in capsys.readouterr().err
    (folders / 'changed.json').write_text('{')
    assert tables.main(['changed.json']) == 2
    assert tables.main(['record.json', 'record.json']) == 2
    assert 'two records' in capsys.readouterr().err
    assert tables.main(['record.json', '--beside', 'mpt-1']) == 2
    assert 'has no column for pred (folder)' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tables.main([])


def test_tables_of_recognition(folders, capsys):
    figures = {'coco/bbox_mAP': 0.4831, 'coco/bbox_mAP_50': 0.7, 'coco/segm_mAP': 0.432}
    record = dict(
        kind='dualattn.evaluation',
        version=1,
        name='mine',
        protocol=dict(name=None, description='5,000 samples of COCO'),
        figures={name: dict(value=value, low=None, high=None) for name, value in figures.items()},
        unverified={},
        pictures=dict(measured=5000, complete=True),
        network=dict(parameters=47_500_000),
    )
    (folders / 'coco.json').write_text(json.dumps(record))
    assert tables.main(['coco.json', '--beside', 'mpt-10']) == 0
    text = capsys.readouterr().out
    assert '| Dual-Attention-T (paper) | 47.5 | 281 | 48.3 | 43.2 |' in text
    assert '| mine | 47.50 | - | 48.31 | 43.20 |' in text and '5,000 samples of COCO' in text
    assert tables.main(['coco.json', 'coco.json', '--beside', 'mpt-10']) == 2
    assert tables.main(['coco.json', '--beside', 'mpt-5']) == 2
    assert 'has no figure of it; it has coco/bbox_mAP' in capsys.readouterr().err
    aps = {f'NuScenes metric/pred_NuScenes/car_AP_dist_{d}': 0.7 + i / 10 for i, d in enumerate((0.5, 1.0, 2.0, 4.0))}
    record['figures'] = {name: dict(value=value, low=None, high=None) for name, value in aps.items()}
    (folders / 'nuscenes.json').write_text(json.dumps(record))
    assert tables.main(['nuscenes.json', '--beside', 'mpt-11', '--format', 'csv']) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[-1]['nuScenes val Car'] == '0.85' and rows[-1]['nuScenes val Bus'] == ''


def test_the_rows_of_recognition_are_whole():
    from colorization.evaluation.recognition import RECOGNITION_TABLES

    assert {name: len(table.rows) for name, table in RECOGNITION_TABLES.items()} == {
        'mpt-5': 52,
        'mpt-7': 17,
        'mpt-9': 9,
        'mpt-10': 21,
        'mpt-11': 4,
        'mpt-12': 4,
        'mpt-13': 2,
    }
    for name, table in RECOGNITION_TABLES.items():
        assert set(table.figures) & set(table.columns), name
        for row, groups in table.rows.items():
            numbers = groups[table.protocols[0]]
            assert len(numbers) == len(table.columns) and numbers[0] is not None, (name, row)
