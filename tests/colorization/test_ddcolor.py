"""DDColor as a whole: its structure, its variants, the released weights, its training."""

import json
import re

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODELS
from safetensors.torch import save_file
from torch import nn

from colorization import Colorizer
from colorization.checkpoints import CheckpointError, load_network, save_network
from colorization.checkpoints.released_ddcolor import recognises, released_config, released_name, unused_tensors
from colorization.color import gray_rgb_from_l
from colorization.models import DDColor, build_network
from colorization.systems import GANColorizer

SMALL = dict(
    encoder='convnext_atto',
    encoder_kwargs=dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)),
    decoder_dims=(16, 16, 8, 8),
    num_queries=6,
    depth=3,
    num_heads=2,
    mlp_ratio=2.0,
)
SIZES = {'tiny': 'convnext_tiny', 'large': 'convnext_large'}
_TRANSFORMER = 'decoder.color_decoder.transformer'
# one of each kind of tensor, written down from the key lists of the released files
RELEASED_NAMES = {
    'encoder.trunk.stem_0.weight': 'encoder.arch.downsample_layers.0.0.weight',
    'encoder.trunk.stem_1.bias': 'encoder.arch.downsample_layers.0.1.bias',
    'encoder.trunk.stages_2.downsample.0.weight': 'encoder.arch.downsample_layers.2.0.weight',
    'encoder.trunk.stages_2.downsample.1.weight': 'encoder.arch.downsample_layers.2.1.weight',
    'encoder.trunk.stages_0.blocks.2.gamma': 'encoder.arch.stages.0.2.gamma',
    'encoder.trunk.stages_2.blocks.8.conv_dw.weight': 'encoder.arch.stages.2.8.dwconv.weight',
    'encoder.trunk.stages_2.blocks.8.norm.weight': 'encoder.arch.stages.2.8.norm.weight',
    'encoder.trunk.stages_1.blocks.0.mlp.fc1.weight': 'encoder.arch.stages.1.0.pwconv1.weight',
    'encoder.trunk.stages_1.blocks.0.mlp.fc2.bias': 'encoder.arch.stages.1.0.pwconv2.bias',
    'encoder.norms.3.weight': 'encoder.arch.norm3.weight',
    'pixel_decoder.steps.0.up.conv.parametrizations.weight.original': 'decoder.layers.0.shuf.conv.0.weight_orig',
    'pixel_decoder.steps.0.up.conv.parametrizations.weight.0._u': 'decoder.layers.0.shuf.conv.0.weight_u',
    'pixel_decoder.steps.1.up.norm.running_var': 'decoder.layers.1.shuf.conv.1.running_var',
    'pixel_decoder.steps.1.skip_norm.weight': 'decoder.layers.1.bn.weight',
    'pixel_decoder.steps.2.conv.parametrizations.weight.0._v': 'decoder.layers.2.conv.0.weight_v',
    'pixel_decoder.steps.2.norm.num_batches_tracked': 'decoder.layers.2.conv.2.num_batches_tracked',
    'pixel_decoder.last_up.conv.bias': 'decoder.last_shuf.conv.0.bias',
    'color_decoder.query_features': 'decoder.color_decoder.query_feat.weight',
    'color_decoder.query_embed': 'decoder.color_decoder.query_embed.weight',
    'color_decoder.level_embed': 'decoder.color_decoder.level_embed.weight',
    'color_decoder.projections.2.bias': 'decoder.color_decoder.input_proj.2.bias',
    'color_decoder.layers.8.attentions.0.attn.in_proj_weight': _TRANSFORMER
    + '_cross_attention_layers.8.multihead_attn.in_proj_weight',
    'color_decoder.layers.8.attentions.0.attn.out_proj.weight': _TRANSFORMER
    + '_cross_attention_layers.8.multihead_attn.out_proj.weight',
    'color_decoder.layers.8.attentions.0.norm.weight': _TRANSFORMER + '_cross_attention_layers.8.norm.weight',
    'color_decoder.layers.0.attentions.1.attn.in_proj_bias': _TRANSFORMER
    + '_self_attention_layers.0.self_attn.in_proj_bias',
    'color_decoder.layers.0.attentions.1.attn.out_proj.bias': _TRANSFORMER
    + '_self_attention_layers.0.self_attn.out_proj.bias',
    'color_decoder.layers.0.attentions.1.norm.bias': _TRANSFORMER + '_self_attention_layers.0.norm.bias',
    'color_decoder.layers.4.mlp.fc1.weight': _TRANSFORMER + '_ffn_layers.4.linear1.weight',
    'color_decoder.layers.4.mlp.fc2.bias': _TRANSFORMER + '_ffn_layers.4.linear2.bias',
    'color_decoder.layers.4.norm.weight': _TRANSFORMER + '_ffn_layers.4.norm.weight',
    'color_decoder.norm.bias': 'decoder.color_decoder.decoder_norm.bias',
    'color_decoder.head.0.weight': 'decoder.color_decoder.color_embed.layers.0.weight',
    'color_decoder.head.2.weight': 'decoder.color_decoder.color_embed.layers.1.weight',
    'color_decoder.head.4.weight': 'decoder.color_decoder.color_embed.layers.2.weight',
    'to_ab.parametrizations.weight.original': 'refine_net.0.0.weight_orig',
    'to_ab.bias': 'refine_net.0.0.bias',
}


def lightness(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 100


def build(**kwargs):
    torch.manual_seed(0)
    return DDColor(**{**SMALL, **kwargs})


def build_on_meta(**kwargs):
    with torch.device('meta'):
        return DDColor(**kwargs)


@pytest.fixture
def network():
    network = build().eval()
    nn.init.normal_(network.color_decoder.head[-1].weight)  # so that the queries differ visibly
    return network


@pytest.mark.parametrize(('size', 'millions'), [('tiny', 55.0), ('large', 227.9)])
def test_parameters_of_the_paper(size, millions):
    network = build_on_meta(encoder=SIZES[size])
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


@torch.no_grad()
@pytest.mark.parametrize('size', [(32, 32), (64, 96), (33, 47), (100, 35)])
def test_colour_for_every_pixel_at_any_size(network, size):
    l = lightness(2, 1, *size)
    ab, maps = network(l), network.forward_color_maps(l)
    assert ab.shape == (2, 2, *size) and maps.shape == (2, 6, *size)
    assert ab.isfinite().all() and ab.std() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize('use_color_decoder', [True, False])
def test_fusion_by_its_equations(use_color_decoder):
    """Eq. 6 and 7 one after the other, with the normalised gray image beside the K maps, as it was released."""
    network = build(use_color_decoder=use_color_decoder).eval()
    l = lightness(2, 1, 64, 32)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    gray = (gray_rgb_from_l(l) - mean) / std
    maps = network.pixel_decoder(network.encoder(gray))
    fused = network.pixel_decoder.last_up(maps[-1])
    if use_color_decoder:
        fused = torch.einsum('bkc,bchw->bkhw', network.color_decoder(maps), fused)
        torch.testing.assert_close(network.forward_color_maps(l), fused, rtol=1e-4, atol=1e-5)
    expected = network.to_ab(torch.cat([fused, gray], dim=1))
    torch.testing.assert_close(network(l), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_last_convolution_reads_the_gray_image(network):
    """Without the other inputs, ab is an affine function of the normalised gray values of the same pixel."""
    weight = torch.zeros_like(network.to_ab.weight)
    weight[0, -3] = weight[1, -1] = 1
    network.to_ab.weight = weight  # its spectral norm is 1 already
    nn.init.zeros_(network.to_ab.bias)
    network.to_ab.train()(torch.zeros(1, weight.shape[1], 1, 1))
    l = lightness(1, 1, 32, 32)
    gray, ab = gray_rgb_from_l(l), network.eval()(l)
    torch.testing.assert_close(ab[:, 0], (gray[:, 0] - 0.485) / 0.229, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ab[:, 1], (gray[:, 2] - 0.406) / 0.225, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(),
        dict(use_color_decoder=False),
        dict(scales=(16,)),
        dict(scales=(4,)),
        dict(scales=(4, 16)),
        dict(attn_types=('self', 'self')),
        dict(attn_types=('self', 'cross')),
        dict(learn_query_features=False),
        dict(num_queries=3),
        dict(encoder='tf_efficientnet_lite0', encoder_kwargs=None),
    ],
)
def test_variants_train_every_weight_and_rebuild(kwargs, tmp_path):
    network = build(**kwargs)
    network(lightness(2, 1, 64, 64)).square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    network.eval()
    save_network(network, tmp_path / 'a.safetensors')
    rebuilt = load_network(tmp_path / 'a.safetensors')
    assert rebuilt.config == json.loads(json.dumps(network.config))
    l = lightness(1, 1, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(l), network(l), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_scales_choose_the_maps(network):
    """The color decoder of 1/16 sees no more than the map at stride 16."""
    network = build(scales=(16,)).eval()
    seen = []
    network.color_decoder.register_forward_pre_hook(lambda module, args: seen.extend(args[0]))
    network(lightness(1, 1, 64, 96))
    assert [tuple(x.shape[2:]) for x in seen] == [(4, 6)]


@pytest.mark.parametrize('kwargs', [dict(scales=(16, 32)), dict(scales=())])
def test_unknown_scales(kwargs):
    with pytest.raises(ValueError, match='scales takes the strides 16, 8, 4, got'):
        build(**kwargs)


def test_what_it_refuses(network):
    with pytest.raises(TypeError, match='num_querys'):
        build_network(dict(type='DDColor', num_querys=100))
    with pytest.raises(ValueError, match='no colour queries'):
        build(use_color_decoder=False).forward_color_maps(lightness(1, 1, 32, 32))


def test_no_hooks():
    """Encoder maps are passed on, not stored on the way."""
    for module in build().modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


@torch.no_grad()
def test_bfloat16(network):
    l = lightness(1, 1, 64, 64)
    expected = network(l)
    found = network.to(torch.bfloat16)(l.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1 * expected.abs().max().item())


def test_pipeline_takes_it_at_its_own_size(network):
    assert Colorizer(network).size == 512
    assert Colorizer(build(inference_size=64)).size == 64
    assert Colorizer(network, size=96).size == 96
    rgb = Colorizer(network, size=64)((lightness(40, 50).numpy() * 2.55).astype('uint8'))
    assert rgb.shape == (40, 50, 3)


# ---- the released weights


def constants(shapes):
    """A state dict of these shapes in which each tensor has a value of its own, and which takes no room in a file."""
    return {
        name: torch.tensor(index / len(shapes)).expand(shape) if 'tracked' not in name else torch.tensor(index)
        for index, (name, shape) in enumerate(shapes.items())
    }


def released_shapes(size):
    """Names and shapes of a released file, from our network; `test_names_and_shapes` compares them with the lists."""
    network = build_on_meta(encoder=SIZES[size])
    shapes = {released_name(name): tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return shapes | {name: tuple(tensor.shape) for name, tensor in unused_tensors(network).items()}


@pytest.fixture(scope='module')
def tiny_shapes():
    return released_shapes('tiny')


@pytest.fixture
def tiny_state(tiny_shapes):
    state = constants(tiny_shapes)
    state['mean'] = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    state['std'] = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    return state


@pytest.mark.parametrize('size', SIZES)
def test_names_and_shapes(size, data_root):
    """Every tensor of a released file is used or known to be unused, and none is missing."""
    path = data_root.parent / 'design' / f'ddcolor_{size}_keys.json'
    if not path.is_file():
        pytest.skip(f'no list of the released tensors at {path}')
    listed = {name: tuple(shape) for name, shape in json.loads(path.read_text()).items()}
    assert released_shapes(size) == listed


def test_names_one_by_one():
    names = build_on_meta(encoder='convnext_tiny').state_dict()
    assert {name: released_name(name) for name in RELEASED_NAMES} == RELEASED_NAMES
    assert set(RELEASED_NAMES) <= set(names)
    kinds = {re.sub(r'\d+', '#', released_name(name).rpartition('.')[0]) for name in names}
    listed = {re.sub(r'\d+', '#', name.rpartition('.')[0]) for name in RELEASED_NAMES.values()}
    assert kinds == listed
    assert len({released_name(name) for name in names}) == len(names)


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('nest', ['params', None])
def test_torch_forms_load_without_a_config(tmp_path, tiny_state, prefix, nest):
    state = {prefix + name: tensor for name, tensor in tiny_state.items()}
    torch.save({nest: state} if nest else state, tmp_path / 'a.pt')
    network = load_network(tmp_path / 'a.pt')
    assert network.config == build_on_meta(encoder='convnext_tiny').config and not network.training
    found = network.state_dict()
    for ours, theirs in RELEASED_NAMES.items():
        assert (found[ours] == tiny_state[theirs]).all(), ours
    assert found['to_ab.bias'].dtype == torch.float32


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_safetensors_of_hugging_face(tmp_path, tiny_state, prefix):
    state = {prefix + name: tensor.to(torch.float16).contiguous() for name, tensor in tiny_state.items()}
    save_file(state, tmp_path / 'model.safetensors', metadata={'format': 'pt'})
    found = load_network(tmp_path / 'model.safetensors').state_dict()
    for ours, theirs in RELEASED_NAMES.items():
        assert (found[ours] == tiny_state[theirs].to(torch.float16)).all(), ours


@pytest.mark.slow
def test_large_is_recognised(tmp_path):
    state = constants(released_shapes('large'))
    state['mean'], state['std'] = (
        torch.tensor(value).view(1, 3, 1, 1) for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    torch.save({'params': state}, tmp_path / 'a.pth')
    assert load_network(tmp_path / 'a.pth').config['encoder'] == 'convnext_large'


def test_number_of_queries_is_read_from_the_file(tiny_state):
    assert released_config(tiny_state)['num_queries'] == 100
    tiny_state['decoder.color_decoder.query_feat.weight'] = torch.zeros(20, 256)
    assert released_config(tiny_state)['num_queries'] == 20


def test_our_own_files_are_not_taken_for_released_ones():
    assert not recognises(build().state_dict())


def refuse(tmp_path, state, match, **kwargs):
    torch.save({'params': state}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=match) as caught:
        load_network(tmp_path / 'a.pth', **kwargs)
    assert str(tmp_path / 'a.pth') in str(caught.value)


def test_other_size(tmp_path, tiny_state):
    """The config says large, the file is tiny."""
    refuse(
        tmp_path,
        tiny_state,
        r"another network.*encoder: file 'convnext_tiny', config 'convnext_large'",
        config=dict(type='DDColor'),
    )


def test_missing_extra_and_misshapen_tensors(tmp_path, tiny_state):
    removed = 'decoder.color_decoder.decoder_norm.weight'
    refuse(
        tmp_path,
        {name: tensor for name, tensor in tiny_state.items() if name != removed},
        rf'1 missing \({re.escape(removed)}\)',
    )
    refuse(
        tmp_path, {**tiny_state, 'decoder.surplus.weight': torch.zeros(1)}, r'1 unexpected \(decoder\.surplus\.weight\)'
    )
    refuse(
        tmp_path,
        {**tiny_state, 'refine_net.0.0.bias': torch.zeros(3)},
        r'1 misshapen \(refine_net\.0\.0\.bias \(3,\) instead of \(2,\)\).*Likely',
    )


def test_a_layer_that_is_missing_as_a_whole_is_not_taken_for_a_smaller_network(tmp_path, tiny_state):
    state = {name: tensor for name, tensor in tiny_state.items() if '_layers.8.' not in name}
    assert len(state) == len(tiny_state) - 18
    refuse(tmp_path, state, r'18 missing \(decoder\.color_decoder\.transformer_cross_attention_layers\.8\.')


@pytest.mark.parametrize(
    'config', [dict(type='MPT'), dict(type='DDColor', encoder='convnext_tiny', attn_types=('self', 'cross'))]
)
def test_a_network_of_the_same_shapes_is_another_network(tmp_path, tiny_state, config):
    refuse(tmp_path, tiny_state, 'is for another network than the config describes', config=config)


def test_other_scale_of_the_input(tmp_path, tiny_state):
    refuse(tmp_path, {**tiny_state, 'mean': torch.full((1, 3, 1, 1), 0.5)}, r"'mean' of its input is \[0\.5")


def test_an_encoder_that_was_never_released(tmp_path, tiny_state):
    state = {
        name: tensor[:64] if name.startswith('encoder.arch.stages.0') else tensor for name, tensor in tiny_state.items()
    }
    refuse(tmp_path, state, r'looks like a released DDColor, but its encoder has 64 channels.*96 \(convnext_tiny\)')


def test_diverged(tmp_path, tiny_state):
    refuse(tmp_path, {**tiny_state, 'refine_net.0.0.bias': torch.tensor([0, torch.nan])}, 'NaN')


# ---- training


@pytest.fixture
def system_config():
    return dict(
        type='GANColorizer',
        data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
        generator=dict(type='DDColor', **SMALL),
        critic=dict(type='PatchDiscriminator', dim=8),
        pixel_loss=dict(type='PixelLoss', loss_weight=0.1),
        adversarial_loss=dict(type='GANLoss', gan_type='vanilla', loss_weight=1.0),
        colorfulness_loss=dict(type='ColorfulnessLoss', loss_weight=0.5),
        ema_momentum=0.1,
    )


def test_one_training_step(system_config):
    torch.manual_seed(0)
    system = MODELS.build(system_config).train()
    wrappers = OptimWrapperDict(
        **{
            name: OptimWrapper(torch.optim.AdamW(getattr(system, name).parameters(), lr=1e-3))
            for name in ('generator', 'critic')
        }
    )
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    before = {name: parameter.clone() for name, parameter in system.named_parameters()}
    log = system.train_step(dict(inputs=list(images), path=['', '']), wrappers)
    assert {'loss_pix', 'loss_g', 'loss_col', 'loss_critic', 'loss'} <= set(log)
    assert log['loss'].item() == pytest.approx(sum(log[name].item() for name in ('loss_pix', 'loss_g', 'loss_col')))
    still = [
        name
        for name, parameter in system.named_parameters()
        if name.startswith(('generator', 'critic')) and torch.equal(parameter, before[name])
    ]
    assert still == []
    names = {name for name in system.state_dict() if name.startswith('ema_generator.module.')}
    assert len(names) == len(system.generator.state_dict())


def test_fine_tuning_starts_from_a_released_file(tmp_path, tiny_state, system_config):
    torch.save(tiny_state, tmp_path / 'a.pt')
    system_config.update(
        generator=dict(type='DDColor', encoder='convnext_tiny'),
        generator_weights=str(tmp_path / 'a.pt'),
        ema_momentum=None,
    )
    system = MODELS.build(system_config)
    assert isinstance(system, GANColorizer)
    assert (system.generator.to_ab.bias == tiny_state['refine_net.0.0.bias']).all()
    assert system.generator.to_ab.bias.stride() == (1,)


def test_ablations_are_the_rows_of_the_papers_tables(repo_root):
    base = Config.fromfile(repo_root / 'configs/colorize/ddcolor_large.py').model.to_dict()
    rows = {}
    for path in (repo_root / 'configs/colorize/ablations').glob('ddcolor_*.py'):
        model = Config.fromfile(path).model.to_dict()
        changes = {key: value for key, value in model['generator'].items() if base['generator'].get(key) != value}
        if model['colorfulness_loss'] != base['colorfulness_loss']:
            changes['colorfulness_loss'] = model['colorfulness_loss']
        model['generator'], model['colorfulness_loss'] = base['generator'], base['colorfulness_loss']
        assert model == base, path
        rows[path.stem.removeprefix('ddcolor_')] = changes
    arrangements = [(first, second) for first in ('self', 'cross') for second in ('self', 'cross')]
    assert rows == {
        'no_color_decoder': dict(use_color_decoder=False),
        'no_colorfulness': dict(colorfulness_loss=None),
        'no_color_decoder_no_colorfulness': dict(use_color_decoder=False, colorfulness_loss=None),
        'zero_queries': dict(learn_query_features=False),
        **{f'scale_{stride}': dict(scales=(stride,)) for stride in (16, 8, 4)},
        **{f'{first}_{second}': dict(attn_types=(first, second)) for first, second in arrangements},
        **{f'queries_{count}': dict(num_queries=count) if count != 100 else {} for count in (20, 50, 100, 200, 500)},
    }


def test_training_as_published(repo_root):
    """DDColor 4.1 and the public configuration."""
    cfg = Config.fromfile(repo_root / 'configs/colorize/ddcolor_large.py')
    model, optim = cfg.model, cfg.optim_wrapper
    names = ('pixel', 'perceptual', 'adversarial', 'colorfulness')
    weights = {name: model[f'{name}_loss'].loss_weight for name in names}
    assert weights == dict(pixel=0.1, perceptual=5.0, adversarial=1.0, colorfulness=0.5)
    assert model.adversarial_loss.gan_type == 'vanilla' and model.critic.type == 'PatchDiscriminator'
    assert optim.generator.optimizer == dict(type='AdamW', lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01)
    assert optim.critic.optimizer == dict(type='Adam', lr=1e-4, betas=(0.9, 0.99))
    assert cfg.param_scheduler[0].milestones == list(range(80000, 400000, 40000)) and cfg.train_cfg.max_iters == 400000
    assert model.real_saturation == 1.2
    assert cfg.train_dataloader.batch_size == 16
    with torch.device('meta'):
        vgg = timm.create_model(model.perceptual_loss.trunk)
    read = [vgg.get_submodule(name) for name in model.perceptual_loss.layers]
    assert [(type(layer), layer.out_channels) for layer in read] == [
        (nn.Conv2d, chans) for chans in (64, 128, 256, 512, 512)
    ]
    assert list(model.perceptual_loss.layers.values()) == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
