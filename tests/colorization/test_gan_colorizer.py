"""One training step of generator against critic: who changes when, and what comes out."""

import functools

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS
from torch import nn

from colorization.checkpoints import save_network
from colorization.color import gray_rgb_from_l, lab_to_rgb, rgb_to_lab
from colorization.models import build_network
from colorization.systems import GANColorizer, PerNetworkOptimWrapperConstructor
from dualattn.engine import CheckpointError

PREPROCESSOR = dict(type='ImgDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255])
ADVERSARY = dict(critic=dict(type='Critic', dims=(4, 8, 8, 8)), adversarial_loss=dict(type='GANLoss'))


@pytest.fixture
def build(tiny_mpt):
    """Function that makes a system with tiny networks; the same weights at every call."""

    def build(**kwargs):
        torch.manual_seed(0)
        kwargs = {
            'generator': tiny_mpt,
            'pixel_loss': dict(type='PixelLoss'),
            'data_preprocessor': PREPROCESSOR,
            **kwargs,
        }
        system = MODELS.build(dict(type='GANColorizer', **kwargs))
        nn.init.normal_(system.generator.to_ab.weight, std=0.1)  # predicts some colour at once
        return system.train()

    return build


def optimizers(system, lr=1e-2, critic_lr=1e-2, **kwargs):
    """Plain SGD for each network, so that equal gradients give equal weights."""
    entries = dict(generator=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=lr), **kwargs))
    if system.critic is not None:
        entries['critic'] = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=critic_lr), **kwargs)
    return PerNetworkOptimWrapperConstructor(entries)(system)


def batch(seed, size=2, side=32):
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=generator) for _ in range(size)]
    return dict(inputs=inputs, path=[f'{seed}_{i}.png' for i in range(size)])


def join(*batches):
    return {key: [item for batch in batches for item in batch[key]] for key in batches[0]}


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(module, before):
    return [name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])]


# --- colour augmentation


def test_colour_augmentation_is_of_the_real_image_of_two_losses(build, monkeypatch):
    """DDColor 4.1, and its public code: factor * rgb + (1 - factor) * gray, for the critic and the perceptual loss."""
    system = build(real_saturation=1.5, **ADVERSARY)
    seen = {}

    def spy(name, owner, attribute, index):
        real = getattr(owner, attribute)
        monkeypatch.setattr(
            owner, attribute, lambda *args, **kwargs: seen.update({name: args[index]}) or real(*args, **kwargs)
        )

    class Distance(nn.Module):
        def forward(self, pred_rgb, rgb):
            seen['perceptual'] = rgb
            return (pred_rgb - rgb).abs().mean()

    system.perceptual_loss = Distance()
    spy('critic', system.critic, 'forward', 0)
    spy('pixel', system.pixel_loss, 'forward', 1)
    spy('network', system.generator, 'forward', 0)
    critic_update = system._update_critic
    monkeypatch.setattr(system, '_update_critic', lambda rgb, *args: seen.update(real=rgb) or critic_update(rgb, *args))
    data = batch(0)
    rgb = torch.stack(data['inputs']) / 255
    l, ab = rgb_to_lab(rgb)
    system.train_step(data, optimizers(system))
    gray = (rgb * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(dim=1, keepdim=True)
    vivid = (1.5 * rgb - 0.5 * gray).clamp(0, 1)
    torch.testing.assert_close(seen['real'], vivid, rtol=0, atol=1e-3)
    torch.testing.assert_close(seen['perceptual'], vivid, rtol=0, atol=1e-3)
    assert (vivid - rgb).abs().max() > 0.1
    torch.testing.assert_close(seen['pixel'], ab)
    torch.testing.assert_close(seen['network'], l)
    with pytest.raises(ValueError, match='0 or more'):
        build(real_saturation=-1)


# --- who changes


def test_a_critic_step_changes_the_critic_alone(build):
    system = build(critic_steps=2, ema_momentum=0.1, **ADVERSARY)
    generator, critic, average = snapshot(system.generator), snapshot(system.critic), snapshot(system.ema_generator)
    system.train_step(batch(0), optimizers(system))
    assert changed(system.generator, generator) == [] and changed(system.ema_generator, average) == []
    # norms undo the biases before them, and the last one moves real and fake scores alike
    assert set(critic) - set(changed(system.critic, critic)) <= {f'layers.{i}.bias' for i in (2, 5, 8, 11)}
    assert all(parameter.grad is None for parameter in system.generator.parameters())


def test_a_generator_step_changes_the_generator_and_then_its_average(build):
    system = build(ema_momentum=0.1, **ADVERSARY)
    optim = optimizers(system, critic_lr=0.0)
    critic, average, first = snapshot(system.critic), snapshot(system.ema_generator), snapshot(system.generator)
    system.train_step(batch(0), optim)
    assert changed(system.critic, critic) == []
    # nothing of the generator's loss is left in the critic for its next update
    assert all(parameter.grad is None for parameter in system.critic.parameters())
    assert len(changed(system.generator, first)) > 0.9 * len(first)
    assert len(changed(system.ema_generator, average)) > 0.9 * len(first)

    before, average = snapshot(system.generator), snapshot(system.ema_generator.module)
    system.train_step(batch(1), optim)
    after = system.generator.state_dict()
    assert changed(system.generator, before)
    for name, tensor in system.ema_generator.module.state_dict().items():
        torch.testing.assert_close(tensor, 0.9 * average[name] + 0.1 * after[name], msg=name)


def test_the_average_holds_the_buffers_too(build, tiny_mpt):
    generator = {**tiny_mpt, 'encoder': 'test_efficientnet', 'encoder_kwargs': None}
    system = build(generator=generator, ema_momentum=0.1)
    optim = optimizers(system)
    name = 'encoder.trunk.bn1.running_mean'
    seen = []
    for seed in range(3):
        system.train_step(batch(seed), optim)
        seen.append(system.generator.state_dict()[name].clone())
    expected = 0.9 * (0.9 * seen[0] + 0.1 * seen[1]) + 0.1 * seen[2]
    assert (seen[0] - seen[2]).abs().max() > 0
    torch.testing.assert_close(system.ema_generator.module.state_dict()[name], expected)


def test_the_average_follows_after_a_move(build):
    """mmengine's own class keeps averaging into the tensors from before, which matters on every GPU."""
    system = build(ema_momentum=0.1)
    plain = ExponentialMovingAverage(system.generator, momentum=0.1, update_buffers=True)
    system, plain = system.double(), plain.double()  # replaces every tensor, as .to('cuda') does
    nn.init.constant_(system.generator.to_ab.bias, 7.0)
    for average in (system.ema_generator, plain):
        average.update_parameters(system.generator)
    assert system.ema_generator.module.to_ab.bias.tolist() == [7, 7]
    assert plain.module.to_ab.bias.tolist() != [7, 7], 'mmengine has repaired this: MovableAverage can go'


def test_the_critic_is_frozen_for_the_generator_and_free_afterwards(build):
    system = build(**ADVERSARY)
    trainable = []
    system.critic.register_forward_hook(
        lambda module, args, output: trainable.append({parameter.requires_grad for parameter in module.parameters()})
    )
    system.train_step(batch(0), optimizers(system))
    assert trainable == [{True}, {False}]  # its own step, then the generator's
    assert all(parameter.requires_grad for parameter in system.critic.parameters())


def test_weight_clipping(build):
    def largest(system):
        return max(float(parameter.detach().abs().max()) for parameter in system.critic.parameters())

    system, free = build(weight_clip=0.01, **ADVERSARY), build(**ADVERSARY)
    assert largest(system) > 0.05
    for one in (system, free):
        one.train_step(batch(0), optimizers(one))
    assert largest(system) == pytest.approx(0.01) and largest(free) > 0.05


def test_several_critic_steps_for_one_of_the_generator(build):
    system = build(critic_steps=3, **ADVERSARY)
    optim = optimizers(system)
    tracked = []
    system.generator.register_forward_hook(lambda module, args, output: tracked.append(output.requires_grad))
    moved = []
    for seed in range(7):
        before = snapshot(system.generator)
        log = system.train_step(batch(seed), optim)
        moved.append(bool(changed(system.generator, before)))
        assert ('loss_pix' in log) is moved[-1] and 'loss_critic' in log
    assert moved == [False, False, True, False, False, True, False]
    assert tracked == moved  # no graph is built for a generator that is not trained


def test_without_a_critic(build):
    system = build()
    before = snapshot(system.generator)
    log = system.train_step(batch(0), optimizers(system))
    assert set(log) == {'loss_pix', 'loss'} and changed(system.generator, before)


# --- what is reported


def test_the_log_holds_every_term(build):
    system = build(gradient_penalty=dict(type='GradientPenalty'), **ADVERSARY)
    data = batch(0)
    rgb = torch.stack(data['inputs']).float() / 255
    with torch.no_grad():
        l, ab = rgb_to_lab(rgb)
        pred_ab = system.generator(l)
        real, fake = system.critic(rgb), system.critic(lab_to_rgb(l, pred_ab))
    log = system.train_step(data, optimizers(system, critic_lr=0.0))
    assert not any(value.requires_grad for value in log.values())
    assert all(value.shape == () and value.isfinite() for value in log.values())
    expected = dict(
        d_real=real.mean(),
        d_fake=fake.mean(),
        loss_critic=fake.mean() - real.mean(),
        loss_pix=0.1 * (pred_ab - ab).abs().mean(),
        loss_g=-fake.mean(),
    )
    expected['loss'] = expected['loss_pix'] + expected['loss_g']
    for name, value in expected.items():
        torch.testing.assert_close(log[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert set(log) == {*expected, 'loss_gp'} and log['loss_gp'] > 0


def test_the_gradient_penalty_trains_the_critic(build):
    """With a large weight it pulls the critic's slope towards one."""
    system = build(gradient_penalty=dict(type='GradientPenalty', loss_weight=100.0), **ADVERSARY)
    optim = optimizers(system, lr=0.0, critic_lr=3e-4)
    penalties = []
    for _ in range(12):
        torch.manual_seed(0)  # the same points between real and fake images at every step
        penalties.append(float(system.train_step(batch(0), optim)['loss_gp']))
    assert penalties[-1] < 0.1 * penalties[0]


# --- accumulation, mixed precision, compilation


def test_accumulated_gradients_are_those_of_the_large_batch(build):
    small, large = build(), build()
    optim = optimizers(small, accumulative_counts=2)
    before = snapshot(small.generator)
    logs = [small.train_step(batch(0), optim)]
    assert changed(small.generator, before) == []
    logs.append(small.train_step(batch(1), optim))
    log = large.train_step(join(batch(0), batch(1)), optimizers(large))
    torch.testing.assert_close(sum(log['loss'] for log in logs) / 2, log['loss'])
    for name, tensor in small.generator.state_dict().items():
        torch.testing.assert_close(tensor, large.generator.state_dict()[name], rtol=1e-4, atol=1e-6, msg=name)
    assert len(changed(small.generator, before)) > 0.9 * len(before)


def test_accumulation_of_the_critic(build):
    small, large = build(**ADVERSARY), build(**ADVERSARY)
    optim = optimizers(small, lr=0.0, accumulative_counts=2)
    before = snapshot(small.critic)
    small.train_step(batch(0), optim)
    assert changed(small.critic, before) == []
    small.train_step(batch(1), optim)
    large.train_step(join(batch(0), batch(1)), optimizers(large, lr=0.0))
    for name, tensor in small.critic.state_dict().items():
        torch.testing.assert_close(tensor, large.critic.state_dict()[name], rtol=1e-4, atol=1e-6, msg=name)
    assert changed(small.critic, before)


def test_accumulation_and_several_critic_steps(build):
    """All batches of one update belong to the same turn, and the average moves with the updates."""
    system = build(critic_steps=2, ema_momentum=0.1, **ADVERSARY)
    optim = optimizers(system, accumulative_counts=2)
    turns, updates = [], []
    for seed in range(8):
        before = snapshot(system.generator)
        turns.append('loss_pix' in system.train_step(batch(seed), optim))
        updates.append(bool(changed(system.generator, before)))
    assert turns == [False, False, True, True] * 2
    assert updates == [False, False, False, True] * 2
    assert system.ema_generator.steps == 2


def test_bfloat16_stays_close(build):
    plain, mixed = build(ema_momentum=0.1, **ADVERSARY), build(ema_momentum=0.1, **ADVERSARY)
    seen = []
    mixed.generator.to_ab.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    entries = {
        name: dict(type='BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=1e-2)) for name in ('generator', 'critic')
    }
    optim = PerNetworkOptimWrapperConstructor(entries)(mixed)
    reference = optimizers(plain)
    for seed in range(3):
        expected, found = plain.train_step(batch(seed), reference), mixed.train_step(batch(seed), optim)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=0.05, atol=0.02, msg=name)
    assert set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in mixed.parameters()} == {torch.float32}
    assert {value.dtype for value in found.values()} == {torch.float32}


def test_compilation_keeps_the_names(build):
    kwargs = dict(ema_momentum=0.1, **ADVERSARY)
    plain, compiled = build(**kwargs), build(torch_compile=True, **kwargs)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert compiled.generator._compiled_call_impl is not None and compiled.critic._compiled_call_impl is not None
    assert compiled.ema_generator.module._compiled_call_impl is None  # validation sees other sizes


@pytest.mark.slow
def test_a_compiled_step_is_the_plain_one(build, monkeypatch):
    """Graphs of forward and backward are captured; the penalty's second derivatives go around them."""
    monkeypatch.setattr(nn.Module, 'compile', functools.partialmethod(nn.Module.compile, backend='aot_eager'))
    kwargs = dict(gradient_penalty=dict(type='GradientPenalty'), **ADVERSARY)
    plain, compiled = build(**kwargs), build(torch_compile=True, **kwargs)
    for system in (plain, compiled):
        optim = optimizers(system)
        torch.manual_seed(0)
        system.log = system.train_step(batch(0), optim)
    for name, value in plain.log.items():
        torch.testing.assert_close(compiled.log[name], value, rtol=1e-3, atol=1e-4, msg=name)
    for name, tensor in plain.generator.state_dict().items():
        torch.testing.assert_close(compiled.generator.state_dict()[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


# --- prediction


def test_predictions_are_what_metrics_and_hooks_expect(build):
    system = build(ema_momentum=0.1, **ADVERSARY).eval()
    nn.init.constant_(system.ema_generator.module.to_ab.bias, 30.0)  # told apart from the trained weights
    data = batch(0, size=3)
    with torch.no_grad():
        samples = system.val_step(data)
        l, _ = rgb_to_lab(torch.stack(data['inputs']).float() / 255)
        pred_ab = system.ema_generator.module(l)
    assert [sample['path'] for sample in samples] == data['path']
    for i, sample in enumerate(samples):
        assert set(sample) == {'path', 'l', 'pred_ab', 'gt_rgb', 'pred_rgb', 'gray_rgb'}
        assert sample['l'].shape == (1, 32, 32) and sample['pred_ab'].shape == (2, 32, 32)
        for name in ('gt_rgb', 'pred_rgb', 'gray_rgb'):
            levels = sample[name] * 255
            assert sample[name].shape == (3, 32, 32) and sample[name].dtype == torch.float32
            torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
            assert levels.min() >= 0 and levels.max() <= 255
        assert torch.equal((sample['gt_rgb'] * 255).round().to(torch.uint8), data['inputs'][i])
        assert torch.equal(sample['gray_rgb'][0], sample['gray_rgb'][2])
        torch.testing.assert_close(sample['gray_rgb'], gray_rgb_from_l(l[i : i + 1])[0], rtol=0, atol=0.51 / 255)
        torch.testing.assert_close(sample['pred_ab'], pred_ab[i], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(
            sample['pred_rgb'], lab_to_rgb(l[i : i + 1], pred_ab[i : i + 1])[0], rtol=0, atol=0.51 / 255
        )
        assert {value.device.type for value in sample.values() if isinstance(value, torch.Tensor)} == {'cpu'}


def test_without_an_average_the_generator_predicts(build):
    system = build().eval()
    rgb = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(system(rgb), system.generator(rgb_to_lab(rgb)[0]))


def test_modes(build):
    system = build(**ADVERSARY)
    rgb = torch.rand(2, 3, 32, 32)
    losses = system(rgb, mode='loss')
    assert set(losses) == {'loss_pix', 'loss_g'} and losses['loss_pix'].requires_grad
    with pytest.raises(ValueError, match="mode has to be 'tensor', 'predict' or 'loss', got 'train'"):
        system(rgb, mode='train')


# --- starts and wrong configurations


def test_starts_from_a_weights_file(build, tiny_mpt, tmp_path):
    torch.manual_seed(7)
    network = build_network(tiny_mpt)
    save_network(network, tmp_path / 'start.safetensors')
    torch.manual_seed(0)
    system = GANColorizer(
        generator=dict(tiny_mpt),
        pixel_loss=dict(type='PixelLoss'),
        ema_momentum=0.1,
        generator_weights=str(tmp_path / 'start.safetensors'),
    )
    for name, tensor in network.state_dict().items():
        assert torch.equal(system.generator.state_dict()[name], tensor), name
        assert torch.equal(system.ema_generator.module.state_dict()[name], tensor), name
    with pytest.raises(CheckpointError, match='num_queries'):
        build(generator={**tiny_mpt, 'num_queries': 9}, generator_weights=str(tmp_path / 'start.safetensors'))
    with pytest.raises(FileNotFoundError, match='nowhere'):
        build(generator_weights=str(tmp_path / 'nowhere.safetensors'))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(critic=dict(type='Critic')), 'critic and adversarial_loss belong together'),
        (dict(adversarial_loss=dict(type='GANLoss')), 'critic and adversarial_loss belong together'),
        (dict(gradient_penalty=dict(type='GradientPenalty')), 'there is none'),
        (dict(weight_clip=0.01), 'there is none'),
        (dict(critic_steps=5), 'critic_steps=5 makes the generator wait for a critic, but there is none'),
        (dict(critic_steps=0, **ADVERSARY), 'critic_steps has to be at least 1, got 0'),
    ],
)
def test_combinations_without_sense(build, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


@pytest.mark.parametrize(
    ('kwargs', 'name'),
    [
        (dict(generater=dict(type='MPT')), 'generater'),
        (dict(pixel_loss=dict(type='PixelLoss', weight=1)), 'weight'),
        (dict(critic=dict(type='Critic', channels=3), adversarial_loss=dict(type='GANLoss')), 'channels'),
    ],
)
def test_unknown_keywords_are_named(build, kwargs, name):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        build(**kwargs)


def test_optimizers_have_to_match_the_networks(build):
    sgd = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    construct = PerNetworkOptimWrapperConstructor
    with pytest.raises(ValueError, match='the system trains critic, but optim_wrapper has entries for generator alone'):
        construct(dict(generator=sgd))(build(**ADVERSARY))
    with pytest.raises(ValueError, match="optim_wrapper names 'critic', but the system has no such network"):
        construct(dict(generator=sgd, critic=sgd))(build())
    with pytest.raises(ValueError, match='paramwise_cfg belongs into the entry of a network'):
        construct(dict(generator=sgd), paramwise_cfg=dict())
    assert [*construct(dict(generator=sgd, critic=None))(build(ema_momentum=0.1)).keys()] == ['generator']
