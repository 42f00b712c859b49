"""Hints: what is refused, what they change, and what they leave alone."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from colorization.color import rgb_to_lab
from colorization.hints import MAX_MARKS, Hint, HintError, Hints, read_hints
from colorization.models import MPT, build_network
from colorization.pipeline import Colorizer
from colorization.propagation import PaletteScores, make_field
from dualattn.io.photos import Photo

TINY = dict(
    encoder='dualattn_mpt',
    encoder_kwargs=dict(depths=(1, 1, 1, 1), embed_dims=(24, 24, 48, 48), stem_dim=8, window_size=4),
    decoder_dims=(16, 16, 16),
    num_queries=6,
    depth=1,
    num_heads=2,
)


@pytest.fixture(scope='module')
def colorizer():
    torch.manual_seed(0)
    network = MPT(**TINY)
    nn.init.normal_(network.to_ab.weight, std=0.5)
    return Colorizer(network, size=64)


def halves(height=96, width=160):
    """A dark and a bright half with a hard edge between them, a little texture in both."""
    texture = np.random.default_rng(0).integers(-4, 5, (height, width))
    return (np.where(np.arange(width) < width // 2, 70, 190) + texture).astype(np.uint8)


def chroma_change(after, before):
    lab = [
        rgb_to_lab(torch.from_numpy(p.astype(np.float32) / 255).permute(2, 0, 1)[None])[1][0] for p in (after, before)
    ]
    return torch.linalg.vector_norm(lab[0] - lab[1], dim=0).numpy()


def ab_of(pixels):
    return rgb_to_lab(torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None])[1][0].numpy()


def test_without_hints_the_result_is_the_automatic_one(colorizer):
    gray = halves()
    automatic = colorizer(gray)
    np.testing.assert_array_equal(colorizer(gray, Hints((160, 96))), automatic)
    draft = colorizer.draft(gray)
    np.testing.assert_array_equal(draft.finish().pixels, automatic)
    draft.hints = Hints((160, 96), [Hint.point(40, 48, '#c02020')])
    assert (draft.finish().pixels != automatic).any()
    draft.hints = None
    np.testing.assert_array_equal(draft.finish().pixels, automatic)


def test_a_hint_reaches_its_side_of_an_edge_and_not_the_other(colorizer):
    gray = halves()
    automatic = colorizer(gray)
    changed = colorizer(gray, Hints((160, 96), [Hint.point(40, 48, (45.0, 25.0), width=4)]))
    change = chroma_change(changed, automatic)
    own = ab_of(changed)[:, 46:50, 38:42].mean(axis=(1, 2))
    assert np.linalg.norm(own - (45, 25)) < 8
    assert change[:, :72].mean() > 10 * change[:, 88:].mean()
    assert change[:, 88:].mean() < 2


def textures(height=96, width=160):
    """Three things: at the left fine stripes, in the middle a smooth thing, at the right noise."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(1).integers(90, 220, (height, width))
    return np.select([columns < 54, columns < 107], [60 + 30 * (rows // 2 % 2), 150 + rows // 8], noise).astype(
        np.uint8
    )


@pytest.mark.parametrize(
    'hints',
    [
        [Hint.point(27, 48, '#c02020', width=4)],
        [Hint.point(27, y, '#c02020', width=4) for y in (10, 30, 50, 70, 90)],  # which confirm each other
        [Hint.stroke([(10, 10), (40, 90)], '#2040c0', width=4)],
        [Hint.region([(5, 5), (45, 5), (45, 90), (5, 90)], '#20a020')],
        [Hint.point(27, 30, 'gray', width=4), Hint.point(27, 60, 'gray', width=4)],
        [Hint.point(27, 48, 'keep', width=4)],
    ],
)
def test_a_wish_for_one_thing_leaves_others_alone(colorizer, hints):
    gray = textures()
    change = chroma_change(colorizer(gray, Hints((160, 96), hints)), colorizer(gray))
    assert change[:, 60:100].mean() < 2 and change[:, 113:].mean() < 2
    if hints[0].ab not in (None, (0.0, 0.0)):
        assert change[40:56, 20:35].mean() > 15


def test_hints_that_are_true_of_the_scene_tell_about_all_of_it():
    """A tint that the network does not know, at the left: the right has it too."""

    class Flat(nn.Module):
        def forward(self, l):
            return torch.full((len(l), 2, *l.shape[2:]), 4.0)

    tint = (-6.0, 10.0)
    hints = Hints((160, 96), [Hint.point(20, y, tint, width=2) for y in (20, 76)])
    distances = {}
    for reach in ('adaptive', 'object', 'scene'):
        result = ab_of(Colorizer(Flat(), size=64, reach=reach)(textures(), hints))
        distances[reach] = np.linalg.norm(result[:, 40:56, 130:150].mean(axis=(1, 2)) - tint)
    assert distances['object'] > 8
    assert max(distances['adaptive'], distances['scene']) < 6


@pytest.mark.parametrize('reach', ['adaptive', 'object', 'scene'])
@pytest.mark.parametrize('color', ['gray', 'keep'])
def test_gray_and_keep(colorizer, reach, color):
    gray = halves()
    other = Colorizer(colorizer.network, size=64, reach=reach)
    automatic = ab_of(other(gray))[:, 40:56, 30:50].mean(axis=(1, 2))
    hints = [Hint.point(x, y, color, width=3) for x in (30, 40, 50) for y in (40, 48, 56)]
    place = ab_of(other(gray, Hints((160, 96), hints)))[:, 40:56, 30:50].mean(axis=(1, 2))
    assert np.linalg.norm(place - (0 if color == 'gray' else automatic)) < 2


def test_hints_that_agree_weigh_more(colorizer):
    gray = halves()
    wish = np.array([30.0, -30.0])
    distances = []
    for places in ([(20, 20)], [(20, 20), (60, 20)], [(20, 20), (60, 20), (60, 76), (20, 76)]):
        result = colorizer(gray, Hints((160, 96), [Hint.point(x, y, wish, width=2) for x, y in places]))
        distances.append(np.linalg.norm(ab_of(result)[:, 40:56, 30:50].mean(axis=(1, 2)) - wish))
    assert distances[0] > distances[1] > distances[2]


def test_a_region_has_its_colour_exactly_and_a_stroke_along_its_line(colorizer):
    gray = halves()
    outline = [(10, 10), (60, 10), (60, 80), (10, 80)]
    region = ab_of(colorizer(gray, Hints((160, 96), [Hint.region(outline, (20.0, 20.0))])))
    np.testing.assert_allclose(region[:, 16:74, 16:54], 20, atol=2.5)  # to rounding at 8 bits
    stroke = ab_of(colorizer(gray, Hints((160, 96), [Hint.stroke([(10, 48), (70, 48)], (20.0, 20.0), 3)])))
    np.testing.assert_allclose(stroke[:, 48, 12:68], 20, atol=8)


def test_hints_of_a_smaller_copy_hold_for_the_scan(colorizer):
    gray = halves()
    small = Hints((80, 48), [Hint.point(20, 24, '#c02020', width=2)])
    large = Hints((160, 96), [Hint.point(40, 48, '#c02020', width=4)])
    np.testing.assert_array_equal(colorizer(gray, small), colorizer(gray, large))


def test_16_bits_alpha_and_the_kind_of_picture_stay(colorizer):
    hints = Hints((160, 96), [Hint.point(40, 48, '#c02020')])
    photo = Photo(halves().astype(np.uint16) * 257, alpha=np.full((96, 160), 60_000, np.uint16), dpi=(300, 300))
    result = colorizer(photo, hints)
    assert result.pixels.dtype == np.uint16 and result.dpi == (300, 300)
    np.testing.assert_array_equal(result.alpha, photo.alpha)
    assert isinstance(colorizer(Image.fromarray(halves()), hints), Image.Image)


def test_a_constructor_s_hints_serve_all_calls(colorizer):
    hints = Hints((160, 96), [Hint.point(40, 48, '#c02020')])
    own = Colorizer(colorizer.network, size=64, hints=hints)
    np.testing.assert_array_equal(own(halves()), colorizer(halves(), hints))


def test_a_network_without_maps_takes_hints_by_luminance_and_place():
    class Flat(nn.Module):
        def forward(self, l):
            return torch.zeros(len(l), 2, *l.shape[2:])

    result = Colorizer(Flat(), size=64)(halves(), Hints((160, 96), [Hint.point(40, 48, (45.0, 25.0))]))
    change = chroma_change(result, Colorizer(Flat(), size=64)(halves()))
    assert change[46:50, 38:42].min() > 30
    assert change[:, 88:].mean() < 2


def test_vividness_and_chroma_change_what_is_automatic_and_not_the_hints(colorizer):
    strong = Colorizer(colorizer.network, size=64, chroma=3.0)
    hints = Hints((160, 96), [Hint.region([(10, 10), (60, 10), (60, 80), (10, 80)], (20.0, 20.0))])
    np.testing.assert_allclose(ab_of(strong(halves(), hints))[:, 16:74, 16:54], 20, atol=2.5)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: Hints((160, 96), [Hint.point(161, 10, 'gray')]), 'outside the picture of 160 x 96'),
        (lambda: Hints((160, 96), [Hint.point(10, -1, 'gray')]), 'outside'),
        (lambda: Hints((160, 96), [Hint.stroke([(1, 1), (10, 97)], 'gray')]), 'outside'),
        (lambda: Hint.point(float('nan'), 1, 'gray'), 'pairs of numbers'),
        (lambda: Hint.point(1, 1, 'red-ish'), '#rrggbb'),
        (lambda: Hint.point(1, 1, (500, 0)), '-128 to 128'),
        (lambda: Hint.point(1, 1, 'gray', width=0), 'width'),
        (lambda: Hint.region([(1, 1), (2, 2)], 'gray'), 'expected from 3'),
        (lambda: Hints((0, 96)), 'size'),
        (lambda: Hints((160, 96), [Hint.point(5, 5, '#ff0000'), Hint.point(5, 5, '#0000ff')]), 'contradicts hint 1'),
        (
            lambda: Hints(
                (160, 96),
                [Hint.region([(0, 0), (50, 0), (50, 50)], 'gray'), Hint.stroke([(0, 5), (60, 5)], '#ff0000', 3)],
            ),
            'contradicts hint 1',
        ),
        (lambda: Hints((160, 96), [Hint.point(5, 5, 'gray'), Hint.point(5, 5, 'keep')]), 'contradicts'),
        (lambda: Hints((900, 900), [Hint.point(i, i, 'gray') for i in range(MAX_MARKS + 1)]).to_marks(), 'at most'),
        (lambda: Hints((160, 96), [Hint.point(1, 1, 'gray')] * 2000), 'more than'),
    ],
)
def test_bad_hints_are_refused_by_name(make, message):
    with pytest.raises(HintError, match=message):
        make()


def test_neighbours_may_differ_and_equal_hints_may_overlap():
    neighbours = Hints((160, 96), [Hint.point(1, 1, '#ff0000', 2), Hint.point(3, 1, '#0000ff', 2)])
    assert [hint.ab for hint in neighbours.hints] == [Hint.point(1, 1, color).ab for color in ('#ff0000', '#0000ff')]
    overlap = Hints((160, 96), [Hint.point(5, 5, '#ff0000'), Hint.stroke([(0, 5), (60, 5)], '#ff0000', 3)])
    assert len(overlap.hints) == 2 and len({hint.ab for hint in overlap.hints}) == 1


def test_hints_for_another_shape_are_refused(colorizer):
    with pytest.raises(HintError, match='96 x 160 pixels, this one has 160 x 96'):
        colorizer(halves(), Hints((96, 160), [Hint.point(1, 1, 'gray')]))


def test_json_there_and_back():
    hints = Hints(
        (160, 96),
        [
            Hint.point(3, 4.5, '#c02020', 5),
            Hint.stroke([(30, 1), (40, 30)], 'keep', 2),
            Hint.region([(50, 50), (60, 50), (60, 60)], 'gray'),
        ],
    )
    assert Hints.from_json(hints.to_json()) == hints


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'no JSON'),
        ('[' * 100_000, 'no JSON'),
        ('[]', 'expected an object'),
        ('{"size": [10, 10]}', '"hints" is missing'),
        ('{"size": [10, 10], "hints": [], "hint": 1}', "unknown key 'hint'"),
        ('{"size": [10, 10], "size": [9, 9], "hints": []}', 'stands twice'),
        ('{"size": [10.5, 10], "hints": []}', 'size'),
        ('{"size": "10x10", "hints": []}', 'size'),
        ('{"size": [10, 10], "hints": [{"point": [1, 1]}]}', 'hint 1: "color" is missing'),
        ('{"size": [10, 10], "hints": [{"pint": [1, 1], "color": "gray"}]}', 'hint 1: expected one of point'),
        ('{"size": [10, 10], "hints": [{"point": [1, "1"], "color": "gray"}]}', 'pairs of numbers'),
        ('{"size": [10, 10], "hints": [{"point": [1, NaN], "color": "gray"}]}', 'pairs of numbers'),
        (f'{{"size": [10, 10], "hints": [{{"point": [1, 1{"0" * 400}], "color": "gray"}}]}}', 'pairs of numbers'),
        (f'{{"size": [10, 10], "hints": [{{"point": [1, 1], "color": [1{"0" * 400}, 0]}}]}}', '-128 to 128'),
        (f'{{"size": [10, 10], "hints": [{{"point": [1, 1], "color": "gray", "width": -1{"0" * 400}}}]}}', 'width'),
        ('{"size": [true, true], "hints": []}', 'size'),
        ('{"size": [10, 10], "hints": [{"region": 5, "color": "gray"}]}', 'must be'),
        ('{"size": [10, 10], "hints": [{"point": [1, 1], "color": {}}]}', 'color'),
        ('{"size": [10, 10], "hints": [{"point": [1, 1], "color": "gray", "width": true}]}', 'width'),
    ],
)
def test_bad_json_is_refused_with_the_entry(text, message):
    with pytest.raises(HintError, match=message):
        Hints.from_json(text)


def test_a_painted_layer(tmp_path, colorizer):
    layer = np.zeros((96, 160, 4), np.uint8)
    layer[30:70, 20:60] = (192, 32, 32, 255)
    layer[30:70, 100:140] = (128, 128, 128, 255)  # gray paint: leave this gray
    Image.fromarray(layer).save(tmp_path / 'layer.png')
    hints = read_hints(tmp_path / 'layer.png')
    assert hints.size == (160, 96) and 2 <= len(hints.painted) <= MAX_MARKS
    result = ab_of(colorizer(halves(), hints))
    assert result[0, 40:60, 30:50].min() > 30
    np.testing.assert_allclose(result[:, 40:60, 110:130], 0, atol=3)


def test_paint_on_a_gray_copy(tmp_path):
    copy = np.repeat(halves()[..., None], 3, axis=2)
    copy[10:20, 10:20] = (40, 60, 200)
    Image.fromarray(copy).save(tmp_path / 'copy.png')
    hints = read_hints(tmp_path / 'copy.png')
    assert (np.abs(hints.painted[:, :2] - (15 / 96, 15 / 160)) < 0.07).all()
    Image.fromarray(halves()).save(tmp_path / 'plain.png')
    with pytest.raises(HintError, match=r'plain\.png: no paint'):
        read_hints(tmp_path / 'plain.png')


def test_many_painted_colours_stay_below_the_limit():
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    assert len(Hints.from_painting(noise).to_marks().yx) <= MAX_MARKS


def test_a_file_that_is_no_hints_is_named(tmp_path):
    (tmp_path / 'x.json').write_text(json.dumps(dict(size=[1, 1], hints=[3])))
    with pytest.raises(HintError, match=r'x\.json: hint 1: expected an object'):
        read_hints(tmp_path / 'x.json')


def test_a_preview_and_a_new_strength_keep_the_network_from_running_again(colorizer, monkeypatch):
    own = Colorizer(colorizer.network, size=64)
    draft = own.draft(np.repeat(np.repeat(halves(), 10, 0), 10, 1))
    monkeypatch.setattr(own.network, 'forward', None)  # would raise
    draft.hints = Hints((160, 96), [Hint.point(40, 48, '#c02020')])
    assert draft.preview().shape == (614, 1024, 3)
    assert draft.preview(64).shape == (38, 64, 3)
    own.chroma = 0.0
    assert np.ptp(draft.preview(64)[:, 40:].astype(int), axis=2).max() < 6


def test_a_hint_decides_between_colours_of_the_palette():
    """Of a thing that may be red or blue a hint at one end says red: the other end, too far for the hint, follows."""
    colors = torch.tensor([[50.0, 40.0], [10.0, -50.0], [-40.0, 40.0]])
    z = torch.full((3, 24, 40), -9.0)
    z[:2, :, :20], z[2, :, 20:] = 3.0, 3.0  # at the left red or blue, at the right green for sure

    def mix(scores):
        return torch.einsum('khw,kc->chw', scores.softmax(dim=0), colors)

    marks = Hints((160, 96), [Hint.point(6, 48, tuple(colors[0].tolist()), width=4)]).to_marks()
    l = torch.from_numpy(halves() / 2.55).float()
    spread = [make_field(l, mix(z), [], palette).spread(marks) for palette in (PaletteScores(z, colors, mix), None)]
    green, far = torch.tensor([-40.0, 40.0]), (slice(None), slice(100, 150), slice(90, 130))
    distances = [torch.linalg.vector_norm(ab[far].mean(dim=(1, 2)) - colors[0]).item() for ab in spread]
    assert distances[0] < 0.75 * distances[1]
    assert torch.linalg.vector_norm(spread[0][:, :, 200:].mean(dim=(1, 2)) - green) < 3


def test_a_palette_s_scores_give_the_automatic_colours_exactly(tiny_mpt):
    torch.manual_seed(0)
    network = build_network(dict(tiny_mpt, head='palette'))
    network.to_ab.set_palette(
        [[40.0, 30.0], [-30.0, 30.0], [5.0, -40.0], [10.0, 40.0], [0.0, 0.0], [9.0, 9.0]], [0.2] * 6
    )
    for vividness in (1.0, 1.7):
        colorizer = Colorizer(network, size=64, vividness=vividness, chroma=1.2)
        automatic = colorizer(halves())
        assert np.ptp(automatic.astype(int), axis=2).mean() > 2
        draft = colorizer.draft(halves())
        np.testing.assert_array_equal(draft.finish().pixels, automatic)
        draft.hints = Hints((160, 96), [Hint.point(40, 48, '#c02020', width=4), Hint.point(120, 48, 'keep')])
        change = chroma_change(draft.finish().pixels, automatic)
        assert change[46:50, 38:42].mean() > 20 and change[:, 100:].mean() < 3


@pytest.mark.parametrize('level', [0, 64, 127, 128, 200, 255])
@pytest.mark.parametrize('is_layer', [False, True])
def test_gray_in_rgb_is_gray(level, is_layer):
    """It is said of one thing alone, as the word is; the conversion to Lab leaves it a tint."""
    if is_layer:
        alpha = np.zeros((20, 30), np.uint8)
        alpha[5:15, 5:15] = 255
        ab = Hints.from_painting(np.full((20, 30, 3), level, np.uint8), alpha).to_marks().ab
    else:
        ab = Hints((30, 20), [Hint.point(10, 10, f'#{level:02x}{level:02x}{level:02x}')]).to_marks().ab
    assert len(ab) and not ab.any()
    assert Hints((30, 20), [Hint.point(10, 10, '#806f80')]).to_marks().ab.any()


def test_paint_that_says_gray_tells_nothing_about_the_scene(colorizer):
    gray = halves()
    alpha = np.zeros(gray.shape, np.uint8)
    alpha[40:56, 30:50] = 255
    automatic = ab_of(colorizer(gray))
    painted = ab_of(colorizer(gray, Hints.from_painting(np.full((*gray.shape, 3), 128, np.uint8), alpha)))
    stroke = Hints((160, 96), [Hint.stroke([(30, 48), (50, 48)], 'gray', 16)])
    far = (slice(None), slice(None), slice(110, 160))
    change = np.linalg.norm(painted - automatic, axis=0)
    assert np.linalg.norm(painted[:, 44:52, 34:46], axis=0).mean() < 2
    assert change[:, 110:].mean() < 0.1 * np.linalg.norm(automatic[far], axis=0).mean()
    assert (
        abs(change[:, 110:].mean() - np.linalg.norm(ab_of(colorizer(gray, stroke)) - automatic, axis=0)[:, 110:].mean())
        < 1
    )


def test_a_scribble_is_thinned_and_a_straight_line_is_not():
    back_and_forth = [(20 + 60 * (i % 2), 40 + 0.001 * i) for i in range(5000)]
    marks = Hints((100, 100), [Hint.stroke(back_and_forth, 'gray')]).to_marks()
    assert 55 < len(marks.yx) < 600  # and not 5,000 times 58: an area of 0.6 x 0.05 of the picture in cells of 0.7 / 96
    straight = Hints((100, 100), [Hint.stroke([(20, 40), (80, 40)], 'gray')]).to_marks()
    np.testing.assert_allclose(np.diff(straight.yx[:, 1]), 0.6 / 58, atol=1e-6)
    assert len(straight.yx) == 59
