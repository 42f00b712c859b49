"""Losses against their formulas: NumPy, torch's own losses, networks whose features and slopes are known."""

import logging

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vgg import VGG
from torch import nn

from colorization.losses import GANLoss, GradientPenalty, PerceptualLoss, PixelLoss
from colorization.losses.perceptual import VGG19_LAYERS

# vgg19 with a sixteenth of its channels: the same modules under the same names, at 0.6 instead of 550 MB
NARROW_VGG19 = [4, 4, 'M', 8, 8, 'M', 16, 16, 16, 16, 'M', 32, 32, 32, 32, 'M', 32, 32, 32, 32, 'M']
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

default_cfgs = generate_default_cfgs(
    {
        'narrow_vgg19.untrained': dict(
            num_classes=5, input_size=(3, 32, 32), first_conv='features.0', classifier='head.fc', mean=MEAN, std=STD
        )
    }
)


@register_model
def narrow_vgg19(pretrained=False, **kwargs):
    return build_model_with_cfg(
        VGG, 'narrow_vgg19', pretrained, model_cfg=NARROW_VGG19, num_classes=5, mlp_ratio=1 / 512, **kwargs
    )


@pytest.fixture(scope='module')
def vgg(tmp_path_factory):
    """The narrow vgg19 with random weights, and the file that holds them."""
    torch.manual_seed(0)
    model = timm.create_model('narrow_vgg19').eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.bias, std=0.1)
    path = tmp_path_factory.mktemp('vgg') / 'narrow.pth'
    torch.save(model.state_dict(), path)
    return model, str(path)


@pytest.fixture
def perceptual(vgg):
    return PerceptualLoss(vgg[1], trunk='narrow_vgg19', layers=VGG19_LAYERS)


def images(seed, batch=2, size=32):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


# --- pixel loss


def test_pixel_loss_is_the_mean_of_absolute_differences():
    pred, ab = torch.randn(2, 2, 5, 7) * 30, torch.randn(2, 2, 5, 7) * 30
    expected = 0.1 * np.abs(pred.numpy() - ab.numpy()).mean()
    assert PixelLoss()(pred, ab).item() == pytest.approx(expected, rel=1e-5)
    assert PixelLoss(loss_weight=2)(pred, ab).item() == pytest.approx(20 * expected, rel=1e-5)


def test_pixel_loss_of_half_precision_is_float32():
    loss = PixelLoss()(torch.full((1, 2, 4, 4), 100.5, dtype=torch.bfloat16), torch.zeros(1, 2, 4, 4))
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(10.05, rel=1e-2)


# --- adversarial losses


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(3, 1, 2, 2, generator=generator) * 3 for _ in range(2))


def test_wgan_is_equations_14_and_15(scores):
    real, fake = (x.numpy() for x in scores)
    loss = GANLoss('wgan', loss_weight=0.5)
    # the critic maximises Eq. 14, so that it minimises the negative; its loss has no weight
    assert loss.critic_loss(*scores).item() == pytest.approx(-(real.mean() - fake.mean()), rel=1e-5)
    assert loss.generator_loss(scores[1]).item() == pytest.approx(-0.5 * fake.mean(), rel=1e-5)


def test_vanilla_is_cross_entropy(scores):
    real, fake = scores
    entropy = nn.BCEWithLogitsLoss()
    loss = GANLoss('vanilla', loss_weight=0.5)
    expected = entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake))
    torch.testing.assert_close(loss.critic_loss(real, fake), expected)
    torch.testing.assert_close(loss.generator_loss(fake), 0.5 * entropy(fake, torch.ones_like(fake)))


def test_hinge_is_a_margin_loss(scores):
    real, fake = scores
    margin = nn.HingeEmbeddingLoss(margin=1)  # max(0, 1 - x) for the label -1
    minus = -torch.ones_like(real)
    loss = GANLoss('hinge', loss_weight=0.5)
    torch.testing.assert_close(loss.critic_loss(real, fake), margin(real, minus) + margin(-fake, minus))
    torch.testing.assert_close(loss.generator_loss(fake), -0.5 * fake.mean())


def test_lsgan_is_squared_error(scores):
    real, fake = scores
    error = nn.MSELoss()
    loss = GANLoss('lsgan', loss_weight=0.5)
    expected = error(real, torch.ones_like(real)) + error(fake, torch.zeros_like(fake))
    torch.testing.assert_close(loss.critic_loss(real, fake), expected)
    torch.testing.assert_close(loss.generator_loss(fake), 0.5 * error(fake, torch.ones_like(fake)))


@pytest.mark.parametrize('gan_type', GANLoss.TYPES)
def test_critic_and_generator_pull_apart(gan_type):
    """The critic raises real scores and lowers fake ones, the generator raises fake ones; float32 also for halves."""
    real, fake = (torch.zeros(4, 1, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    loss = GANLoss(gan_type)
    critic_loss = loss.critic_loss(real, fake)
    assert critic_loss.dtype == torch.float32
    critic_loss.backward()
    # the gradient of lsgan vanishes for fakes that score zero, its target
    assert (real.grad < 0).all() and (fake.grad >= 0).all() and (gan_type == 'lsgan' or (fake.grad > 0).all())
    fake.grad = None
    loss.generator_loss(fake).backward()
    assert (fake.grad < 0).all()


def test_unknown_gan_type():
    with pytest.raises(ValueError, match="unknown gan_type 'wgan-gp'; expected one of wgan, vanilla, hinge, lsgan"):
        GANLoss('wgan-gp')


# --- gradient penalty


class Slope(nn.Module):
    """A linear critic: the same slope everywhere, of a known norm. Two scores, whose mean is the image's."""

    def __init__(self, norm):
        super().__init__()
        weight = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(weight / weight.norm() * norm)
        self.seen = []

    def forward(self, rgb):
        self.seen.append(rgb)
        score = (rgb * self.weight).flatten(1).sum(dim=1, keepdim=True)
        return torch.cat([score * 0.5, score * 1.5], dim=1)


@pytest.mark.parametrize('norm', [0.25, 1.0, 3.0])
def test_penalty_of_a_known_slope(norm):
    critic = Slope(norm)
    penalty = GradientPenalty(loss_weight=10)(critic, torch.rand(5, 3, 4, 4), torch.rand(5, 3, 4, 4))
    assert penalty.item() == pytest.approx(10 * (norm - 1) ** 2, rel=1e-4, abs=1e-8)
    if norm != 1:
        penalty.backward()  # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|
        expected = 20 * (norm - 1) * critic.weight.detach() / norm
        torch.testing.assert_close(critic.weight.grad, expected, rtol=1e-3, atol=1e-5)


def test_penalty_looks_between_true_and_generated():
    torch.manual_seed(0)
    critic = Slope(2.0)
    real, fake = torch.rand(64, 3, 4, 4), torch.rand(64, 3, 4, 4)
    GradientPenalty()(critic, real, fake)
    share = ((critic.seen[0] - real) / (fake - real)).flatten(1).double()
    middle = share.median(dim=1).values
    torch.testing.assert_close(share, middle[:, None].expand_as(share), rtol=0.2, atol=1e-2)  # one share per image
    assert middle.min() >= 0 and middle.max() <= 1 and 0.4 < middle.mean() < 0.6 and middle.std() > 0.2


def test_penalty_is_float32_under_autocast():
    critic = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 1))
    real, fake = torch.rand(5, 3, 4, 4), torch.rand(5, 3, 4, 4)
    torch.manual_seed(1)
    expected = GradientPenalty()(critic, real, fake)
    torch.manual_seed(1)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = GradientPenalty()(critic, real, fake)
    assert found.dtype == torch.float32 and torch.equal(found, expected)


# --- perceptual loss


def test_layers_are_conv_l_1_of_timms_vgg19():
    with torch.device('meta'):
        vgg19 = timm.create_model('vgg19')
    first_of_each_block = ['features.0'] + [
        f'features.{i + 1}' for i, module in enumerate(vgg19.features[:-1]) if isinstance(module, nn.MaxPool2d)
    ]
    assert list(VGG19_LAYERS) == first_of_each_block
    assert [vgg19.get_submodule(name).out_channels for name in VGG19_LAYERS] == [64, 128, 256, 512, 512]
    assert all(isinstance(vgg19.get_submodule(name), nn.Conv2d) for name in VGG19_LAYERS)
    assert list(VGG19_LAYERS.values()) == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    narrow = timm.create_model('narrow_vgg19')
    assert [type(x) for x in narrow.features] == [type(x) for x in vgg19.features]


def test_perceptual_loss_is_equation_13(vgg, perceptual):
    """Features written out layer by layer, before their activations."""
    model, _ = vgg
    pred, rgb = images(0), images(1)

    def features(x):
        x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        for i, module in enumerate(model.features):
            if isinstance(module, nn.Conv2d):
                x = F.conv2d(x, module.weight, module.bias, padding=1)
                if f'features.{i}' in VGG19_LAYERS:
                    yield VGG19_LAYERS[f'features.{i}'], x.clone()
            elif isinstance(module, nn.MaxPool2d):
                x = F.max_pool2d(x, 2)
            else:
                x = x.clamp(min=0)

    with torch.no_grad():
        pairs = list(zip(features(pred), features(rgb), strict=True))
        expected = 5 * sum(weight * np.abs(a.numpy() - b.numpy()).mean() for (weight, a), (_, b) in pairs)
    assert len(pairs) == 5
    assert perceptual(pred, rgb).item() == pytest.approx(expected, rel=1e-4)
    assert perceptual(rgb, rgb).item() == 0


def test_perceptual_gradient_reaches_the_prediction_alone(perceptual):
    pred, rgb = images(0).requires_grad_(), images(1).requires_grad_()
    perceptual(pred, rgb).backward()
    assert pred.grad.isfinite().all() and pred.grad.abs().max() > 0
    assert rgb.grad is None
    assert not any(parameter.requires_grad for parameter in perceptual.parameters())


def test_perceptual_loss_under_autocast(perceptual):
    pred, rgb = images(0), images(1)
    expected = perceptual(pred, rgb)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = perceptual(pred, rgb)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0)


def test_checkpoints_neither_hold_nor_miss_the_trunk(vgg, perceptual):
    with_loss = nn.ModuleDict(dict(generator=nn.Linear(2, 2), perceptual_loss=perceptual))
    without = nn.ModuleDict(dict(generator=nn.Linear(2, 2)))
    assert set(with_loss.state_dict()) == set(without.state_dict()) == {'generator.weight', 'generator.bias'}
    before = perceptual(images(0), images(1))
    with_loss.load_state_dict(without.state_dict(), strict=True)
    without.load_state_dict(with_loss.state_dict(), strict=True)
    assert torch.equal(perceptual(images(0), images(1)), before)
    with pytest.raises(RuntimeError, match='Unexpected key'):
        with_loss.load_state_dict({**without.state_dict(), 'other': torch.zeros(1)})


def test_trunk_stays_in_evaluation_mode(vgg, tmp_path):
    model = timm.create_model('test_efficientnet')
    torch.save(model.state_dict(), tmp_path / 'norms.pth')
    loss = PerceptualLoss(str(tmp_path / 'norms.pth'), trunk='test_efficientnet', layers={'blocks.1': 1.0})
    nn.Sequential(loss).train()
    assert not any(module.training for module in loss.modules())
    norms = [module for module in loss.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    loss(images(0), images(1))
    assert norms and all(torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))


def test_the_log_names_the_trunk(vgg, caplog):
    with caplog.at_level(logging.INFO):
        PerceptualLoss(vgg[1], trunk='narrow_vgg19', layers={'features.5': 1.0})
    assert 'perceptual loss: narrow_vgg19, layers features.5' in caplog.text


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        MODELS.build(dict(type='PerceptualLoss', weights=str(tmp_path / 'vgg19.pth')))
    message = str(caught.value)
    assert 'vgg19.pth' in message and 'Nothing is downloaded' in message and 'efficientnet_lite0' in message


def test_wrong_arguments(vgg):
    with pytest.raises(ValueError, match='sha256'):
        PerceptualLoss(vgg[1], trunk='narrow_vgg19', layers=VGG19_LAYERS, sha256='0' * 64)
    with pytest.raises(ValueError, match='name the layers of narrow_vgg19'):
        PerceptualLoss(vgg[1], trunk='narrow_vgg19')
    with pytest.raises(ValueError, match='no_such_layer'):
        PerceptualLoss(vgg[1], trunk='narrow_vgg19', layers={'no_such_layer': 1.0})
    with pytest.raises(TypeError, match='layer_weights'):
        PerceptualLoss(vgg[1], layer_weights={})
    with pytest.raises(TypeError, match='weights'):
        PerceptualLoss()
