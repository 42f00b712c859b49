"""Old photographs made from new ones."""

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS

from colorization.color import rgb_to_lab
from colorization.data import OldPhoto
from colorization.systems.gan_colorizer import GANColorizer
from colorization.systems.gradients import measure_pulls

NOTHING = dict(contrast=0, fading=0, blur=0, vignette=0, grain=0, scratches=0, jpeg=0)


@pytest.fixture
def rgb():
    return torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_without_degradation_the_network_sees_lightness(rgb):
    gray = OldPhoto(prob=0)(rgb)
    assert gray.shape == (1, 40, 56) and gray.dtype == torch.uint8
    seen, _ = rgb_to_lab(gray.expand(3, -1, -1)[None].float() / 255)
    truth, _ = rgb_to_lab(rgb[None].float() / 255)
    assert (seen - truth).abs().max() < 0.6  # a level of 8 bits, at its darkest


def test_film_is_a_mix_of_linear_light(rgb):
    """The gray of any film lies between the darkest and the lightest channel."""
    low, high = rgb.amin(dim=0, keepdim=True).int(), rgb.amax(dim=0, keepdim=True).int()
    grays = []
    for seed in range(20):
        torch.manual_seed(seed)
        gray = OldPhoto(prob=1, **NOTHING)(rgb).int()
        assert (gray >= low - 1).all() and (gray <= high + 1).all()
        grays.append(gray.float())
    assert torch.stack(grays).std(dim=0).mean() > 10  # films differ


@pytest.mark.parametrize('part', ['contrast', 'fading', 'blur', 'vignette', 'grain', 'scratches', 'jpeg'])
def test_every_part_changes_the_picture(rgb, part):
    changed = 0
    for seed in range(6):
        outputs = []
        for strength in (0.0, {'contrast': 0.5, 'fading': 0.3, 'grain': 0.2}.get(part, 1.0)):
            torch.manual_seed(seed)
            outputs.append(OldPhoto(prob=1, **dict(NOTHING, **{part: strength}))(rgb))
        assert outputs[1].dtype == torch.uint8 and outputs[1].shape == (1, 40, 56)
        changed += not torch.equal(*outputs)
    assert changed >= 2


@pytest.mark.parametrize('keyword', [dict(prob=1.5), dict(fading=-0.1), dict(contrast=-1), dict(jpeg=float('nan'))])
def test_shares_are_shares(keyword):
    with pytest.raises(ValueError, match=next(iter(keyword))):
        OldPhoto(**keyword)


def build(folder, **kwargs):
    return DATASETS.build(dict(type='ColorImageDataset', data_root=str(folder), **kwargs))


def test_targets_stay_and_draws_repeat(make_photos, tmp_path):
    folder = make_photos(tmp_path / 'photos', 3)
    plain, old = build(folder), build(folder, degrade=[dict(type='OldPhoto', prob=1.0)])
    assert 'gray' not in plain[0]
    state = torch.get_rng_state()
    for key in (0, (1, 77)):
        sample = old[key]
        torch.testing.assert_close(sample['inputs'], plain[key]['inputs'])
        torch.testing.assert_close(sample['gray'], old[key]['gray'])
        assert sample['gray'].shape == (1, *sample['inputs'].shape[1:])
    assert not torch.equal(old[(1, 77)]['gray'], old[(1, 78)]['gray'])
    assert torch.equal(torch.get_rng_state(), state)


def test_the_network_is_shown_the_old_picture(tiny_mpt):
    preprocessor = dict(type='ImgDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255])
    model = GANColorizer(tiny_mpt, pixel_loss=dict(type='PixelLoss'), data_preprocessor=preprocessor).eval()
    seen = []
    model.generator.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    inputs = torch.rand(2, 3, 32, 32)
    gray = [torch.full((1, 32, 32), level, dtype=torch.uint8) for level in (0, 255)]
    pictures = model(inputs, gray=gray, mode='predict')
    assert seen[0][0].abs().max() < 1e-3 and (seen[0][1] - 100).abs().max() < 1e-2
    truth, _ = rgb_to_lab(inputs)
    np.testing.assert_allclose(pictures[0]['l'], truth[0], atol=1e-4)
    batch = dict(inputs=list((inputs * 255).to(torch.uint8)), gray=gray, path=['a', 'b'])
    assert measure_pulls(model, batch).keys() == {'loss_pix'}  # with what the training sees
    assert torch.equal(seen[1], seen[0])


def test_one_in_a_hundred_is_held_out(make_photos, tmp_path):
    folder = make_photos(tmp_path / 'photos', 3)
    names = {part: [file.name for file in build(folder, held_out=part).files] for part in ('keep', 'leave', 'take')}
    assert names == {'keep': ['00.png', '01.png', '02.png'], 'leave': ['01.png', '02.png'], 'take': ['00.png']}
    with pytest.raises(ValueError, match="held_out 'keep', 'leave' or 'take'"):
        build(folder, held_out='half')
    with pytest.raises(ValueError, match='no image files are left'):
        build(make_photos(tmp_path / 'one', 1), held_out='leave')


def test_a_loop_over_the_photographs_ends(make_photos, tmp_path):
    dataset = build(make_photos(tmp_path / 'photos', 3))
    assert [sample['path'] for sample in dataset] == [str(file) for file in dataset.files]
    assert dataset[-1]['path'] == dataset[2]['path']
    for index in (3, -4, (3, 77)):
        with pytest.raises(IndexError, match='of 3'):
            dataset[index]
