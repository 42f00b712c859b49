"""Every config parses, names things that exist with keywords that they take, and its networks can be built."""

import inspect
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODEL_WRAPPERS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
)
from mmengine.runner import Runner
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)

# where the `type` of a dict below such a key is looked up
REGISTRIES = dict(
    model=MODELS, model_wrapper_cfg=MODEL_WRAPPERS, dataset=DATASETS, sampler=DATA_SAMPLERS, prepare=TRANSFORMS,
    augment=TRANSFORMS, val_evaluator=METRICS, test_evaluator=METRICS, default_hooks=HOOKS, custom_hooks=HOOKS,
    optim_wrapper=OPTIM_WRAPPERS, optimizer=OPTIMIZERS, constructor=OPTIM_WRAPPER_CONSTRUCTORS,
    param_scheduler=PARAM_SCHEDULERS, train_cfg=LOOPS, val_cfg=LOOPS, test_cfg=LOOPS, log_processor=LOG_PROCESSORS,
    visualizer=VISUALIZERS, vis_backends=VISBACKENDS)
# keys that the builders themselves take out
BUILDERS = {OPTIM_WRAPPERS: {'optimizer', 'paramwise_cfg'}, HOOKS: {'priority'}}
# entries that Runner reads from the config, beside its arguments, and our tools' own
TOP_LEVEL = {*inspect.signature(Runner.__init__).parameters, 'model_wrapper_cfg', 'custom_imports', 'test_overrides'}
WEIGHTS = ('weights', 'encoder_weights', 'generator_weights')


@pytest.fixture(params=CONFIGS)
def config(request, monkeypatch):
    monkeypatch.chdir(ROOT)  # paths in configs are relative to it
    return Config.fromfile(request.param)


def accepted_keywords(cls):
    """Names of the arguments of a class, those that it hands on to its bases with ** included."""
    names = set()
    for base in inspect.getmro(cls):
        if '__init__' in vars(base):
            parameters = inspect.signature(base.__init__).parameters.values()
            names |= {parameter.name for parameter in parameters}
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                break
    return names


def find_faults(value, registry=None, path='cfg'):
    """Yield a sentence for every type that is unknown and for every keyword that it does not take."""
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from find_faults(item, registry, f'{path}[{i}]')
    elif isinstance(value, dict):
        if 'type' in value and registry is not None:
            cls = registry.get(value['type'])
            if cls is None:
                yield f'{path}: {value["type"]} is not among {registry.name}'
            else:
                unknown = set(value) - {'type'} - accepted_keywords(cls) - BUILDERS.get(registry, set())
                yield from (f'{path}: {value["type"]} takes no {name}' for name in sorted(unknown))
        for key, item in value.items():
            yield from find_faults(item, REGISTRIES.get(key, registry), f'{path}.{key}')


def walk(value):
    """Yield every dict inside a config."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from walk(item)


def appears(value, inside):
    """Whether a value stands somewhere inside a nest of dicts and lists."""
    if value == inside:
        return True
    items = inside.values() if isinstance(inside, dict) else inside if isinstance(inside, (list, tuple)) else ()
    return any(appears(value, item) for item in items)


def without_weights(model):
    """The model's description with random weights, and without the losses that would be senseless with them."""
    model = dict(model, generator=dict(model['generator'], encoder_weights=None), perceptual_loss=None)
    model.pop('generator_weights', None)
    return model


def test_there_are_configs():
    assert {f'configs/colorize/{name}.py' for name in ('mpt_base', 'mpt_finetune_folder', 'mpt_demo')} <= set(CONFIGS)


def test_types_and_keywords_exist(config):
    assert list(find_faults(config.to_dict())) == []
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert set(config[name]) <= set(inspect.signature(DataLoader.__init__).parameters), name
        for transform in [*config[name].dataset.get('prepare', []), *config[name].dataset.get('augment', [])]:
            TRANSFORMS.build(transform)


def test_faults_would_be_found():
    faulty = dict(
        model=dict(type='GANColorizer', generater=1, critic=dict(type='Critik')),
        train_dataloader=dict(dataset=dict(type='ColorImageDataset', cashe=True, prepare=[dict(type='Resize2')])),
        default_hooks=dict(checkpoint=dict(type='WholeCheckpointHook', interval=1, by_epoch=False, evry=3)),
        optim_wrapper=dict(generator=dict(type='OptimWrapper', optimizer=dict(type='Adam', learning_rate=1))))
    assert list(find_faults(faulty)) == [
        'cfg.model: GANColorizer takes no generater',
        'cfg.model.critic: Critik is not among model',
        'cfg.train_dataloader.dataset: ColorImageDataset takes no cashe',
        'cfg.train_dataloader.dataset.prepare[0]: Resize2 is not among transform',
        'cfg.default_hooks.checkpoint: WholeCheckpointHook takes no evry',
        'cfg.optim_wrapper.generator.optimizer: Adam takes no learning_rate',
    ]


def test_every_entry_is_read(config):
    """Runner ignores a misspelt section, and a variable that was set too late to be used."""
    config = config.to_dict()
    read = [value for name, value in config.items() if name in TOP_LEVEL]
    assert [name for name, value in config.items() if name not in TOP_LEVEL and not appears(value, read)] == []
    assert config['default_scope'] == 'mmengine'


def test_networks_and_optimizers_can_be_built(config):
    with torch.device('meta'):
        system = MODELS.build(without_weights(config.model))
        l = torch.zeros(1, 1, 256, 256)
        assert system.generator(l).shape == (1, 2, 256, 256)
        if system.critic is not None:
            assert system.critic(torch.zeros(1, 3, 256, 256)).shape[0] == 1
    cfg = config.optim_wrapper.to_dict()
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(cfg.pop('constructor'))
    wrappers = constructor(cfg)(system)
    for wrapper in wrappers.values():
        for scheduler in config.param_scheduler:
            PARAM_SCHEDULERS.build(dict(scheduler, optimizer=wrapper))


def test_missing_weights_are_named(config):
    """Nothing is downloaded: what a machine lacks is an error with the path."""
    paths = [
        entry[key] for entry in walk(config.model.to_dict()) for key in WEIGHTS
        if entry.get(key) not in (None, 'packaged') and not entry[key].startswith('package:')]
    missing = [path for path in paths if not Path(path).is_file()]
    if not missing:
        pytest.skip('all weights are here')
    with torch.device('meta'), pytest.raises(FileNotFoundError) as caught:
        MODELS.build(config.model)
    assert any(path in str(caught.value) for path in missing)


def test_a_test_needs_no_weights_of_the_training(config):
    config.merge_from_dict(config.get('test_overrides', {}))
    assert config.model.perceptual_loss is None
    assert not (config.model.generator.get('encoder_weights') or '').startswith('weights/')


def test_perceptual_losses_with_weights_of_a_package():
    """The layers that configs name exist in the network."""
    seen = []
    for name in CONFIGS:
        loss = Config.fromfile(ROOT / name).model.get('perceptual_loss')
        if loss and loss.weights.startswith('package:') and loss not in seen:
            seen.append(loss)
            value = MODELS.build(loss)(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
            assert value.isfinite() and value > 0
    assert seen


def test_mpt_base_is_the_papers_schedule(monkeypatch):
    """MPT IV-A."""
    cfg = Config.fromfile(ROOT / 'configs' / 'colorize' / 'mpt_base.py')
    for name in ('generator', 'critic'):
        assert cfg.optim_wrapper[name].optimizer == dict(type='Adam', lr=1e-4, betas=(0.9, 0.999))
    assert cfg.train_dataloader.batch_size == 16 and cfg.train_cfg.max_iters == 200_000
    assert cfg.param_scheduler == [
        dict(type='MultiStepLR', by_epoch=False, milestones=[80_000, 120_000, 160_000], gamma=0.5)]
    model = cfg.model
    assert (model.pixel_loss.loss_weight, model.perceptual_loss.loss_weight, model.adversarial_loss.loss_weight) == (
        0.1, 5.0, 1.0)
    assert model.perceptual_loss.trunk == 'vgg19' and model.adversarial_loss.gan_type == 'wgan'
    assert model.weight_clip == 0.01 and model.critic_steps == 1
    assert cfg.train_dataloader.dataset.augment[0] == dict(type='torchvision/RandomCrop', size=256)
    with torch.device('meta'):
        generator = MODELS.build(model.generator)
    assert sum(parameter.numel() for parameter in generator.parameters()) == 53_219_214
    assert generator.config['num_queries'] == 150
