"""Luminance out of pixels and into pixels: the compiled functions and torch's against the same formulas in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.color import lab2rgb, rgb2lab

from colorization import luminance
from colorization.color import describe_lab, lab_to_rgb_keeping_l, luminance_tables
from colorization.luminance import extract_l, join_luminance
from dualattn.ops import library, photo

SETS = ['avx512', 'avx2', 'generic']
TYPES = [np.uint8, np.uint16]


@pytest.fixture(params=[*SETS, 'torch'])
def way(request, monkeypatch):
    """Each way to compute."""
    if request.param == 'torch':
        monkeypatch.setenv('DUALATTN_BACKEND', 'reference')
        yield request.param
        return
    if not library.has_photo_kernels():
        pytest.skip('the kernels were not built')
    before = library.cpu_instruction_set()
    try:
        library.select_cpu_instruction_set(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(luminance, '_join_bands', None)  # whoever falls back is seen
    yield request.param
    library.select_cpu_instruction_set(before)


def make_lab(height, width, h, w, chroma, seed=0):
    generator = torch.Generator().manual_seed(seed)
    l = torch.rand(height, width, generator=generator) * 100
    return l, torch.randn(2, h, w, generator=generator) * chroma


def join_in_double(l, ab):
    """RGB (H, W, 3) in [0, 1]: torch's enlargement and the conversion, both in float64."""
    wide = F.interpolate(ab[None].double(), (ab.shape[1], l.shape[1]), mode='bicubic', align_corners=False)
    enlarged = F.interpolate(wide, l.shape, mode='bicubic', align_corners=False)
    return lab_to_rgb_keeping_l(l[None, None].double(), enlarged)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize(
    'sizes',
    [(37, 53, 8, 8), (64, 64, 16, 24), (5, 3, 8, 8), (1, 1, 4, 4), (40, 17, 40, 17), (33, 16, 4, 1)],
    ids=str,
)
@pytest.mark.parametrize('chroma', [0, 5, 60])
def test_join_is_that_of_float64(way, dtype, sizes, chroma):
    check_join(*make_lab(*sizes, chroma), dtype, 0.001 if chroma == 60 else 0)


@pytest.mark.parametrize('sizes', [(9, 100, 3, 5), (33, 16, 1, 1)], ids=str)
def test_colours_of_fewer_rows_than_taps(sizes):
    """Torch joins them."""
    check_join(*make_lab(*sizes, 5), np.uint8, 0)


def check_join(l, ab, dtype, decided_otherwise):
    levels = np.iinfo(dtype).max
    expected = join_in_double(l, ab) * levels
    joined = join_luminance(l, ab, np.dtype(dtype))
    assert joined.dtype == dtype and joined.shape == expected.shape
    difference = np.abs(joined - expected)
    # Half a level by rounding, and float32: a channel near 0 is the difference of numbers up to 3, times 12.92. A
    # factor that is decided otherwise in float32 moves a colour by a thousandth of it.
    rounding = 0.5 + levels * 1e-5
    assert np.mean(difference > rounding) <= decided_otherwise
    assert difference.max() <= rounding + levels * 0.003


@pytest.mark.parametrize('dtype', TYPES)
def test_colours_that_fit_agree_with_scikit_image(way, dtype):
    l, ab = make_lab(48, 37, 6, 6, 4)
    l = 30 + 0.4 * l
    ab = F.interpolate(ab[None], (48, 37), mode='bicubic')[0]
    expected = lab2rgb(torch.cat([l[None], ab]).permute(1, 2, 0).double().numpy())
    joined = join_luminance(l, ab, np.dtype(dtype)) / np.iinfo(dtype).max
    np.testing.assert_allclose(joined, expected, atol=0.5 / np.iinfo(dtype).max + 2e-5)


def test_luminance_is_kept_where_colours_do_not_fit(way):
    l, ab = make_lab(64, 64, 16, 16, 80)
    joined = join_luminance(l, ab, np.dtype(np.uint16))
    np.testing.assert_allclose(rgb2lab(joined / 65535)[..., 0], l.numpy(), atol=0.02)


@pytest.mark.parametrize('l', [0.0, 100.0, 7.99, 8.01])
def test_ends_of_the_scale(way, l):
    """Black, white, and the place where the curve becomes a line."""
    gray = join_luminance(torch.full((5, 40), l), torch.zeros(2, 4, 4), np.dtype(np.uint16))
    expected = lab2rgb(np.array([[[l, 0, 0]]]))[0, 0] * 65535
    assert np.abs(gray - expected).max() <= 2
    coloured = join_luminance(torch.full((5, 40), l), torch.full((2, 4, 4), 90.0), np.dtype(np.uint16))
    np.testing.assert_allclose(rgb2lab(coloured / 65535)[..., 0], l, atol=0.02)


@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('shape', [(1, 1), (3, 5), (40, 77)])
def test_luminance_of_colours(way, dtype, shape):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (*shape, 3), dtype=dtype, endpoint=True)
    pixels[0, 0] = 0, 1, 2  # dark ones lie on the line
    l = extract_l(pixels)
    assert l.shape == shape and l.dtype == torch.float32
    np.testing.assert_allclose(l.numpy(), rgb2lab(pixels / np.iinfo(dtype).max)[..., 0], atol=1e-3)


def test_arrays_of_any_memory(way):
    """Read-only, mirrored and sliced arrays, without a warning."""
    pixels = np.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    expected = extract_l(pixels)
    pixels.setflags(write=False)
    assert torch.equal(extract_l(pixels), expected)
    assert torch.equal(extract_l(pixels[::-1]), expected.flip(0))
    assert torch.equal(extract_l(pixels[:, ::2]), expected[:, ::2])


def test_number_of_threads_changes_nothing(way):
    l, ab = make_lab(200, 33, 16, 16, 60)
    threads = torch.get_num_threads()
    results = []
    for number in (1, 3):
        torch.set_num_threads(number)
        results.append(join_luminance(l, ab, np.dtype(np.uint8)))
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(*results)


def test_a_library_without_the_kernels_leaves_it_to_torch(monkeypatch):
    l, ab = make_lab(20, 30, 8, 8, 10)
    expected = join_luminance(l, ab, np.dtype(np.uint8))
    monkeypatch.setattr(library, 'has_photo_kernels', lambda: False)
    monkeypatch.setattr(luminance, 'join_lightness', None)
    assert np.abs(join_luminance(l, ab, np.dtype(np.uint8)).astype(int) - expected).max() <= 1


needs_kernels = pytest.mark.skipif(not library.has_photo_kernels(), reason='the kernels were not built')


@needs_kernels
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(l=torch.zeros(5, 7, dtype=torch.float64)), 'l has another dtype'),
        (dict(ab=torch.zeros(2, 8, 6)), 'with the width of l, 7'),
        (dict(ab=torch.zeros(3, 8, 7)), r'has to be \(2, h, W\)'),
        (dict(first=torch.tensor([0, 1, 2, 3, 5])), 'row 4 starts at row 5 of ab, which has 8'),
        (dict(first=torch.tensor([0, 1, -1, 3, 4])), 'row 2 starts at row -1'),
        (dict(first=torch.zeros(4, dtype=torch.int64)), 'with the height of l, 5'),
        (dict(weights=torch.zeros(5, 3)), 'with the height of l, 5'),
        (dict(halvings=-1), 'halvings has to be 0 to 24'),
        (dict(dtype=torch.int16), 'levels has to be 255 or 65535'),
    ],
)
def test_operator_refuses_what_would_leave_its_memory(change, message):
    arguments = dict(
        l=torch.zeros(5, 7),
        ab=torch.zeros(2, 8, 7),
        first=torch.arange(5),
        weights=torch.ones(5, 4) / 4,
        space=describe_lab(),
        halvings=10,
        dtype=torch.uint8,
    )
    assert photo.join_lightness(**arguments).shape == (5, 7, 3)
    with pytest.raises(RuntimeError, match=message):
        photo.join_lightness(**{**arguments, **change})


@needs_kernels
@pytest.mark.parametrize(
    ('pixels', 'tables', 'message'),
    [
        (torch.zeros(4, 4, 4, dtype=torch.uint8), 255, 'got 4 channels'),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), 65535, r'tables has to be \(3, 256\)'),
        (torch.zeros(4, 4, 3, dtype=torch.uint16), 255, r'tables has to be \(3, 65536\)'),
        (torch.zeros(4, 4, 3), 255, 'pixels has another dtype'),
        (torch.zeros(4, 3, dtype=torch.uint8), 255, 'pixels has to have 3 dimensions'),
    ],
)
def test_lightness_refuses_what_would_leave_its_memory(pixels, tables, message):
    with pytest.raises(RuntimeError, match=message):
        photo.lightness(pixels, *luminance_tables(tables))


@needs_kernels
def test_operators_have_shapes_without_data():
    pixels = torch.zeros(4, 6, 3, dtype=torch.uint16)
    tables, curve = luminance_tables(65535)
    torch.library.opcheck(torch.ops.dualattn.lightness, (pixels, tables, torch.tensor(curve)))
    arguments = (torch.zeros(5, 7), torch.zeros(2, 8, 7), torch.arange(5), torch.ones(5, 4))
    torch.library.opcheck(torch.ops.dualattn.join_lightness, (*arguments, describe_lab().numbers(), 10, 255))
