"""Features and distances of random networks against the libraries' own way to them: the plumbing, never a score."""

import logging
from dataclasses import replace

import pytest
import torch

from colorization.metrics import networks
from colorization.metrics.networks import DINOv2, Inception, LPIPSDistance, describe_source, identify_weights
from colorization.published import PUBLISHED
from dualattn.engine import DataError


def random_pictures(count=2, size=(64, 72), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope='module')
def inception_file(tmp_path_factory):
    """torch-fidelity's own network with seeded random weights, as it would store them."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path_factory.mktemp('inception') / 'random.pth'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, 'load_state_dict', lambda self, state_dict: None)
        patch.setattr(
            'torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url', lambda *args, **kwargs: {}
        )
        torch.manual_seed(0)
        network = FeatureExtractorInceptionV3('inception-v3-compat', ['2048'], verbose=False)
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):  # the default scale lets 48 layers shrink the signal to nothing
                torch.nn.init.kaiming_normal_(module.weight)
        torch.save(network.state_dict(), path)
    return path


@pytest.mark.slow
def test_inception_gives_2048_features_of_torch_fidelity(inception_file):
    """The trap: 64 features are a library's default, and their distance is another number."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = Inception(inception_file)
    found = network(random_pictures())
    reference = FeatureExtractorInceptionV3(
        'inception-v3-compat', ['64', '2048'], feature_extractor_weights_path=str(inception_file)
    )
    few, many = reference(random_pictures())
    assert found.shape == (2, 2048) == many.shape and few.shape == (2, 64)
    torch.testing.assert_close(found, many)
    assert not network.weights.published


@pytest.mark.parametrize('trunk', ['alex', pytest.param('vgg', marks=pytest.mark.slow)])
def test_lpips_is_the_packages_own(tmp_path, trunk):
    import lpips

    torch.manual_seed(0)
    reference = lpips.LPIPS(net=trunk, pnet_rand=True, verbose=False)
    tensors = {f'features.{name.split(".", 1)[1]}': value for name, value in reference.net.state_dict().items()}
    # a file of ImageNet weights has a classifier as well
    torch.save(dict(tensors, **{'classifier.6.bias': torch.zeros(1000)}), tmp_path / 'trunk.pth')
    network = LPIPSDistance(trunk, tmp_path / 'trunk.pth')
    pred, truth = random_pictures(seed=0), random_pictures(seed=1)
    expected = reference(pred / 127.5 - 1, truth / 127.5 - 1).flatten()
    torch.testing.assert_close(network(pred, truth), expected, rtol=1e-5, atol=1e-7)
    assert expected.min() > 0
    assert network(truth, truth).abs().max() == 0


def random_dinov2():
    """Names and shapes of the released ViT-S/14, with seeded values."""
    torch.manual_seed(0)
    tensors = dict(
        cls_token=torch.randn(1, 1, 384),
        pos_embed=torch.randn(1, 1 + 37**2, 384),
        mask_token=torch.zeros(1, 384),
    )
    tensors |= {'patch_embed.proj.weight': torch.randn(384, 3, 14, 14) / 24, 'patch_embed.proj.bias': torch.zeros(384)}
    for block in range(12):
        for name, shape in {
            'norm1.weight': (384,),
            'norm1.bias': (384,),
            'attn.qkv.weight': (1152, 384),
            'attn.qkv.bias': (1152,),
            'attn.proj.weight': (384, 384),
            'attn.proj.bias': (384,),
            'ls1.gamma': (384,),
            'norm2.weight': (384,),
            'norm2.bias': (384,),
            'mlp.fc1.weight': (1536, 384),
            'mlp.fc1.bias': (1536,),
            'mlp.fc2.weight': (384, 1536),
            'mlp.fc2.bias': (384,),
            'ls2.gamma': (384,),
        }.items():
            tensors[f'blocks.{block}.{name}'] = torch.randn(shape) / shape[-1] ** 0.5
    return tensors | {'norm.weight': torch.randn(384), 'norm.bias': torch.randn(384)}


def test_dinov2_takes_the_released_layout(tmp_path):
    torch.save(random_dinov2(), tmp_path / 'random.pth')
    network = DINOv2(tmp_path / 'random.pth')
    features = network(random_pictures())
    assert features.shape == (2, 384) and features.isfinite().all()
    assert (features[0] - features[1]).abs().max() > 1e-3
    assert not network.weights.published


@pytest.mark.parametrize(
    'content, message',
    [
        ({'Mixed_5b.branch1x1.conv.weight': torch.zeros(1), 'AuxLogits.conv0.conv.weight': torch.zeros(1)}, 'torchvis'),
        ({'weight': torch.zeros(2)}, 'begins with weight'),
        ([1, 2], 'holds a list'),
    ],
)
@pytest.mark.parametrize('make', [Inception, DINOv2, lambda path: LPIPSDistance('alex', path)])
def test_other_layouts_are_refused(tmp_path, content, message, make):
    torch.save(content, tmp_path / 'weights.pth')
    with pytest.raises(DataError, match='published|layout|takes') as error:
        make(tmp_path / 'weights.pth')
    if make is Inception:
        assert message in str(error.value)


def test_torchscript_and_broken_files_are_refused(tmp_path):
    path = tmp_path / 'inception-2015-12-05.pt'
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(DataError, match='is another layout'):
        Inception(path)
    path.write_bytes(b'broken')
    with pytest.raises(DataError, match='holds Python objects|broken'):
        Inception(path)
    with pytest.raises(FileNotFoundError, match=r'--inception takes weights-inception-2015.*https://'):
        Inception(tmp_path / 'none.pth')


def test_only_the_published_file_makes_scores(tmp_path, caplog, monkeypatch):
    path = tmp_path / 'weights.pth'
    path.write_bytes(b'content')
    with caplog.at_level(logging.WARNING):
        found = identify_weights('inception', path)
    assert not found.published and 'no scores' in caplog.text
    # the beginning of a hash is enough, and so is the second of two files that were published
    files = [
        replace(file, sha256=found.sha256[:8]) for file in PUBLISHED if file.name in ('inception', 'alexnet_former')
    ]
    monkeypatch.setattr(networks, 'PUBLISHED', [*(file for file in PUBLISHED if file.name == 'alexnet'), *files])
    assert identify_weights('inception', path).published and identify_weights('lpips-alex', path).published


@pytest.mark.parametrize('kind', list(networks.FILES))
def test_every_kind_names_files_with_hash_and_address(kind):
    for file in networks.list_published(kind):
        assert file.sha256 and file.url.endswith(file.file)
    assert describe_source(kind) == f'{(first := networks.list_published(kind)[0]).file} from {first.url}'
