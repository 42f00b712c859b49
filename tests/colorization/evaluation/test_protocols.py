"""One protocol a data set, the same in the evaluation and in the configs of both systems."""

import pytest
import torch
from mmengine.registry import TRANSFORMS
from torchvision.transforms import v2

import colorization.data  # noqa: F401  registers the transforms
from colorization.evaluation.protocols import PROTOCOLS, get_protocol


@pytest.mark.parametrize('name', list(PROTOCOLS))
def test_preparing_is_what_the_configs_do(name):
    protocol = get_protocol(name)
    rgb = torch.randint(0, 256, (3, 300, 420), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    steps = [TRANSFORMS.build(step) for step in protocol.transforms()]
    expected = v2.Compose(steps)(rgb) if steps else rgb
    found = protocol.prepare(rgb)
    assert torch.equal(found, expected)
    if name != 'folder':
        assert found.shape == (3, 256, 256)
        assert torch.equal(protocol.prepare(found), found)  # copies that were prepared before


def test_val5k_is_cropped_and_the_rest_is_squeezed():
    """By the author of DDColor (piddnad/DDColor #9)."""
    rgb = torch.zeros(3, 256, 512, dtype=torch.uint8)
    rgb[:, :, :128] = 255  # outside the central square
    assert get_protocol('imagenet-val5k').prepare(rgb).max() == 0
    for name in ('imagenet-val50k', 'coco-stuff', 'ade20k', 'celeba-hq'):
        assert get_protocol(name).prepare(rgb)[0, 0, :60].min() == 255
    counts = {name: protocol.count for name, protocol in PROTOCOLS.items()}
    assert counts == {
        'imagenet-val5k': 5000,
        'imagenet-val50k': 50000,
        'coco-stuff': 5000,
        'ade20k': 2000,
        'celeba-hq': 30000,
        'folder': None,
    }


def test_a_protocol_says_all_that_decides():
    assert get_protocol('imagenet-val5k').describe() == (
        "the first 5,000 pictures by name of ImageNet's validation set, short side resized to 256 (bilinear, "
        'antialiased), centre crop 256 x 256'
    )
    assert get_protocol('ade20k').to_dict()['count'] == 2000
    with pytest.raises(ValueError, match='expected one of imagenet-val5k'):
        get_protocol('imagenet')
