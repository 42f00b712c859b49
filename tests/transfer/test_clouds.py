"""Files of point clouds: how their numbers are laid out, .pcd and .ply, and KITTI's texts."""

import gzip
import io
import struct

import numpy as np
import pytest

pytest.importorskip('mmdet3d')
from raw_data import fill_boxes

from dualattn.engine import DataError
from transfer.detection3d.clouds import decompress_lzf, read_columns, read_fields
from transfer.detection3d.kitti_labels import check_calibration, read_labels
from transfer.detection3d.layout import check_layout, find_columns, find_number_format
from transfer.detection3d.loading import check_points

pytestmark = pytest.mark.mm


def make_cloud(columns, seed=0, count=1500):
    """A scene of (N, columns) float32: ground, two boxes, intensities, then rings, ages and colours."""
    random = np.random.default_rng(seed)
    boxes = np.array([[10, 0, -0.9, 3.9, 1.6, 1.5, 0], [8, 3, -0.8, 0.8, 0.6, 1.7, 0]])
    points = fill_boxes(boxes, count // 3, 4, seed=seed)
    more = [random.integers(0, 64, len(points)), random.random(len(points)) * 0.1, random.integers(0, 256, len(points))]
    return np.column_stack([points, *more])[:, :columns].astype(np.float32)


# --- layout


@pytest.mark.parametrize('columns', [3, 4, 5, 6, 7])
@pytest.mark.parametrize('expected', [3, 4, 5, 6])
@pytest.mark.parametrize('count', [210, 3000])
def test_columns_are_found(columns, expected, count):
    cloud = make_cloud(columns, count=count)
    assert find_columns(cloud.ravel(), expected) == columns
    if columns == expected:
        check_layout(cloud.tobytes(), expected, 'cloud.bin')
    else:
        with pytest.raises(
            DataError, match=f'cloud.bin seems to hold {columns} .*not {expected}: set load_dim={columns}'
        ):
            check_layout(cloud.tobytes(), expected, 'cloud.bin')


@pytest.mark.parametrize('columns', [3, 4, 5, 6])
def test_real_clouds_of_any_number_of_columns(data_root, columns):
    for path in sorted((data_root / 'kitti_mini').rglob('velodyne*/*.bin')):
        cloud = np.fromfile(path, np.float32).reshape(-1, 4)
        rings = np.arange(len(cloud)) % 32
        cloud = np.column_stack([cloud, rings, cloud[:, 3] * 255])[:, :columns].astype(np.float32)
        assert find_columns(cloud.ravel(), 4) == columns
        assert find_columns(np.random.default_rng(0).permutation(cloud).ravel(), 4) == columns
    (path,) = (data_root / 'nuscenes_sample').glob('*.pcd.bin')
    cloud = np.fromfile(path, np.float32).reshape(-1, 5)
    assert find_columns(cloud[:, :columns].ravel(), 4) == min(columns, 5)


@pytest.mark.parametrize(
    ('kind', 'name'), [('<f8', 'float64'), ('>f4', 'big-endian float32'), ('>f8', 'big-endian float64')]
)
@pytest.mark.parametrize('columns', [3, 4])
def test_other_formats_of_numbers(kind, name, columns):
    data = make_cloud(columns).astype(kind).tobytes()
    with pytest.raises(DataError, match=f"is no list of float32 numbers, but of {name}: .*'{kind}'"):
        check_layout(data, 4, 'cloud.bin')
    noise = make_cloud(columns) + np.random.default_rng(0).normal(size=(len(make_cloud(columns)), 1)) * 1e-9
    assert find_number_format(noise.astype(kind).tobytes()) == name


@pytest.mark.parametrize('separator', [' ', ',', ';'])
def test_texts(separator):
    lines = [separator.join(f'{value:.3f}' for value in point) for point in make_cloud(4)]
    with pytest.raises(DataError, match='cloud.bin is a text file'):
        check_layout('\n'.join(lines).encode(), 4, 'cloud.bin')


def test_bytes_that_are_no_numbers():
    with pytest.raises(DataError, match='is no list of float32 numbers: convert it'):
        check_layout(np.random.default_rng(0).bytes(40_000), 4, 'cloud.bin')


def test_files_of_other_kinds_are_named():
    buffer = io.BytesIO()
    np.save(buffer, make_cloud(4))
    with pytest.raises(DataError, match=r'but a file of NumPy: convert it, in Python by numpy.load\(path\)'):
        check_layout(buffer.getvalue(), 4, 'cloud.bin')
    for data, name in (
        (gzip.compress(make_cloud(4).tobytes()), 'packed by gzip: unpack'),
        (b'LASF' + bytes(400), 'a LAS or LAZ file'),
    ):
        with pytest.raises(DataError, match=name):
            check_layout(data, 4, 'cloud.bin')


@pytest.mark.parametrize('kind', ['<f4', '<f8'])
def test_points_without_an_echo_are_no_other_format(kind):
    cloud = make_cloud(4).astype(kind)
    cloud[::2] = np.nan
    cloud[::4] = -cloud[::4]
    assert find_number_format(cloud.tobytes()) == (None if kind == '<f4' else 'float64')
    if kind == '<f4':
        with pytest.raises(DataError, match=f'NaN or infinite values in {len(cloud[::2])} of {len(cloud)} points'):
            check_points(cloud.reshape(-1), 4, 'cloud.bin')


def test_what_tells_nothing_is_taken_as_it_is():
    for cloud in (np.zeros((500, 4)), np.full((500, 4), 7.0), make_cloud(4)[:20], np.zeros((0, 4))):
        check_layout(cloud.astype(np.float32).tobytes(), 4, 'cloud.bin')
    assert find_columns(np.random.default_rng(0).normal(size=3000), 4) is None
    with pytest.raises(DataError, match='the fourth of 4 numbers of a point, its intensity, is negative in 5'):
        check_layout(np.random.default_rng(0).normal(size=3000).astype(np.float32).tobytes(), 4, 'cloud.bin')


# --- .pcd and .ply


PCD = """# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS x y z {intensity} _ ring
SIZE 4 4 4 4 1 2
TYPE F F F F U U
COUNT 1 1 1 1 3 1
WIDTH {count}
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS {count}
DATA {kind}
"""
TABLE = np.dtype([('xyzi', '<f4', 4), ('_', 'u1', 3), ('ring', '<u2')])


def make_pcd(cloud, kind, intensity='intensity'):
    """A .pcd file of (N, 5) float32; compressed without any compression, in literal runs."""
    header = PCD.format(count=len(cloud), kind=kind, intensity=intensity).encode()
    table = np.zeros(len(cloud), TABLE)
    table['xyzi'], table['ring'] = cloud[:, :4], cloud[:, 4]
    if kind == 'ascii':
        return (
            header
            + '\n'.join(' '.join([*map(repr, row[:4].tolist()), '0 0 0', str(int(row[4]))]) for row in cloud).encode()
        )
    if kind == 'binary':
        return header + table.tobytes()
    plain = b''.join([*(cloud[:, i].tobytes() for i in range(4)), table['_'].tobytes(), table['ring'].tobytes()])
    packed = b''.join(bytes([len(part) - 1]) + part for part in (plain[i : i + 32] for i in range(0, len(plain), 32)))
    return header + struct.pack('<II', len(packed), len(plain)) + packed


def make_ply(cloud, kind):
    names = ''.join(f'property float {name}\n' for name in ('x', 'y', 'z', 'intensity'))
    header = f'ply\nformat {kind} 1.0\nelement vertex {len(cloud)}\n{names}property ushort ring\nend_header\n'.encode()
    if kind == 'ascii':
        return header + ''.join(' '.join([*map(repr, row[:4].tolist()), f'{int(row[4])}\n']) for row in cloud).encode()
    order = '>' if 'big' in kind else '<'
    table = np.zeros(len(cloud), np.dtype([('xyzi', f'{order}f4', 4), ('ring', f'{order}u2')]))
    table['xyzi'], table['ring'] = cloud[:, :4], cloud[:, 4]
    return header + table.tobytes()


FILES = [
    *((make_pcd, kind) for kind in ('ascii', 'binary', 'binary_compressed')),
    *((make_ply, kind) for kind in ('ascii', 'binary_little_endian', 'binary_big_endian')),
]


@pytest.mark.parametrize(('make', 'kind'), FILES)
def test_named_columns_are_read(make, kind):
    cloud = make_cloud(5)
    data = make(cloud, kind)
    for columns in (3, 4, 5):
        points, left_out = read_columns(data, columns, 'a')
        assert np.array_equal(points, cloud[:, :columns]) and left_out == 0
    cloud[[3, 8], 1] = np.nan, np.inf
    points, left_out = read_columns(make(cloud, kind), 4, 'a')
    assert len(points) == len(cloud) - 2 and left_out == 2 and np.isfinite(points).all()


@pytest.mark.parametrize(('make', 'kind'), FILES)
def test_cut_files_are_named(make, kind):
    data = make(make_cloud(5), kind)
    for length in (30, 100, 180, len(data) // 2, len(data) - 40):
        with pytest.raises(DataError, match='a.file is broken or truncated'):
            read_columns(data[:length], 4, 'a.file')


def test_columns_go_by_several_names():
    cloud = make_cloud(5)
    assert np.array_equal(read_columns(make_pcd(cloud, 'binary', 'Reflectivity'), 4, 'a')[0], cloud[:, :4])
    with pytest.raises(DataError, match='a has no intensity, .* its columns are x, y, z, curvature, ring'):
        read_columns(make_pcd(cloud, 'binary', 'curvature'), 4, 'a')
    shouted = (
        make_ply(cloud, 'binary_little_endian').replace(b'float x', b'float X').replace(b'float int', b'float Int')
    )
    assert np.array_equal(read_columns(shouted, 4, 'a')[0], cloud[:, :4])
    with pytest.raises(DataError, match='3 to 5 numbers a point can be read, not 6'):
        read_columns(make_pcd(cloud, 'binary'), 6, 'a')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda data: data.replace(b'TYPE F F F F U U', b'TYPE F F F'), 'differ in length'),
        (lambda data: data.replace(b'POINTS 1500', b'POINTS 99999999999'), 'points'),
        (lambda data: data.replace(b'POINTS 1500', b'POINTS -4'), 'points'),
        (lambda data: data.replace(b'TYPE F F F F', b'TYPE Q F F F'), "'Q'"),
        (lambda data: data.replace(b'DATA binary', b'DATA zip'), 'DATA zip is not known'),
        (lambda data: data.replace(b'COUNT 1', b'COUNT 0'), 'COUNT below 1'),
    ],
)
def test_headers_that_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        read_fields(change(make_pcd(make_cloud(5, count=1500), 'binary')), 'a')


def test_lzf():
    assert decompress_lzf(b'\x02abc', 3) == b'abc'
    assert decompress_lzf(b'\x00a\x20\x00', 4) == b'aaaa'  # three more of what was just written
    assert decompress_lzf(b'\x02abc\xe0\x01\x02', 13) == b'abc' * 4 + b'a'
    for broken, size in ((b'\x20\x05', 3), (b'\x02abc', 4), (b'\x00a\xe0\xff\x00', 9), (b'\x02ab', 3)):
        with pytest.raises(ValueError):
            decompress_lzf(broken, size)


# --- KITTI


CAR = 'Car 0.00 0 -1.57 80 53 120 83 1.5 1.6 3.9 0 1.65 10 -1.57'
NOBODY = 'DontCare -1 -1 -10 1 1 5 5 -1 -1 -1 -1000 -1000 -1000 -10'


def test_labels(tmp_path):
    path = tmp_path / '000000.txt'
    path.write_text(f'{NOBODY}\n\n{CAR.replace(" ", "  ")} 0.5\n   \n')
    labels = read_labels(path)
    assert labels['name'].tolist() == ['Car', 'DontCare'] and labels['index'].tolist() == [0, -1]
    assert labels['dimensions'][0].tolist() == [3.9, 1.5, 1.6] and labels['location'][0].tolist() == [0, 1.65, 10]
    assert labels['score'].tolist() == [0.5, 0] and labels['bbox'][0].tolist() == [80, 53, 120, 83]
    path.write_text('')
    assert len(read_labels(path)['name']) == 0 and read_labels(path)['dimensions'].shape == (0, 3)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        (CAR.rsplit(' ', 1)[0], 'line 2 has 14 entries instead of 15 or 16'),
        (f'{CAR} 1 2', 'line 2 has 17 entries'),
        (CAR.replace('80', 'left'), "line 2: could not convert string to float: 'left'"),
        (CAR.replace('Car 0.00 0', 'Car 0.00 0.5'), 'occluded is 0.5, not a whole number'),
        (CAR.replace('1.5 1.6 3.9', '1.5 0 3.9'), 'height, width and length are 1.5 0 3.9'),
        (CAR.replace('80 53 120 83', '120 53 80 83'), 'left top right bottom are 120 53 80 83, in another order'),
        (CAR.replace('10 -1.57', 'nan -1.57'), 'NaN or an infinite number'),
        (CAR.replace(' ', ','), 'line 2 has 1 entries'),
    ],
)
def test_malformed_labels(tmp_path, line, message):
    path = tmp_path / '000000.txt'
    path.write_text(f'{CAR}\n{line}\n')
    with pytest.raises(DataError, match=message) as caught:
        read_labels(path)
    assert str(path) in str(caught.value)


def test_calibrations(tmp_path):
    path = tmp_path / '000000.txt'
    numbers = ' '.join(['1'] * 12)
    lines = [
        *(f'P{i}: {numbers}' for i in range(4)),
        'R0_rect: 1 0 0 0 1 0 0 0 1',
        f'Tr_velo_to_cam: {numbers}',
        f'Tr_imu_to_velo: {numbers}',
    ]
    path.write_text('\n'.join(lines))
    assert check_calibration(path) == []
    path.write_text('\n'.join([*lines[1:], lines[0]]))
    assert 'in this order; got P1, P2' in check_calibration(path)[0]
    path.write_text('\n'.join([*lines[:4], 'R0_rect: 1 0 0', *lines[5:]]))
    assert check_calibration(path) == [f'{path}: R0_rect is not followed by 9 numbers with a space before each']
